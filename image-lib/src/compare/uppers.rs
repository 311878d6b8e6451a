//! Upper directories that no overlay has made: a copy of one, and one that turns a tree into another.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{ChangeKind, changes};
use crate::flatten::{self, Seen};
use crate::fsroot::{FileKind, FsError, Metadata, Root, Times, WalkEntry};
use crate::layer::Form;
use crate::spec::Timestamp;

/// What refers to a lower layer cannot be taken along.
const REFERRING: [&[u8]; 4] = [
    b"trusted.overlay.redirect",
    b"trusted.overlay.metacopy",
    b"user.overlay.redirect",
    b"user.overlay.metacopy",
];

/// Copies the upper directory `from`, with its whiteouts and opaque directories, into the empty `to`.
///
/// # Errors
/// The kernel's; a file only refers to a lower layer.
pub fn copy_upper(from: &Root, to: &Root) -> Result<(), FsError> {
    let mut upper = Upper::new(to);
    let opaque = Form::of_this_process().opaque_xattr();
    for entry in from.walk(Path::new(""))? {
        let WalkEntry { path, name, metadata, parent } = entry?;
        if metadata.is_whiteout() {
            upper.whiteout(&path)?;
            continue;
        }
        if metadata.kind != FileKind::Symlink {
            for attribute in REFERRING {
                if parent.xattr(&name, attribute)?.is_some() {
                    return Err(FsError::new("copy", &path, rustix::io::Errno::XDEV));
                }
            }
        }
        upper.put(from, &path, metadata)?;
        if metadata.kind == FileKind::Directory
            && let Some(value) = parent.xattr(&name, opaque)?
        {
            to.set_xattr(&path, opaque, &value)?;
        }
    }
    upper.finish()
}

/// Makes the empty directory `upper` the one that turns `before` into `after` when it is laid over it.
///
/// # Errors
/// The kernel's.
pub fn write_changes(before: &Root, after: &Root, upper: &Root) -> Result<(), FsError> {
    let mut written = Upper::new(upper);
    for change in changes(before, after)? {
        written.parents(after, &change.path)?;
        if change.kind == ChangeKind::Deleted {
            written.whiteout(&change.path)?;
        } else if let Some(metadata) = after.symlink_metadata(&change.path)? {
            written.put(after, &change.path, metadata)?;
        }
    }
    written.finish()
}

struct Upper<'a> {
    to: &'a Root,
    made: HashSet<PathBuf>,
    /// The first path of every file with several names.
    links: HashMap<(u64, u64), PathBuf>,
    /// What is made in a directory changes its time.
    directories: Vec<(PathBuf, Timestamp, Option<Vec<u8>>)>,
}

impl<'a> Upper<'a> {
    fn new(to: &'a Root) -> Self {
        Self { to, made: HashSet::new(), links: HashMap::new(), directories: Vec::new() }
    }

    /// The directories above `path`, with the attributes that they have in `from`.
    fn parents(&mut self, from: &Root, path: &Path) -> Result<(), FsError> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|parent| !parent.as_os_str().is_empty() && !self.made.contains(*parent));
        for parent in above.into_iter().rev() {
            if let Some(metadata) = from.symlink_metadata(parent)? {
                self.put(from, parent, metadata)?;
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), FsError> {
        let (parent, name) = self.to.parent(path)?;
        parent.create_whiteout(name)
    }

    fn put(&mut self, from: &Root, path: &Path, metadata: Metadata) -> Result<(), FsError> {
        // A socket is of no use without the process behind it.
        if metadata.kind == FileKind::Socket || !self.made.insert(path.to_owned()) {
            return Ok(());
        }
        let (source, name) = from.parent(path)?;
        if metadata.kind == FileKind::Directory {
            let list = source.xattr(name, flatten::DEFAULT_ACL)?;
            self.directories.push((path.to_owned(), metadata.mtime, list));
        } else if metadata.links > 1 {
            if let Some(first) = self.links.get(&metadata.inode) {
                return self.to.hard_link(first, path);
            }
            self.links.insert(metadata.inode, path.to_owned());
        }
        let (target, own) = self.to.parent(path)?;
        flatten::copy(&source, name, &target, own, metadata, Seen::Either)
    }

    fn finish(self) -> Result<(), FsError> {
        for (path, mtime, list) in self.directories.iter().rev() {
            if let Some(list) = list {
                self.to.set_xattr(path, flatten::DEFAULT_ACL, list)?;
            }
            self.to.set_times(path, Times::both(*mtime))?;
        }
        Ok(())
    }
}
