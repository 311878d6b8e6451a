//! Copying selected files into a rootfs, by the rules of `COPY`.
//!
//! - A destination with a `/` at the end is a directory, and what is copied goes into it; without,
//!   a file is written as that path, unless a directory is there.
//! - Of a directory the contents are copied.
//! - Links in the destination's path are followed inside the rootfs. Links below it are not: what
//!   is in the way of a file is removed first, and a directory never goes where a link is.
//! - The directory that is copied into keeps its attributes, its times too. Directories below it
//!   take those of the source, whether they were there or not.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, Timespec, Timestamps};

use super::error::StepError;
use super::file_mode::FileMode;
use super::source_tree::{Entry, Kept, Selected, SourceTree, Xattrs, is_copied_xattr};
use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, Times, with_path};
use crate::spec::Timestamp;

/// Where a copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The path from the root.
    pub path: PathBuf,
    /// Whether it is meant as a directory.
    pub is_directory: bool,
}

impl Destination {
    /// Reads a destination: relative ones start at `working_directory`.
    #[must_use]
    pub fn read(text: &str, working_directory: &str) -> Self {
        let path = absolute_path(working_directory, text);
        let is_directory =
            text.is_empty() || text == "." || text.ends_with('/') || text.ends_with("/.");
        Self { path: PathBuf::from(path), is_directory }
    }
}

/// `text` seen from `base`, without `.`, `..` and double slashes.
#[must_use]
pub fn absolute_path(base: &str, text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if text.starts_with('/') { "" } else { base };
    for part in start.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// What is changed on copied files.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The owner of everything copied and created.
    pub owner: Option<(u32, u32)>,
    /// The permissions.
    pub mode: Option<FileMode>,
    /// The time of directories that are created on the way.
    pub epoch: Option<Timestamp>,
}

/// Copies into one rootfs; hard links are kept among all that one of these copies.
#[derive(Debug)]
pub struct Copier<'a> {
    root: &'a Root,
    changes: &'a Changes,
    /// Where a file with several names was copied to.
    linked: HashMap<(u64, u64), PathBuf>,
    /// Times of directories, set at the end because writing into them changes theirs.
    times: Vec<(PathBuf, Timestamp)>,
    /// The directory that was written into last, kept open.
    last_parent: Option<(PathBuf, Directory)>,
}

impl<'a> Copier<'a> {
    /// A copier into `root`.
    #[must_use]
    pub fn new(root: &'a Root, changes: &'a Changes) -> Self {
        Self { root, changes, linked: HashMap::new(), times: Vec::new(), last_parent: None }
    }

    /// Copies one selected source.
    ///
    /// # Errors
    /// The destination does not fit, or the file system refuses.
    pub fn copy(
        &mut self,
        tree: &SourceTree,
        selected: &Selected,
        destination: &Destination,
    ) -> Result<(), StepError> {
        let Some(first) = selected.entries.first() else { return Ok(()) };
        let mut target = self.prepare(destination, first.metadata.mtime)?;
        if !selected.is_directory() {
            let is_directory = destination.is_directory || self.is_directory(&target)?;
            if is_directory {
                target.push(selected.name());
            }
            let mut source = SourceFiles::new(tree, &selected.path);
            return self.entry(&mut source, first, &target);
        }
        let mut source = SourceFiles::new(tree, &selected.path);
        for entry in &selected.entries {
            let path = target.join(&entry.path);
            if entry.path.as_os_str().is_empty() {
                self.top_directory(&mut source, entry, &target)?;
            } else {
                self.entry(&mut source, entry, &path)?;
            }
        }
        Ok(())
    }

    /// Copies one source of `COPY --parents` with the directories above it.
    ///
    /// # Errors
    /// The destination does not fit, or the file system refuses.
    pub fn copy_with_parents(
        &mut self,
        tree: &SourceTree,
        kept: &Kept,
        destination: &Destination,
    ) -> Result<(), StepError> {
        let Some(first) = kept.selected.entries.first() else { return Ok(()) };
        let base = self.enter(&destination.path, first.metadata.mtime)?;
        for (path, metadata) in &kept.parents {
            let target = base.join(path);
            match self.root.symlink_metadata(&target)? {
                None => self.put(&target, metadata, OsStr::new(""), &[], &mut std::io::empty())?,
                Some(found) if found.kind == FileKind::Directory => self.keep_time(&target)?,
                Some(_) => return Err(not_directory(&target)),
            }
        }
        let mut source = SourceFiles::new(tree, &kept.selected.path);
        for entry in &kept.selected.entries {
            let target = base.join(&kept.path);
            let target =
                if entry.path.as_os_str().is_empty() { target } else { target.join(&entry.path) };
            self.entry(&mut source, entry, &target)?;
        }
        Ok(())
    }

    /// Writes a file that the Dockerfile itself holds.
    ///
    /// # Errors
    /// The destination does not fit, or the file system refuses.
    pub fn document(
        &mut self,
        name: &str,
        content: &[u8],
        time: Timestamp,
        destination: &Destination,
    ) -> Result<(), StepError> {
        let mut target = self.prepare(destination, time)?;
        if destination.is_directory || self.is_directory(&target)? {
            target.push(name);
        }
        self.clear(&target)?;
        let metadata = Metadata {
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: content.len() as u64,
            mtime: time,
            device: (0, 0),
            inode: (0, 0),
            links: 1,
        };
        let (parent, name) = self.parent(&target)?;
        let mut file = parent.create_file(&name, 0o600)?;
        file.write_all(content).map_err(|error| FsError::new("write", &target, error))?;
        self.finish(&target, &metadata, &[])
    }

    /// Makes the directory that an archive is extracted into, and gives its real path.
    ///
    /// # Errors
    /// Something that is no directory is in the way.
    pub fn enter(&mut self, path: &Path, time: Timestamp) -> Result<PathBuf, StepError> {
        let directory = Destination { path: path.to_owned(), is_directory: true };
        self.prepare(&directory, time)
    }

    /// Where `path` of an archive is, when the archive is extracted into `base`: links to
    /// directories are followed inside the rootfs, the last name is not.
    ///
    /// # Errors
    /// The path cannot be resolved.
    pub fn place(&mut self, base: &Path, path: &Path) -> Result<PathBuf, StepError> {
        let path = base.join(path);
        let mut real = self.root.real_path(path.parent().unwrap_or(Path::new("")))?;
        self.keep_time(&real)?;
        real.extend(path.file_name());
        Ok(real)
    }

    /// Gives the file at `first` the further name `target`.
    ///
    /// # Errors
    /// The file system's.
    pub fn link(&mut self, first: &Path, target: &Path) -> Result<(), StepError> {
        if first != target {
            self.root.remove_tree(target)?;
            self.root.hard_link(first, target)?;
        }
        Ok(())
    }

    /// Puts one file of an archive at `target`. A directory that is there stays and takes the new
    /// attributes; everything else is replaced.
    ///
    /// # Errors
    /// The content cannot be read, or the file system refuses.
    pub fn put(
        &mut self,
        target: &Path,
        metadata: &Metadata,
        link: &OsStr,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        content: &mut dyn Read,
    ) -> Result<(), StepError> {
        let found = self.root.symlink_metadata(target)?;
        let stays = metadata.kind == FileKind::Directory
            && found.is_some_and(|found| found.kind == FileKind::Directory);
        if found.is_some() && !stays {
            self.root.remove_tree(target)?;
            self.last_parent = None;
        }
        let (parent, name) = self.parent(target)?;
        match metadata.kind {
            FileKind::Directory => {
                if !stays {
                    parent.create_directory(&name, 0o700)?;
                }
                self.times.push((target.to_owned(), metadata.mtime));
            }
            FileKind::File => {
                let mut file = parent.create_file(&name, 0o600)?;
                std::io::copy(content, &mut file)
                    .map_err(|error| FsError::new("extract", target, error))?;
            }
            FileKind::Symlink => parent.symlink(link, &name)?,
            kind => parent.create_node(&name, kind, 0o600, metadata.device)?,
        }
        self.finish(target, metadata, xattrs)
    }

    /// Gives directories the times that they should have. It must come last.
    ///
    /// # Errors
    /// The file system's.
    pub fn settle(mut self) -> Result<(), StepError> {
        self.last_parent = None;
        while let Some((path, time)) = self.times.pop() {
            if !path.as_os_str().is_empty() {
                self.root.set_times(&path, Times::both(time))?;
            }
        }
        Ok(())
    }

    /// Makes the directories that the destination needs, and gives its real path.
    fn prepare(
        &mut self,
        destination: &Destination,
        time: Timestamp,
    ) -> Result<PathBuf, StepError> {
        let path = &destination.path;
        let needed =
            if destination.is_directory { path.as_path() } else { path.parent().unwrap_or(path) };
        self.make_directories(needed, time)?;
        let real = self.root.real_path(path)?;
        self.keep_time(if destination.is_directory {
            &real
        } else {
            real.parent().unwrap_or(&real)
        })?;
        Ok(real)
    }

    /// Makes the directory `path` and what is missing above it; those that are there stay as they
    /// are.
    ///
    /// # Errors
    /// Something that is no directory is in the way.
    pub fn make_directories(&mut self, path: &Path, time: Timestamp) -> Result<(), StepError> {
        let mode = self.changes.mode.as_ref().and_then(FileMode::fixed).unwrap_or(0o755);
        let (uid, gid) = self.changes.owner.unwrap_or((0, 0));
        if let Some(found) = self.root.metadata(path)? {
            if found.kind != FileKind::Directory {
                return Err(not_directory(path));
            }
            return Ok(());
        }
        // The deepest directory that is there is about to be written into.
        let real = self.root.real_path(path)?;
        let existing = real.ancestors().skip(1).find_map(|above| match self.root.metadata(above) {
            Ok(Some(found)) => Some(Ok((above.to_owned(), found))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        });
        if let Some((above, found)) = existing.transpose()? {
            if found.kind != FileKind::Directory {
                return Err(not_directory(&above));
            }
            self.times.push((above, found.mtime));
        }
        for made in self.root.create_directory_all(path, mode)? {
            self.root.set_owner(&made, uid, gid)?;
            self.root.set_mode(&made, mode)?;
            self.times.push((made, self.changes.epoch.unwrap_or(time)));
        }
        Ok(())
    }

    fn is_directory(&self, path: &Path) -> Result<bool, StepError> {
        Ok(self.root.metadata(path)?.is_some_and(|found| found.kind == FileKind::Directory))
    }

    /// Notes the time of a directory that is about to be written into.
    fn keep_time(&mut self, path: &Path) -> Result<(), StepError> {
        if self.times.iter().any(|(known, _)| known == path) {
            return Ok(());
        }
        if let Some(found) = self.root.metadata(path)? {
            self.times.push((path.to_owned(), found.mtime));
        }
        Ok(())
    }

    /// The directory whose contents are copied.
    fn top_directory(
        &mut self,
        source: &mut SourceFiles<'_>,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), StepError> {
        match self.root.symlink_metadata(target)? {
            Some(found) if found.kind == FileKind::Directory => self.keep_time(target),
            Some(_) => Err(not_directory(target)),
            None => self.entry(source, entry, target),
        }
    }

    fn entry(
        &mut self,
        source: &mut SourceFiles<'_>,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), StepError> {
        let metadata = &entry.metadata;
        if metadata.kind == FileKind::Directory {
            match self.root.symlink_metadata(target)? {
                Some(found) if found.kind != FileKind::Directory => {
                    return Err(not_directory(target));
                }
                Some(_) => {}
                None => {
                    let (parent, name) = self.parent(target)?;
                    parent.create_directory(&name, 0o700)?;
                }
            }
            let xattrs = source.xattrs(&entry.path)?;
            self.times.push((target.to_owned(), metadata.mtime));
            return self.finish(target, metadata, &xattrs);
        }
        if metadata.kind == FileKind::File {
            return self.file(source, entry, target);
        }
        self.clear(target)?;
        let (parent, name) = self.parent(target)?;
        if metadata.kind == FileKind::Symlink {
            let link = source.read_link(&entry.path)?;
            parent.symlink(&link, &name)?;
        } else {
            parent.create_node(&name, metadata.kind, 0o600, metadata.device)?;
        }
        let xattrs = source.xattrs(&entry.path)?;
        self.finish(target, metadata, &xattrs)
    }

    /// Copies a regular file. Most of a copy is these, so that everything that can be done on the
    /// open file is done there, and what is in the way is looked for only when something is.
    fn file(
        &mut self,
        source: &mut SourceFiles<'_>,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), StepError> {
        let metadata = &entry.metadata;
        if metadata.links > 1 {
            if let Some(first) = self.linked.get(&metadata.inode) {
                self.clear(target)?;
                self.root.hard_link(first, target)?;
                return Ok(());
            }
            self.linked.insert(metadata.inode, target.to_owned());
        }
        let mut from = source.open(&entry.path)?;
        let (parent, name) = self.parent(target)?;
        let mut to = match parent.create_file(&name, 0o600) {
            Err(error) if error.is_present() => {
                self.clear(target)?;
                let (parent, name) = self.parent(target)?;
                parent.create_file(&name, 0o600)?
            }
            created => created?,
        };
        std::io::copy(&mut from, &mut to)
            .map_err(|error| FsError::new("copy to", target, error))?;
        let (uid, gid) = self.changes.owner.unwrap_or((metadata.uid, metadata.gid));
        let changed = |error| FsError::new("change owner of", target, error);
        std::os::unix::fs::fchown(&to, Some(uid), Some(gid)).map_err(changed)?;
        // A file without attributes, as most are, says so with one call.
        let without_xattrs = rustix::fs::flistxattr(&from, &mut [0_u8; 256]) == Ok(0);
        if !without_xattrs {
            let xattrs = source.xattrs(&entry.path)?;
            let (parent, name) = self.parent(target)?;
            for (attribute, value) in &xattrs {
                // Not every file system takes every attribute; a copy without them is still a copy.
                let _ = parent.set_xattr(&name, attribute, value);
            }
        }
        let mode = match &self.changes.mode {
            Some(change) => change.apply(metadata.mode, false),
            None => metadata.mode,
        };
        let failed = |errno| FsError::new("change attributes of", target, errno);
        rustix::fs::fchmod(&to, Mode::from_raw_mode(mode)).map_err(failed)?;
        let time =
            Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: metadata.mtime.nanoseconds.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&to, &times).map_err(failed)?;
        Ok(())
    }

    /// Removes what a file is about to replace.
    fn clear(&self, target: &Path) -> Result<(), StepError> {
        match self.root.symlink_metadata(target)? {
            None => Ok(()),
            Some(found) if found.kind == FileKind::Directory => {
                Err(StepError::Destination(format!(
                    "cannot replace the directory {:?} with a file",
                    Path::new("/").join(target)
                )))
            }
            Some(_) => Ok(self.root.unlink(target)?),
        }
    }

    /// Owner, attributes, permissions, times: in this order, because each may undo a later one.
    fn finish(
        &mut self,
        target: &Path,
        metadata: &Metadata,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), StepError> {
        let (uid, gid) = self.changes.owner.unwrap_or((metadata.uid, metadata.gid));
        let is_directory = metadata.kind == FileKind::Directory;
        let mode = match &self.changes.mode {
            Some(change) => change.apply(metadata.mode, is_directory),
            None => metadata.mode,
        };
        let (parent, name) = self.parent(target)?;
        parent.set_owner(&name, uid, gid)?;
        for (attribute, value) in xattrs {
            // Not every file system takes every attribute; a copy without them is still a copy.
            let _ = parent.set_xattr(&name, attribute, value);
        }
        if metadata.kind != FileKind::Symlink {
            parent.set_mode(&name, mode)?;
        }
        parent.set_times(&name, Times::both(metadata.mtime))?;
        Ok(())
    }

    /// The directory that holds `path`, and its last name.
    fn parent<'p>(
        &mut self,
        path: &'p Path,
    ) -> Result<(&Directory, std::borrow::Cow<'p, OsStr>), FsError> {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        if self.last_parent.as_ref().is_none_or(|(known, _)| known != above) {
            self.last_parent = Some((above.to_owned(), self.root.open_directory(above)?));
        }
        match &self.last_parent {
            Some((_, directory)) => Ok((directory, name.into())),
            None => Err(FsError::new("open", above, rustix::io::Errno::NOENT)),
        }
    }
}

fn not_directory(path: &Path) -> StepError {
    let path = Path::new("/").join(path);
    StepError::Destination(format!("cannot copy to {path:?}: it is no directory"))
}

/// The files of one selected source, its directories opened once.
struct SourceFiles<'a> {
    tree: &'a SourceTree,
    base: &'a Path,
    last_parent: Option<(PathBuf, Directory)>,
}

impl<'a> SourceFiles<'a> {
    fn new(tree: &'a SourceTree, base: &'a Path) -> Self {
        Self { tree, base, last_parent: None }
    }

    /// The directory that holds the entry, and the entry's name; `None` for the root of the tree.
    fn parent(&mut self, path: &Path) -> Result<Option<(&Directory, PathBuf)>, FsError> {
        let path =
            if path.as_os_str().is_empty() { self.base.to_owned() } else { self.base.join(path) };
        let Some(name) = path.file_name() else { return Ok(None) };
        let above = path.parent().unwrap_or(Path::new(""));
        if self.last_parent.as_ref().is_none_or(|(known, _)| known != above) {
            self.last_parent = Some((above.to_owned(), self.tree.root().open_directory(above)?));
        }
        Ok(self.last_parent.as_ref().map(|(_, directory)| (directory, PathBuf::from(name))))
    }

    fn open(&mut self, path: &Path) -> Result<std::fs::File, FsError> {
        match self.parent(path)? {
            Some((parent, name)) => parent
                .open_file(name.as_os_str())
                .map_err(|error| with_path(error, &self.base.join(path))),
            None => Err(FsError::new("open", path, rustix::io::Errno::ISDIR)),
        }
    }

    fn read_link(&mut self, path: &Path) -> Result<std::ffi::OsString, FsError> {
        match self.parent(path)? {
            Some((parent, name)) => parent
                .read_link(name.as_os_str())
                .map_err(|error| with_path(error, &self.base.join(path))),
            None => Err(FsError::new("read link", path, rustix::io::Errno::INVAL)),
        }
    }

    fn xattrs(&mut self, path: &Path) -> Result<Xattrs, FsError> {
        let Some((parent, name)) = self.parent(path)? else { return Ok(Vec::new()) };
        let mut xattrs = parent.xattrs(name.as_os_str())?;
        xattrs.retain(|(attribute, _)| is_copied_xattr(attribute));
        Ok(xattrs)
    }
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
