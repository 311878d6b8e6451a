//! Places to mount on that the image does not have.
//!
//! A runtime that finds no `/proc` or `/etc/resolv.conf` makes one, and so it would end in the
//! layer; taking it out again afterwards means to guess what the command itself did. Instead the
//! places are made in a lower directory of their own, with the attributes of the directories
//! around them as they are: the upper directory never sees them.

use std::path::{Path, PathBuf};

use super::error::StepError;
use super::source_tree::is_copied_xattr;
use super::workspace::Workspace;
use crate::fsroot::{FileKind, Root, Times};

/// Something that will be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where, as the container sees it.
    pub path: PathBuf,
    /// A directory, or else a file.
    pub is_directory: bool,
    /// The mode of what is made, where something is. Some runtimes give it to a tmpfs, whatever its options say.
    pub mode: u32,
}

/// Makes a lower directory with the places that the rootfs lacks; `None` if it lacks none.
///
/// # Errors
/// The file system's.
pub fn make(workspace: &Workspace, targets: &[Target]) -> Result<Option<PathBuf>, StepError> {
    let rootfs = workspace.root();
    let mut missing = Vec::new();
    for target in targets {
        let path = rootfs.real_path(&target.path)?;
        if rootfs.symlink_metadata(&path)?.is_none() {
            missing.push((path, target));
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    let directory = workspace.directory("stubs")?;
    let stubs = Root::open(&directory)?;
    let mut times = Vec::new();
    for (path, target) in missing {
        for above in ancestors(&path) {
            make_directory(rootfs, &stubs, above, &mut times)?;
        }
        if stubs.symlink_metadata(&path)?.is_some() {
            // It is above another one.
        } else if target.is_directory {
            stubs.create_directory(&path, 0o700)?;
            stubs.set_mode(&path, target.mode)?;
        } else {
            stubs.create_file(&path, target.mode)?;
        }
    }
    // Last, because making something in a directory changes its times.
    for (path, time) in times.into_iter().rev() {
        stubs.set_times(&path, time)?;
    }
    Ok(Some(directory))
}

/// The directories above `path`, highest first, without the root.
fn ancestors(path: &Path) -> Vec<&Path> {
    let mut above: Vec<_> =
        path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    above.reverse();
    above
}

fn make_directory(
    rootfs: &Root,
    stubs: &Root,
    path: &Path,
    times: &mut Vec<(PathBuf, Times)>,
) -> Result<(), StepError> {
    if stubs.symlink_metadata(path)?.is_some() {
        return Ok(());
    }
    stubs.create_directory(path, 0o700)?;
    let Some(found) = rootfs.metadata(path)?.filter(|found| found.kind == FileKind::Directory)
    else {
        stubs.set_mode(path, 0o755)?;
        return Ok(());
    };
    // A directory that is in several layers shows the attributes of the topmost.
    stubs.set_owner(path, found.uid, found.gid)?;
    for (attribute, value) in rootfs.xattrs(path)? {
        if is_copied_xattr(&attribute) {
            stubs.set_xattr(path, &attribute, &value)?;
        }
    }
    stubs.set_mode(path, found.mode)?;
    times.push((path.to_owned(), Times::both(found.mtime)));
    Ok(())
}
