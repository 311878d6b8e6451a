//! Two trees, file by file: what was added, changed and deleted, as `docker diff` says it, and the upper
//! directory that turns the one into the other.

mod uppers;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::fsroot::{FileKind, FsError, Root, Walk, WalkEntry, Xattr};

pub use uppers::{copy_upper, write_changes};

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or its attributes are others.
    Changed,
    /// It is gone, with all that was below it.
    Deleted,
}

impl ChangeKind {
    /// The letter of `docker diff`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One file that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The path below the root, without a slash before it.
    pub path: PathBuf,
}

/// All that is different in `after`, in the order of a walk: directories before what is in them. A
/// directory is changed if its attributes are, or if something in it was added or deleted.
///
/// # Errors
/// A file cannot be read.
pub fn changes(before: &Root, after: &Root) -> Result<Vec<Change>, FsError> {
    let mut old = Side::new(before)?;
    let mut new = Side::new(after)?;
    let mut changes = Vec::new();
    loop {
        let order = match (&old.next, &new.next) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            // By components: a directory's files stand before its next sibling.
            (Some(a), Some(b)) => a.path.iter().cmp(b.path.iter()),
        };
        match order {
            std::cmp::Ordering::Less => {
                if let Some(entry) = old.take()? {
                    mark_parent(&mut changes, &entry.path);
                    old.skip_below(&entry.path)?;
                    changes.push(Change { kind: ChangeKind::Deleted, path: entry.path });
                }
            }
            std::cmp::Ordering::Greater => {
                if let Some(entry) = new.take()? {
                    mark_parent(&mut changes, &entry.path);
                    changes.push(Change { kind: ChangeKind::Added, path: entry.path });
                }
            }
            std::cmp::Ordering::Equal => {
                let (Some(a), Some(b)) = (old.take()?, new.take()?) else { break };
                let was_replaced = a.metadata.kind == FileKind::Directory
                    && b.metadata.kind != FileKind::Directory;
                if was_replaced {
                    old.skip_below(&a.path)?;
                }
                if differs(&a, &b)? {
                    changes.push(Change { kind: ChangeKind::Changed, path: b.path });
                }
            }
        }
    }
    Ok(changes)
}

/// The directory of what was added or deleted counts as changed, unless it is new itself.
fn mark_parent(changes: &mut Vec<Change>, path: &Path) {
    let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) else { return };
    if !changes.iter().rev().any(|change| change.path == parent) {
        let at = changes.iter().rposition(|c| !c.path.starts_with(parent)).map_or(0, |at| at + 1);
        changes.insert(at, Change { kind: ChangeKind::Changed, path: parent.to_owned() });
    }
}

/// A walk that shows what comes next.
struct Side {
    walk: Walk,
    next: Option<WalkEntry>,
}

impl Side {
    fn new(root: &Root) -> Result<Self, FsError> {
        let mut walk = root.walk(Path::new(""))?;
        let next = next_of(&mut walk)?;
        Ok(Self { walk, next })
    }

    fn take(&mut self) -> Result<Option<WalkEntry>, FsError> {
        let next = next_of(&mut self.walk)?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn skip_below(&mut self, path: &Path) -> Result<(), FsError> {
        while self.next.as_ref().is_some_and(|next| next.path.starts_with(path)) {
            self.take()?;
        }
        Ok(())
    }
}

/// A single layer is looked at as it lies, with its whiteouts, which are no files.
fn next_of(walk: &mut Walk) -> Result<Option<WalkEntry>, FsError> {
    loop {
        match walk.next().transpose()? {
            Some(entry) if entry.metadata.is_whiteout() => {}
            other => return Ok(other),
        }
    }
}

fn differs(a: &WalkEntry, b: &WalkEntry) -> Result<bool, FsError> {
    let (old, new) = (&a.metadata, &b.metadata);
    if old.kind != new.kind || (old.uid, old.gid) != (new.uid, new.gid) {
        return Ok(true);
    }
    if old.kind != FileKind::Symlink && old.mode != new.mode {
        return Ok(true);
    }
    if old.device != new.device {
        return Ok(true);
    }
    let is_other = match old.kind {
        FileKind::Symlink => a.parent.read_link(&a.name)? != b.parent.read_link(&b.name)?,
        // One file of both trees is the same.
        FileKind::File if old.inode == new.inode => false,
        FileKind::File => old.size != new.size || old.mtime != new.mtime || !same_content(a, b)?,
        _ => false,
    };
    if is_other {
        return Ok(true);
    }
    Ok(xattrs(a)? != xattrs(b)?)
}

fn xattrs(entry: &WalkEntry) -> Result<Vec<Xattr>, FsError> {
    let mut xattrs = entry.parent.xattrs(&entry.name)?;
    // What overlayfs writes down for itself.
    xattrs.retain(|(name, _)| {
        !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
    });
    xattrs.sort();
    Ok(xattrs)
}

/// Do two files have the same bytes?
pub(crate) fn same_content(a: &WalkEntry, b: &WalkEntry) -> Result<bool, FsError> {
    let failed = |error: io::Error| FsError::new("read", &b.path, error);
    let mut left = a.parent.open_file(&a.name)?;
    let mut right = b.parent.open_file(&b.name)?;
    let (mut one, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = left.read(&mut one).map_err(failed)?;
        if count == 0 {
            return Ok(right.read(&mut other).map_err(failed)? == 0);
        }
        if right.read_exact(&mut other[..count]).is_err() || one[..count] != other[..count] {
            return Ok(false);
        }
    }
}
