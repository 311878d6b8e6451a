//! Turns the entries of one layer into a directory in overlayfs form (image-spec layer.md,
//! "Applying Changesets"). The directory is private to the extraction until it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use super::LayerError;
use super::attributes::{Attributes, DEFAULT_ACL};
use super::error::EntryError;
use super::extracted::{Extracted, TREE, forget_below, link_within};
use super::form::Form;
use super::whiteout::Whiteout;
use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root};
use crate::spec::Timestamp;
use crate::tar::{Entry, EntryKind, Reader, TarError};

/// Applies entries.
#[derive(Debug)]
pub struct Extractor {
    extracted: Extracted,
    /// The directory that the last entry was in: most archives list a directory's files together.
    parent: Option<(PathBuf, Rc<Parent>)>,
    /// Names that a whiteout of this layer hides below.
    hidden: BTreeSet<PathBuf>,
    /// Access lists that new files of a directory would inherit: they are set when all are made.
    default_acls: BTreeMap<PathBuf, Entry>,
    attributes: Attributes,
}

/// The directory that an entry is made in.
#[derive(Debug)]
struct Parent {
    directory: Directory,
    /// Its path with all links followed: two entries may reach it by different paths.
    real: PathBuf,
}

impl Extractor {
    /// An empty tree named `fs` in `container`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(container: Directory) -> Result<Self, LayerError> {
        let tree = OsStr::new(TREE);
        let made = container
            .create_directory(tree, 0o755)
            // A folder of the host may have lists that are none of the image's affair.
            .and_then(|()| container.remove_xattr(tree, DEFAULT_ACL))
            .and_then(|()| container.set_mode(tree, 0o755))
            .and_then(|()| container.open_directory(tree))
            .and_then(|directory| directory.try_clone());
        let directory = made.map_err(LayerError::Finish)?;
        let extracted = Extracted::new(container, Root::from_directory(directory));
        let attributes = Attributes { form: Form::of_this_process(), warnings: Vec::new() };
        Ok(Self {
            extracted,
            parent: None,
            hidden: BTreeSet::new(),
            default_acls: BTreeMap::new(),
            attributes,
        })
    }

    /// Applies all entries of `reader`.
    ///
    /// # Errors
    /// The archive is damaged, or an entry cannot be applied; the tree is of no use then.
    pub fn apply_all<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<(), LayerError> {
        while let Some(entry) = reader.next_entry()? {
            self.apply(&entry, reader)?;
        }
        Ok(())
    }

    /// Applies one entry, whose content `reader` gives.
    ///
    /// # Errors
    /// As [`Extractor::apply_all`].
    pub fn apply<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), LayerError> {
        self.extracted.entries += 1;
        self.apply_entry(entry, reader).map_err(|source| match source {
            // A damaged archive is not the entry's fault.
            EntryError::Content(error) if error.get_ref().is_some_and(|e| e.is::<TarError>()) => {
                LayerError::Read(error)
            }
            source => LayerError::Entry { entry: entry.display_path(), source },
        })
    }

    fn apply_entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), EntryError> {
        let path = entry.relative_path().map_err(EntryError::Path)?;
        let Some(name) = path.file_name() else { return self.apply_root(entry) };
        let parent_path = path.parent().unwrap_or_else(|| Path::new(""));
        match Whiteout::of(name) {
            Whiteout::No => {}
            Whiteout::Ignored => return Ok(()),
            Whiteout::Empty => return Err(EntryError::EmptyWhiteout),
            Whiteout::Opaque => return self.make_opaque(parent_path),
            Whiteout::Name(hidden) => return self.hide(parent_path, hidden),
        }
        let parent = self.parent(parent_path)?;
        let path = parent.real.join(name);
        let parent = &parent.directory;
        self.extracted.links.remove(&path);
        self.extracted.implicit.remove(&path);
        self.default_acls.remove(&path);
        match entry.kind {
            EntryKind::Directory => self.directory(entry, &path, parent, name),
            EntryKind::HardLink => self.hard_link(entry, &path, parent, name),
            EntryKind::File => self.file(entry, reader, &path, parent, name),
            EntryKind::Symlink => {
                use std::os::unix::ffi::OsStrExt;
                let target = OsStr::from_bytes(&entry.link);
                self.make(&path, parent, name, |parent| parent.symlink(target, name))?;
                self.attributes.of_name(entry, parent, name)
            }
            EntryKind::CharacterDevice => {
                if entry.device == (0, 0) {
                    return Err(EntryError::WhiteoutDevice);
                }
                self.node(entry, FileKind::CharacterDevice, &path, parent, name)
            }
            EntryKind::BlockDevice => self.node(entry, FileKind::BlockDevice, &path, parent, name),
            EntryKind::Fifo => self.node(entry, FileKind::Fifo, &path, parent, name),
        }
    }

    /// The entry of the root itself gives it attributes only.
    fn apply_root(&mut self, entry: &Entry) -> Result<(), EntryError> {
        if entry.kind != EntryKind::Directory {
            return Err(EntryError::Root);
        }
        self.extracted.has_root_entry = true;
        self.extracted.times.insert(PathBuf::new(), entry.mtime);
        self.remember_default_acl(entry, Path::new(""));
        let root = self.extracted.root.directory().as_fd();
        self.attributes.of_open(entry, root, OsStr::new(TREE))
    }

    fn remember_default_acl(&mut self, entry: &Entry, path: &Path) {
        if entry.xattrs.iter().any(|(name, _)| name == DEFAULT_ACL) {
            self.default_acls.insert(path.to_owned(), entry.clone());
        }
    }

    /// The directory at `path`, made if it is missing. Links of this layer in the way are followed
    /// inside it.
    fn parent(&mut self, path: &Path) -> Result<Rc<Parent>, EntryError> {
        // Compared as bytes: both have the same plain form.
        if let Some((known, parent)) = &self.parent
            && known.as_os_str() == path.as_os_str()
        {
            return Ok(Rc::clone(parent));
        }
        let root = &self.extracted.root;
        let parent = match root.open_directory_without_links(path) {
            Ok(directory) => Parent { directory, real: path.to_owned() },
            Err(error)
                if error.is_not_found() || error.is(Errno::NOTDIR) || error.is(Errno::LOOP) =>
            {
                let real = root.real_path(path)?;
                self.make_parents(&real)?;
                let directory = self.extracted.root.open_directory_without_links(&real)?;
                Parent { directory, real }
            }
            Err(error) => return Err(error.into()),
        };
        let parent = Rc::new(parent);
        self.parent = Some((path.to_owned(), Rc::clone(&parent)));
        Ok(parent)
    }

    fn make_parents(&mut self, real: &Path) -> Result<(), EntryError> {
        let root = &self.extracted.root;
        let mut here = PathBuf::new();
        for name in real {
            here.push(name);
            // A name that this layer hides and then fills again is a new directory over the old.
            let hidden = root.symlink_metadata(&here)?.is_some_and(|m| m.is_whiteout());
            if hidden {
                root.unlink(&here)?;
            }
            for made in root.create_directory_all(&here, 0o755)? {
                self.extracted.times.insert(made.clone(), Timestamp::default());
                self.extracted.implicit.insert(made);
            }
            if hidden {
                root.set_xattr(&here, self.attributes.form.opaque_xattr(), b"y")?;
                // It has nothing to do with the one below.
                self.extracted.implicit.remove(&here);
            }
        }
        Ok(())
    }

    /// Makes what has a single name, in place of what an earlier entry of this layer put there.
    fn make<T>(
        &mut self,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
        make: impl Fn(&Directory) -> Result<T, FsError>,
    ) -> Result<T, EntryError> {
        match make(parent) {
            Err(error) if error.is_present() => {
                self.make_room(path, parent, name)?;
                Ok(make(parent)?)
            }
            other => Ok(other?),
        }
    }

    /// Removes what an earlier entry of this layer put at `path`.
    fn make_room(
        &mut self,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        match parent.stat(name)? {
            None => Ok(()),
            Some(found) => self.remove(path, parent, name, found),
        }
    }

    fn remove(
        &mut self,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
        found: Metadata,
    ) -> Result<(), EntryError> {
        if matches!(found.kind, FileKind::Directory | FileKind::Symlink) {
            // The remembered directory may have been reached through it.
            self.parent = None;
        }
        if found.kind == FileKind::Directory {
            self.extracted.forget_below(path);
            forget_below(&mut self.default_acls, path);
        }
        Ok(parent.remove_tree(name)?)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        // Whatever its mode will be, files are made in it first.
        let mode = entry.mode & 0o777 | 0o700;
        match parent.create_directory(name, mode) {
            Err(error) if error.is_present() => {
                let found = parent.stat(name)?;
                if let Some(found) = found.filter(|found| found.kind != FileKind::Directory) {
                    self.remove(path, parent, name, found)?;
                    parent.create_directory(name, mode)?;
                }
            }
            other => other?,
        }
        let directory = parent.open_directory(name)?;
        self.attributes.of_open(entry, directory.as_fd(), name)?;
        if self.hidden.contains(path) {
            parent.set_xattr(name, self.attributes.form.opaque_xattr(), b"y")?;
        }
        self.remember_default_acl(entry, path);
        self.extracted.times.insert(path.to_owned(), entry.mtime);
        // Most archives list a directory's files after it. Its own path has no links, so that it is
        // the directory's path however it was reached.
        self.parent = Some((path.to_owned(), Rc::new(Parent { directory, real: path.to_owned() })));
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let refused = |problem| EntryError::Link {
            target: String::from_utf8_lossy(&entry.link).into(),
            problem,
        };
        let target = entry.relative_link().map_err(refused)?;
        if target.as_os_str().is_empty() || target == path {
            return Err(refused(crate::tar::Problem::Path));
        }
        self.make_room(path, parent, name)?;
        if !link_within(&self.extracted.root, &target, parent, name)? {
            // The target may still come, or lie in a lower layer.
            self.extracted.links.insert(path.to_owned(), target);
        }
        Ok(())
    }

    fn node(
        &mut self,
        entry: &Entry,
        kind: FileKind,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let mode = entry.mode & 0o777;
        if self.attributes.form.has_user_marks() && kind != FileKind::Fifo {
            // No user may make devices; an empty file holds the place, and a record says of what.
            let file = self.make(path, parent, name, |parent| parent.create_file(name, mode))?;
            self.attributes.of_open(entry, file.as_fd(), name)?;
            return Ok(Attributes::times(entry, file, name)?);
        }
        self.make(path, parent, name, |parent| parent.create_node(name, kind, mode, entry.device))?;
        self.attributes.of_name(entry, parent, name)
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let mode = entry.mode & 0o777;
        let mut file = self.make(path, parent, name, |parent| parent.create_file(name, mode))?;
        write_content(reader, &mut file, entry.size).map_err(EntryError::Content)?;
        self.extracted.content_bytes += entry.size;
        self.attributes.of_open(entry, file.as_fd(), name)?;
        Ok(Attributes::times(entry, file, name)?)
    }

    fn make_opaque(&mut self, path: &Path) -> Result<(), EntryError> {
        let mark = self.attributes.form.opaque_xattr();
        if path.as_os_str().is_empty() {
            return Ok(self.extracted.container.set_xattr(OsStr::new(TREE), mark, b"y")?);
        }
        let real = self.parent(path)?.real.clone();
        if real.as_os_str().is_empty() {
            return self.make_opaque(&real);
        }
        Ok(self.extracted.root.set_xattr(&real, mark, b"y")?)
    }

    /// Hides `name` of the lower layers; what this layer has there stays.
    fn hide(&mut self, parent_path: &Path, name: &OsStr) -> Result<(), EntryError> {
        let parent = self.parent(parent_path)?;
        let path = parent.real.join(name);
        let parent = &parent.directory;
        self.hidden.insert(path.clone());
        match parent.stat(name)? {
            None if self.extracted.links.contains_key(&path) => Ok(()),
            None => Ok(parent.create_whiteout(name)?),
            Some(own) if own.kind == FileKind::Directory => {
                // It has nothing to do with the one below.
                self.extracted.implicit.remove(&path);
                Ok(parent.set_xattr(name, self.attributes.form.opaque_xattr(), b"y")?)
            }
            Some(_) => Ok(()),
        }
    }

    /// Ends the extraction: links whose targets came later are made, and the times of directories
    /// are set.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(mut self) -> Result<Extracted, LayerError> {
        self.parent = None;
        loop {
            let before = self.extracted.links.len();
            let links = std::mem::take(&mut self.extracted.links);
            for (path, target) in links {
                let root = &self.extracted.root;
                let (parent, name) = root.parent(&path).map_err(LayerError::Finish)?;
                if !link_within(root, &target, &parent, name).map_err(LayerError::Finish)? {
                    self.extracted.links.insert(path, target);
                }
            }
            if self.extracted.links.len() == before {
                break;
            }
        }
        self.set_default_acls()?;
        self.extracted.set_directory_times()?;
        self.extracted.warnings = self.attributes.warnings;
        Ok(self.extracted)
    }

    fn set_default_acls(&mut self) -> Result<(), LayerError> {
        for (path, entry) in std::mem::take(&mut self.default_acls) {
            let failed = |source| LayerError::Entry { entry: entry.display_path(), source };
            let (parent, name) = match path.as_os_str().is_empty() {
                true => (self.extracted.container.try_clone(), OsStr::new(TREE)),
                false => {
                    let found = self.extracted.root.parent(&path).map_err(LayerError::Finish)?;
                    (Ok(found.0), found.1)
                }
            };
            let parent = parent.map_err(LayerError::Finish)?;
            let lists = entry.xattrs.iter().filter(|(name, _)| name == DEFAULT_ACL);
            for (attribute, value) in lists {
                let set = parent.set_xattr(name, attribute, value);
                self.attributes.tolerate(&entry, attribute, set).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Writes an entry's content; holes stay holes.
fn write_content<R: BufRead>(reader: &mut Reader<R>, file: &mut File, size: u64) -> io::Result<()> {
    let mut ends_in_hole = false;
    loop {
        let hole = reader.hole();
        if hole > 0 {
            reader.skip_hole(hole);
            file.seek(SeekFrom::Current(i64::try_from(hole).map_err(|_| Errno::FBIG)?))?;
            ends_in_hole = true;
        }
        let part = reader.fill_buf()?;
        let length = part.len();
        if length == 0 {
            break;
        }
        file.write_all(part)?;
        reader.consume(length);
        ends_in_hole = false;
    }
    if ends_in_hole { file.set_len(size) } else { Ok(()) }
}
