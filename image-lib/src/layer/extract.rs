//! Turns the entries of one layer into a directory in overlayfs form (image-spec layer.md,
//! "Applying Changesets"). The directory is private to the extraction until it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Gid, Mode, RawMode, Uid, XattrFlags};
use rustix::io::Errno;

use super::LayerError;
use super::error::EntryError;
use super::whiteout::{OPAQUE_XATTR, Whiteout, is_host_xattr, stored_xattr};
use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, Times};
use crate::spec::Timestamp;
use crate::tar::{Entry, EntryKind, Reader, TarError};

/// The name of the tree inside the directory that an extraction is given.
pub(super) const TREE: &str = "fs";

/// Applies entries.
#[derive(Debug)]
pub struct Extractor {
    extracted: Extracted,
    /// The directory that the last entry was in: most archives list a directory's files together.
    parent: Option<(PathBuf, Rc<Parent>)>,
    /// Names that a whiteout of this layer hides below.
    hidden: BTreeSet<PathBuf>,
}

/// The directory that an entry is made in.
#[derive(Debug)]
struct Parent {
    directory: Directory,
    /// Its path with all links followed: two entries may reach it by different paths.
    real: PathBuf,
}

/// A layer's tree, and what it needs from the layers below it.
#[derive(Debug)]
pub struct Extracted {
    /// The directory that holds the tree.
    pub(super) container: Directory,
    pub(super) root: Root,
    /// Directories that have no entry of their own: they only lead to one.
    pub(super) implicit: BTreeSet<PathBuf>,
    /// Hard links whose targets this layer does not have.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// The times of directories, which are set last.
    pub(super) times: BTreeMap<PathBuf, Timestamp>,
    has_root_entry: bool,
    entries: u64,
    content_bytes: u64,
    warnings: Vec<String>,
}

impl Extracted {
    /// Is the tree the same whatever lies below it?
    #[must_use]
    pub fn is_independent(&self) -> bool {
        self.implicit.is_empty() && self.links.is_empty()
    }

    /// Does the layer say what the root directory's attributes are?
    #[must_use]
    pub fn has_root_entry(&self) -> bool {
        self.has_root_entry
    }

    /// The number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The bytes of all files, which is what the layer is said to add to an image's size.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// What could not be kept, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn set_directory_times(&self) -> Result<(), LayerError> {
        for (path, time) in &self.times {
            let set = if path.as_os_str().is_empty() {
                self.container.set_times(OsStr::new(TREE), Times::both(*time))
            } else {
                self.root.set_times(path, Times::both(*time))
            };
            set.map_err(LayerError::Finish)?;
        }
        Ok(())
    }
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
            .and_then(|()| container.set_mode(tree, 0o755))
            .and_then(|()| container.open_directory(tree))
            .and_then(|directory| directory.try_clone());
        let directory = made.map_err(LayerError::Finish)?;
        let root = Root::from_directory(directory);
        let extracted = Extracted {
            container,
            root,
            implicit: BTreeSet::new(),
            links: BTreeMap::new(),
            times: BTreeMap::from([(PathBuf::new(), Timestamp::default())]),
            has_root_entry: false,
            entries: 0,
            content_bytes: 0,
            warnings: Vec::new(),
        };
        Ok(Self { extracted, parent: None, hidden: BTreeSet::new() })
    }

    /// Applies all entries of `reader`.
    ///
    /// # Errors
    /// The archive is damaged, or an entry cannot be applied; the tree is of no use then.
    pub fn apply_all<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), LayerError> {
        while let Some(entry) = reader.next_entry()? {
            self.apply(&entry, reader)?;
        }
        Ok(())
    }

    /// Applies one entry, whose content `reader` gives.
    ///
    /// # Errors
    /// As [`Extractor::apply_all`].
    pub fn apply<R: Read>(
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

    fn apply_entry<R: Read>(
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
        match entry.kind {
            EntryKind::Directory => self.directory(entry, &path, parent, name),
            EntryKind::HardLink => self.hard_link(entry, &path, parent, name),
            kind => {
                self.make_room(&path, parent, name)?;
                match kind {
                    EntryKind::File => self.file(entry, reader, parent, name),
                    EntryKind::Symlink => {
                        use std::os::unix::ffi::OsStrExt;
                        parent.symlink(OsStr::from_bytes(&entry.link), name)?;
                        self.attributes(entry, parent, name)
                    }
                    EntryKind::CharacterDevice => {
                        if entry.device == (0, 0) {
                            return Err(EntryError::WhiteoutDevice);
                        }
                        self.node(entry, FileKind::CharacterDevice, parent, name)
                    }
                    EntryKind::BlockDevice => self.node(entry, FileKind::BlockDevice, parent, name),
                    _ => self.node(entry, FileKind::Fifo, parent, name),
                }
            }
        }
    }

    /// The entry of the root itself gives it attributes only.
    fn apply_root(&mut self, entry: &Entry) -> Result<(), EntryError> {
        if entry.kind != EntryKind::Directory {
            return Err(EntryError::Root);
        }
        self.extracted.has_root_entry = true;
        self.extracted.times.insert(PathBuf::new(), entry.mtime);
        let container = self.extracted.container.try_clone()?;
        self.attributes(entry, &container, OsStr::new(TREE))
    }

    /// The directory at `path`, made if it is missing. Links of this layer in the way are followed
    /// inside it.
    fn parent(&mut self, path: &Path) -> Result<Rc<Parent>, EntryError> {
        if let Some((known, parent)) = &self.parent
            && known == path
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
                root.set_xattr(&here, OPAQUE_XATTR, b"y")?;
            }
        }
        Ok(())
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
            let below = |known: &PathBuf| known.starts_with(path);
            self.extracted.implicit.retain(|known| !below(known));
            self.extracted.links.retain(|known, _| !below(known));
            self.extracted.times.retain(|known, _| !below(known));
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
        let found = parent.stat(name)?;
        if !found.is_some_and(|m| m.kind == FileKind::Directory) {
            if let Some(found) = found {
                self.remove(path, parent, name, found)?;
            }
            parent.create_directory(name, 0o700)?;
        }
        self.attributes(entry, parent, name)?;
        if self.hidden.contains(path) {
            parent.set_xattr(name, OPAQUE_XATTR, b"y")?;
        }
        self.extracted.times.insert(path.to_owned(), entry.mtime);
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
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        parent.create_node(name, kind, 0, entry.device)?;
        self.attributes(entry, parent, name)
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let mut file = parent.create_file(name, 0o600)?;
        write_content(reader, &mut file, entry.size).map_err(EntryError::Content)?;
        self.extracted.content_bytes += entry.size;
        let failed = |operation, errno: Errno| FsError::new(operation, Path::new(name), errno);
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))
            .map_err(|e| failed("change owner of", e))?;
        for (attribute, value) in stored_xattrs(entry) {
            let set = rustix::fs::fsetxattr(&file, &attribute, value, XattrFlags::empty());
            self.tolerate(
                entry,
                &attribute,
                set.map_err(|e| failed("set extended attribute of", e)),
            )?;
        }
        // After the owner, because changing the owner takes set-user-id away.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode as RawMode))
            .map_err(|e| failed("change mode of", e))?;
        let time = rustix::fs::Timespec {
            tv_sec: entry.mtime.seconds,
            tv_nsec: entry.mtime.nanoseconds.into(),
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::futimens(file.as_fd(), &times).map_err(|e| failed("set times of", e))?)
    }

    /// Owner, extended attributes, mode, times; in this order, because each may undo the one after.
    fn attributes(
        &mut self,
        entry: &Entry,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        parent.set_owner(name, entry.uid, entry.gid)?;
        for (attribute, value) in stored_xattrs(entry) {
            let set = parent.set_xattr(name, &attribute, value);
            self.tolerate(entry, &attribute, set)?;
        }
        if entry.kind != EntryKind::Symlink {
            parent.set_mode(name, entry.mode)?;
        }
        Ok(parent.set_times(name, Times::both(entry.mtime))?)
    }

    /// A file system that knows no such attribute, or a kind of file that can bear none, is no
    /// reason to refuse an image; it is told.
    fn tolerate(
        &mut self,
        entry: &Entry,
        attribute: &[u8],
        result: Result<(), FsError>,
    ) -> Result<(), EntryError> {
        match result {
            Ok(()) => Ok(()),
            Err(error)
                if error.is(Errno::OPNOTSUPP)
                    || (error.is(Errno::PERM) && attribute.starts_with(b"user.")) =>
            {
                let attribute = String::from_utf8_lossy(attribute).into_owned();
                let path = entry.display_path();
                self.extracted
                    .warnings
                    .push(format!("{path}: extended attribute {attribute} cannot be kept"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn make_opaque(&mut self, path: &Path) -> Result<(), EntryError> {
        if path.as_os_str().is_empty() {
            let container = &self.extracted.container;
            return Ok(container.set_xattr(OsStr::new(TREE), OPAQUE_XATTR, b"y")?);
        }
        let real = self.parent(path)?.real.clone();
        if real.as_os_str().is_empty() {
            return self.make_opaque(&real);
        }
        Ok(self.extracted.root.set_xattr(&real, OPAQUE_XATTR, b"y")?)
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
                Ok(parent.set_xattr(name, OPAQUE_XATTR, b"y")?)
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
        self.extracted.set_directory_times()?;
        Ok(self.extracted)
    }
}

/// Links `target` of the same tree to `name`; false if the tree does not have it.
pub(super) fn link_within(
    root: &Root,
    target: &Path,
    parent: &Directory,
    name: &OsStr,
) -> Result<bool, FsError> {
    let (target_parent, target_name) = match root.parent(target) {
        Ok(found) => found,
        Err(error) if error.is_not_found() || error.is(Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error),
    };
    match target_parent.stat(target_name)? {
        Some(found) if !found.is_whiteout() => {
            parent.hard_link(&target_parent, target_name, name)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn stored_xattrs(entry: &Entry) -> impl Iterator<Item = (Vec<u8>, &[u8])> {
    let kept = entry.xattrs.iter().filter(|(name, _)| !is_host_xattr(name));
    kept.map(|(name, value)| (stored_xattr(name), value.as_slice()))
}

/// Writes an entry's content; holes stay holes.
fn write_content<R: Read>(reader: &mut Reader<R>, file: &mut File, size: u64) -> io::Result<()> {
    let mut buffer = [0_u8; 64 << 10];
    let mut ends_in_hole = false;
    loop {
        let hole = reader.hole();
        if hole > 0 {
            reader.skip_hole(hole);
            file.seek(SeekFrom::Current(i64::try_from(hole).map_err(|_| Errno::FBIG)?))?;
            ends_in_hole = true;
        }
        match reader.read(&mut buffer)? {
            0 => break,
            count => file.write_all(&buffer[..count])?,
        }
    }
    if ends_in_hole { file.set_len(size) } else { Ok(()) }
}
