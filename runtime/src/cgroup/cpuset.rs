//! v1's cpuset: no process may enter a cgroup whose processors or memory nodes are empty, as those of
//! a new one are; so they are taken from the nearest ancestor that has some (cpuset(7)).

use std::os::fd::OwnedFd;

use super::apply::parents;
use super::error::CgroupError;
use super::file;
use super::plan::Directory;
use crate::sys::error::SyscallError;

/// One of the two files, and whether the directory itself is to be filled too: not when the config
/// says what it holds.
pub(super) type Name = (&'static str, bool);

/// Fills the files of every parent where they are empty, and of the directory, which `is_new` and
/// hence empty, or is looked at.
pub(super) fn fill(
    planned: &Directory,
    directory: &OwnedFd,
    names: [Name; 2],
    is_new: bool,
) -> Result<(), CgroupError> {
    let cpuset = Cpuset { planned };
    let ancestors: Vec<&str> = std::iter::once("").chain(parents(&planned.below)).collect();
    let nearest = ancestors.last().copied().unwrap_or_default();
    let parent = cpuset.open(nearest)?;
    for (name, leaf) in names {
        let mut value = cpuset.read(&parent, nearest, name)?;
        if value.is_empty() {
            value = cpuset.fill_ancestors(&ancestors, name)?;
        }
        if leaf && (is_new || cpuset.read(directory, &planned.below, name)?.is_empty()) {
            cpuset.write(directory, &planned.below, name, &value)?;
        }
    }
    Ok(())
}

/// The hierarchy, for messages.
struct Cpuset<'a> {
    planned: &'a Directory,
}

impl Cpuset<'_> {
    fn failed(&self, below: &str, name: &str, source: SyscallError) -> CgroupError {
        CgroupError::File { file: self.planned.mount_point.join(below).join(name), source }
    }

    fn open(&self, below: &str) -> Result<OwnedFd, CgroupError> {
        let directory = file::open_directory(self.planned.mount_point.join(below));
        directory.map_err(|source| self.failed(below, "", source))
    }

    fn read(&self, directory: &OwnedFd, below: &str, name: &str) -> Result<String, CgroupError> {
        let text = file::read(directory, name);
        text.map(|text| text.trim().to_owned()).map_err(|source| self.failed(below, name, source))
    }

    fn write(
        &self,
        directory: &OwnedFd,
        below: &str,
        name: &str,
        value: &str,
    ) -> Result<(), CgroupError> {
        file::write(directory, name, value).map_err(|source| self.failed(below, name, source))
    }

    /// Fills a file from the nearest ancestor that has a value down to the nearest ancestor of all.
    /// `ancestors` starts with the root, whose files are never empty.
    fn fill_ancestors(&self, ancestors: &[&str], name: &str) -> Result<String, CgroupError> {
        let mut empty = ancestors.len();
        let mut value = String::new();
        while let Some(below) = empty.checked_sub(1).and_then(|at| ancestors.get(at)) {
            value = self.read(&self.open(below)?, below, name)?;
            if !value.is_empty() {
                break;
            }
            empty -= 1;
        }
        for below in ancestors.iter().skip(empty) {
            self.write(&self.open(below)?, below, name, &value)?;
        }
        Ok(value)
    }
}
