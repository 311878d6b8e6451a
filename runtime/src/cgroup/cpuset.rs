//! v1's cpuset: no process may enter a cgroup whose processors or memory nodes are empty, as those of
//! a new one are; so they are taken from the nearest ancestor that has some (cpuset(7)).

use std::os::fd::OwnedFd;

use super::apply::parents;
use super::error::CgroupError;
use super::file;
use super::plan::Directory;
use crate::sys::error::SyscallError;

/// Fills the file `name` of every parent of a directory where it is empty and, if `leaf`, of the
/// directory itself, which is known to be empty when it `is_new`.
pub(super) fn fill(
    mount: &OwnedFd,
    planned: &Directory,
    name: &'static str,
    leaf: bool,
    is_new: bool,
) -> Result<(), CgroupError> {
    let failed = |below: &str, source: SyscallError| CgroupError::File {
        file: planned.mount_point.join(below).join(name),
        source,
    };
    let ancestors: Vec<&str> = parents(&planned.below).collect();
    let read = |below: &str| {
        let directory = if below.is_empty() { "." } else { below };
        let text = file::open_directory(mount, directory).and_then(|dir| file::read(dir, name));
        text.map(|text| text.trim().to_owned()).map_err(|source| failed(below, source))
    };
    let write = |below: &str, value: &str| {
        let directory = file::open_directory(mount, below);
        let result = directory.and_then(|directory| file::write(directory, name, value));
        result.map_err(|source| failed(below, source))
    };
    // The nearest that has some: in most cases the first asked.
    let mut value = String::new();
    let mut empty = ancestors.len();
    while empty > 0 && value.is_empty() {
        value = read(ancestors[empty - 1])?;
        if value.is_empty() {
            empty -= 1;
        }
    }
    if value.is_empty() {
        if !leaf && ancestors.is_empty() {
            return Ok(());
        }
        value = read("")?;
    }
    for below in &ancestors[empty..] {
        write(below, &value)?;
    }
    if leaf && (is_new || read(&planned.below)?.is_empty()) {
        write(&planned.below, &value)?;
    }
    Ok(())
}
