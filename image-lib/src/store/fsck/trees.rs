//! Two trees of one layer, file by file.

use std::path::Path;

use crate::compare::same_content;
use crate::fsroot::{FileKind, FsError, Root, WalkEntry, Xattr};
use crate::store::StoreError;

/// What overlayfs writes down for itself.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const OPAQUE: &[u8] = b"opaque";

/// The first place where `tree` is not what `expected` is, in words.
pub(super) fn first_difference(expected: &Path, tree: &Path) -> Result<Option<String>, StoreError> {
    let (expected, tree) = (Root::open(expected)?, Root::open(tree)?);
    let mut wanted = expected.walk(Path::new(""))?;
    // A socket cannot be said in an archive, and lies only where a container has left it.
    let is_socket = |entry: &Result<WalkEntry, FsError>| {
        entry.as_ref().is_ok_and(|entry| entry.metadata.kind == FileKind::Socket)
    };
    let mut found = tree.walk(Path::new(""))?.filter(|entry| !is_socket(entry));
    loop {
        let (wanted, found) = (wanted.next().transpose()?, found.next().transpose()?);
        let (wanted, found) = match (wanted, found) {
            (None, None) => return Ok(None),
            (Some(wanted), Some(found)) => (wanted, found),
            (Some(lost), None) => return Ok(Some(format!("{:?} is missing", lost.path))),
            (None, Some(new)) => return Ok(Some(format!("{:?} is too much", new.path))),
        };
        if let Some(difference) = differs(&wanted, &found)? {
            return Ok(Some(difference));
        }
    }
}

fn differs(wanted: &WalkEntry, found: &WalkEntry) -> Result<Option<String>, StoreError> {
    let say = |what: &str| Ok(Some(format!("{what} of {:?} differs", wanted.path)));
    let (a, b) = (&wanted.metadata, &found.metadata);
    if wanted.path != found.path {
        let first = (&wanted.path).min(&found.path);
        let what = if *first == wanted.path { "is missing" } else { "is too much" };
        return Ok(Some(format!("{first:?} {what}")));
    }
    if a.kind != b.kind {
        return say("the kind");
    }
    if a.is_whiteout() && b.is_whiteout() {
        return Ok(None);
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        return say("the owner");
    }
    // A link's mode is nobody's, and the time of a directory changes with what is made in it.
    if a.kind != FileKind::Symlink && a.mode != b.mode {
        return say("the mode");
    }
    if a.kind != FileKind::Directory && a.mtime != b.mtime {
        return say("the time");
    }
    if a.device != b.device {
        return say("the device");
    }
    if a.kind == FileKind::Symlink
        && wanted.parent.read_link(&wanted.name)? != found.parent.read_link(&found.name)?
    {
        return say("the target");
    }
    if a.kind == FileKind::File && (a.size != b.size || !same_content(wanted, found)?) {
        return say("the content");
    }
    if xattrs(wanted)? != xattrs(found)? {
        return say("an extended attribute");
    }
    Ok(None)
}

fn xattrs(entry: &WalkEntry) -> Result<Vec<Xattr>, FsError> {
    let mut xattrs = entry.parent.xattrs(&entry.name)?;
    xattrs.retain(|(name, _)| {
        let own = OVERLAY.iter().find_map(|prefix| name.strip_prefix(*prefix));
        own.is_none_or(|own| own == OPAQUE)
    });
    xattrs.sort();
    Ok(xattrs)
}
