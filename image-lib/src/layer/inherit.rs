//! What a layer takes over from the layers below it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::LayerError;
use super::extracted::{Extracted, link_within};
use super::form::Form;
use super::whiteout::archived_xattr;
use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, Times};
use crate::spec::Timestamp;

impl Extracted {
    /// Completes the tree from `lower`, the merged view of all layers below: directories that the
    /// layer only passes through get the attributes that they have there, and hard links to files
    /// that only lower layers have get a copy to link to, as a link on the mounted image would.
    ///
    /// # Errors
    /// A link's target is in no layer; the kernel's.
    pub fn inherit(&mut self, lower: &Root) -> Result<(), LayerError> {
        let links = std::mem::take(&mut self.links);
        for (path, target) in &links {
            // A link to a link that waits too means what that one means.
            let mut last = target;
            for _ in 0..links.len() {
                match links.get(last) {
                    Some(next) => last = next,
                    None => break,
                }
            }
            self.inherit_link(lower, path, last)?;
        }
        // Ascending order: a directory is in place before those in it are looked at.
        while let Some(path) = self.implicit.pop_first() {
            self.inherit_directory(lower, &path).map_err(LayerError::Finish)?;
        }
        self.set_directory_times()
    }

    fn inherit_link(&mut self, lower: &Root, path: &Path, target: &Path) -> Result<(), LayerError> {
        let failed = LayerError::Finish;
        let missing =
            || LayerError::LinkTarget { entry: path.to_owned(), target: target.to_owned() };
        let found = lower.symlink_metadata(target).map_err(failed)?.ok_or_else(missing)?;
        if found.kind == FileKind::Directory {
            return Err(missing());
        }
        // Another link to the same target may have brought it already.
        if self.root.symlink_metadata(target).map_err(failed)?.is_none() {
            let parent = target.parent().unwrap_or_else(|| Path::new(""));
            for made in self.root.create_directory_all(parent, 0o755).map_err(failed)? {
                self.times.insert(made.clone(), Timestamp::default());
                self.implicit.insert(made);
            }
            copy_file(lower, &self.root, target, found).map_err(failed)?;
        }
        let (parent, name) = self.root.parent(path).map_err(failed)?;
        match link_within(&self.root, target, &parent, name).map_err(failed)? {
            true => Ok(()),
            // This layer hides the target.
            false => Err(missing()),
        }
    }

    fn inherit_directory(&mut self, lower: &Root, path: &Path) -> Result<(), FsError> {
        match lower.symlink_metadata(path)? {
            Some(found) if found.kind == FileKind::Directory => {
                let (from, name) = lower.parent(path)?;
                let (to, own_name) = self.root.parent(path)?;
                copy_attributes(&from, name, &to, own_name, found)?;
                self.times.insert(path.to_owned(), found.mtime);
                Ok(())
            }
            Some(found) if found.kind == FileKind::Symlink => {
                let real = lower.real_path(path)?;
                let leads_to_directory = lower
                    .metadata(&real)?
                    .is_some_and(|m| m.kind == FileKind::Directory && real != path);
                if leads_to_directory { self.relocate(path, &real) } else { Ok(()) }
            }
            // The layer replaces a file by a directory, or the directory is new.
            _ => Ok(()),
        }
    }

    /// The lower layers have a link to a directory where this layer only passes through: what it
    /// brings belongs behind the link.
    fn relocate(&mut self, from: &Path, to: &Path) -> Result<(), FsError> {
        for made in self.root.create_directory_all(to, 0o755)? {
            self.times.insert(made.clone(), Timestamp::default());
            self.implicit.insert(made);
        }
        self.move_into(from, to)?;
        self.root.remove_tree(from)?;
        let moved = |path: &PathBuf| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => None,
            Ok(rest) => Some(to.join(rest)),
            Err(_) => Some(path.clone()),
        };
        self.implicit = self.implicit.iter().filter_map(moved).collect();
        self.times = self.times.iter().filter_map(|(p, t)| Some((moved(p)?, *t))).collect();
        Ok(())
    }

    fn move_into(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        for (name, kind) in self.root.entries(from)? {
            let (source, destination) = (from.join(&name), to.join(&name));
            let present = self.root.symlink_metadata(&destination)?;
            let both_directories = kind == FileKind::Directory
                && present.is_some_and(|m| m.kind == FileKind::Directory);
            if both_directories {
                self.move_into(&source, &destination)?;
                continue;
            }
            if present.is_some() {
                self.root.remove_tree(&destination)?;
            }
            self.root.rename(&source, &destination)?;
        }
        Ok(())
    }
}

fn copy_attributes(
    from: &Directory,
    name: &OsStr,
    to: &Directory,
    own_name: &OsStr,
    metadata: Metadata,
) -> Result<(), FsError> {
    to.set_owner(own_name, metadata.uid, metadata.gid)?;
    let form = Form::of_this_process();
    for (attribute, value) in from.xattrs(name)? {
        if archived_xattr(form, &attribute).is_some() {
            to.set_xattr(own_name, &attribute, &value)?;
        }
    }
    if metadata.kind != FileKind::Symlink {
        to.set_mode(own_name, metadata.mode)?;
    }
    to.set_times(own_name, Times::both(metadata.mtime))
}

fn copy_file(lower: &Root, root: &Root, path: &Path, found: Metadata) -> Result<(), FsError> {
    let (from, name) = lower.parent(path)?;
    let (to, own_name) = root.parent(path)?;
    match found.kind {
        FileKind::File => {
            let mut content = from.open_file(name)?;
            let mut file = to.create_file(own_name, 0o600)?;
            io::copy(&mut content, &mut file).map_err(|e| FsError::new("copy", path, e))?;
        }
        FileKind::Symlink => to.symlink(&from.read_link(name)?, own_name)?,
        kind => to.create_node(own_name, kind, 0, found.device)?,
    }
    copy_attributes(&from, name, &to, own_name, found)
}
