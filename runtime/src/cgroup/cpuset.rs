//! v1's cpuset: no process may enter a cgroup whose processors or memory nodes are empty, as those of
//! a new one are; so they are taken from the nearest ancestor that has some (cpuset(7)).

use std::path::PathBuf;

use super::apply::parents;
use super::error::CgroupError;
use super::file;
use super::plan::Directory;
use crate::sys::open::{CWD, write_all};

/// One of the two files, and whether the directory itself is to be filled too: not when the config
/// says what it holds.
pub(super) type Name = (&'static str, bool);

/// Fills the files of every parent where they are empty, and of the directory, which `is_new` and
/// hence empty, or is looked at.
pub(super) fn fill(planned: &Directory, names: [Name; 2], is_new: bool) -> Result<(), CgroupError> {
    let cpuset = Cpuset { planned };
    let ancestors: Vec<&str> = std::iter::once("").chain(parents(&planned.below)).collect();
    let nearest = ancestors.last().copied().unwrap_or_default();
    for (name, leaf) in names {
        let mut value = cpuset.read(nearest, name)?;
        if value.is_empty() {
            value = cpuset.fill_ancestors(&ancestors, name)?;
        }
        if leaf && (is_new || cpuset.read(&planned.below, name)?.is_empty()) {
            cpuset.write(&planned.below, name, &value)?;
        }
    }
    Ok(())
}

/// The files of the hierarchy.
struct Cpuset<'a> {
    planned: &'a Directory,
}

impl Cpuset<'_> {
    fn file(&self, below: &str, name: &str) -> PathBuf {
        self.planned.mount_point.join(below).join(name)
    }

    fn read(&self, below: &str, name: &str) -> Result<String, CgroupError> {
        let file = self.file(below, name);
        match file::read_value(CWD, &file) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(CgroupError::File { file, source }),
        }
    }

    fn write(&self, below: &str, name: &str, value: &str) -> Result<(), CgroupError> {
        let file = self.file(below, name);
        let written =
            file::open_for_writing(CWD, &file).and_then(|open| write_all(open, value.as_bytes()));
        written.map_err(|source| CgroupError::File { file, source })
    }

    /// Fills a file from the nearest ancestor that has a value down to the nearest ancestor of all.
    /// `ancestors` starts with the root, whose files are never empty.
    fn fill_ancestors(&self, ancestors: &[&str], name: &str) -> Result<String, CgroupError> {
        let mut empty = ancestors.len();
        let mut value = String::new();
        while let Some(below) = empty.checked_sub(1).and_then(|at| ancestors.get(at)) {
            value = self.read(below, name)?;
            if !value.is_empty() {
                break;
            }
            empty -= 1;
        }
        for below in ancestors.iter().skip(empty) {
            self.write(below, name, &value)?;
        }
        Ok(value)
    }
}
