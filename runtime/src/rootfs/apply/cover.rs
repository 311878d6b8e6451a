//! What hides and protects: masked and read-only paths. Allocates nothing.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use super::attributes::set_attributes;
use super::{Live, is_absence, last_name};
use crate::failure::Result;
use crate::root::{Root, host_null};
use crate::sys::mount::{self, ATTR_RDONLY, Attributes};
use crate::sys::open::{fstat, leave_open};

/// [`mask`] of a file whose name stands in the open directory. The cover is tried first: most paths are not there,
/// and most that are are files.
pub(super) fn mask_in_directory(live: &mut Live, path: &CStr) -> Result<()> {
    let cover = match live.cover.take() {
        Some(cover) => cover,
        None => null_cover(live)?,
    };
    match mount::move_mount_below(&cover, live.directory()?, last_name(path)) {
        Ok(()) => leave_open(cover),
        Err(error) => {
            live.cover = Some(cover);
            // Else it is a directory, most likely, and one must not be taken for missing.
            if error.errno != libc::ENOENT {
                return mask(live, path);
            }
        }
    }
    Ok(())
}

pub(super) fn mask(live: &mut Live, path: &CStr) -> Result<()> {
    let place = match live.root()?.find(path) {
        Err(error) if is_absence(error) => return Ok(()),
        other => other?,
    };
    if fstat(&place)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return mask_directory(live, place);
    }
    lay(null_cover(live)?, place)
}

fn null_cover(live: &mut Live) -> Result<OwnedFd> {
    let null = match live.null.take() {
        Some(null) => null,
        None => host_null()?,
    };
    let cover = mount::open_tree_clone(&null, c"", false);
    live.null = Some(null);
    Ok(cover?)
}

/// One empty tmpfs serves all directories: each gets a copy of the mount, not a superblock.
fn mask_directory(live: &mut Live, place: OwnedFd) -> Result<()> {
    if let Some(first) = &live.empty_directory {
        let cover = mount::open_tree_clone(first, c"", false)?;
        return lay(cover, place);
    }
    let cover = mount::empty_readonly_tmpfs()?;
    mount::move_mount(&cover, &place)?;
    leave_open(place);
    live.empty_directory = Some(cover);
    Ok(())
}

/// Lays a mount over a place; neither is needed again.
fn lay(cover: OwnedFd, place: OwnedFd) -> Result<()> {
    let laid = mount::move_mount(&cover, &place);
    leave_open(cover);
    leave_open(place);
    Ok(laid?)
}

/// [`make_readonly`] of what has no mounts below it and whose name stands in the open directory.
pub(super) fn readonly_in_directory(live: &Live, path: &CStr) -> Result<()> {
    let (directory, name) = (live.directory()?, last_name(path));
    let copy = match mount::open_tree_readonly(directory, name) {
        Err(error) if error.errno == libc::ENOENT => return Ok(()),
        // Before Linux 6.15, or for a reason that the longer way may tell.
        Err(_) => return make_readonly(live.root()?, path),
        Ok(copy) => copy,
    };
    let moved = mount::move_mount_below(&copy, directory, name);
    leave_open(copy);
    Ok(moved?)
}

pub(super) fn make_readonly(root: &Root, path: &CStr) -> Result<()> {
    let place = match root.find(path) {
        Err(error) if is_absence(error) => return Ok(()),
        other => other?,
    };
    let copy = mount::open_tree_clone(&place, c"", true)?;
    mount::move_mount(&copy, &place)?;
    let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
    let set = set_attributes(&copy, attributes, false);
    leave_open(copy);
    leave_open(place);
    set
}
