//! Which processes are in a cgroup and below it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::file;
use crate::sys::error::SyscallError;

/// The pids in one directory, in this process's pid namespace; those that it cannot see are left out.
/// Empty when the directory is gone.
pub(super) fn pids(path: &Path) -> Result<Vec<i32>, CgroupError> {
    let failed = |source| CgroupError::File { file: path.join("cgroup.procs"), source };
    let directory = match file::open_directory(path) {
        Err(error) if is_gone(error) => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let text = match file::read(&directory, "cgroup.procs") {
        // A threaded cgroup of v2 lists only threads.
        Err(error) if error.errno == libc::EOPNOTSUPP => file::read(&directory, "cgroup.threads"),
        other => other,
    };
    match text {
        Err(error) if is_gone(error) => Ok(Vec::new()),
        other => {
            let text = other.map_err(failed)?;
            Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
        }
    }
}

/// The pids in a directory and in all below it, ascending, each once.
pub(super) fn all_pids(path: &Path) -> Result<Vec<i32>, CgroupError> {
    let mut all = Vec::new();
    for directory in tree(path) {
        all.append(&mut pids(&directory)?);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// A directory and all below it, parents first. Directories that vanish meanwhile are left out. A
/// container may nest its own as deep as it likes, so this does not recurse.
pub(super) fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = all.get(next).cloned() {
        next += 1;
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        all.extend(directories.map(|entry| entry.path()));
    }
    all
}

/// Whether the error says that the cgroup was removed, before or after it was opened.
pub(super) fn is_gone(error: SyscallError) -> bool {
    matches!(error.errno, libc::ENOENT | libc::ENODEV)
}

/// A cgroup that was there before must be empty and must not be frozen: limits would hit strangers,
/// or the container process would never run.
pub(super) fn refuse_in_use(directory: impl AsFd, path: &Path) -> Result<(), CgroupError> {
    let count = all_pids(path)?.len();
    if count > 0 {
        return Err(CgroupError::NotEmpty { path: path.to_owned(), count });
    }
    let says = |name: &str, word: &str| {
        file::read(directory.as_fd(), name).is_ok_and(|text| text.trim() == word)
    };
    if says("freezer.self_freezing", "1") || says("cgroup.freeze", "1") {
        return Err(CgroupError::Frozen { path: path.to_owned() });
    }
    Ok(())
}
