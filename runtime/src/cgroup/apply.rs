//! Makes what a plan says. Files are opened relative to their directory's descriptor; what was made is
//! removed again when a later step fails.
//!
//! Directories are made by absolute paths, one call each: cgroup file systems have no links that could
//! lead elsewhere, and a path below a mount point has only components that `location.rs` checked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::cpuset;
use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use super::plan::{Directory, DirectoryKind, Missing, Plan, Write};
use super::procs;
use crate::sys::bpf::{bpf_prog_attach_cgroup_device, bpf_prog_load_cgroup_device};
use crate::sys::error::{Result as SyscallResult, SyscallError};
use crate::sys::open::{CWD, OpenFlags, mkdirat, openat, rmdirat, write_all};

/// cgroups that were made, with what it takes to enter them.
#[derive(Debug)]
pub struct Applied {
    /// One per hierarchy, in the order of the plan; those left out for want of permission are missing.
    pub members: Vec<Member>,
    /// Directories that were not there before, parents first.
    made: Vec<PathBuf>,
}

/// One cgroup to enter.
#[derive(Debug)]
pub struct Member {
    /// The keys of state files.
    pub keys: Vec<String>,
    /// The absolute path.
    pub path: PathBuf,
    /// The directory (`O_PATH`), where it had to be opened.
    pub directory: Option<OwnedFd>,
    /// How to enter.
    pub join: Join,
}

/// How a process enters a cgroup.
#[derive(Debug)]
pub enum Join {
    /// v1: the process, which must have one thread, writes `0` to this. That spares it the wait for
    /// the kernel's threadgroup lock that moving another process takes.
    Tasks(OwnedFd),
    /// v2: the process is cloned into [`Member::directory`], or, where the kernel cannot do that,
    /// writes `0` to this.
    Procs(OwnedFd),
    /// The same, but not opened yet.
    Later,
}

/// When the files are opened through which a process enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Now, by this process: the one that enters may lack the right, or not see the files.
    Now,
    /// By the process that enters, which saves closing them here.
    Later,
}

impl Applied {
    /// The v2 directory, for clone3(2) with `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        let mut members = self.members.iter();
        members.find(|m| m.is_v2()).and_then(|m| m.directory.as_ref()).map(AsFd::as_fd)
    }

    /// The files to which a process writes `0` to be in every cgroup; v2's among them only when it is
    /// not cloned into it.
    pub fn joins(&self, cloned_into_unified: bool) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().filter_map(move |member| match &member.join {
            Join::Tasks(fd) => Some(fd.as_fd()),
            Join::Procs(fd) => (!cloned_into_unified).then_some(fd.as_fd()),
            Join::Later => None,
        })
    }

    /// The paths by their keys, for the state file.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let members = self.members.iter();
        Paths::new(members.flat_map(|m| m.keys.iter().map(|key| (key.clone(), m.path.clone()))))
    }

    /// Puts a process into all of them, by its pid. They have to be open.
    ///
    /// # Errors
    /// [`CgroupError::File`].
    pub fn enter(&self, pid: i32) -> Result<(), CgroupError> {
        let pid = pid.to_string();
        for member in &self.members {
            if let Join::Tasks(fd) | Join::Procs(fd) = &member.join {
                let failed = |source| CgroupError::File { file: member.join_path(), source };
                write_all(fd, pid.as_bytes()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes what was made, once no process is in it any more. What cannot be removed stays, and is
    /// the journal's matter.
    pub fn undo(self) {
        undo(&self.made);
    }
}

/// Makes the directories of `plan` and writes its limits.
///
/// # Errors
/// The first step that failed; what was made before it is gone again.
pub fn apply(plan: &Plan, opening: Opening) -> Result<Applied, CgroupError> {
    let mut made = Vec::new();
    match make_all(plan, opening, &mut made) {
        Ok(members) => Ok(Applied { members, made }),
        Err(error) => {
            undo(&made);
            Err(error)
        }
    }
}

fn undo(made: &[PathBuf]) {
    for path in made.iter().rev() {
        // Nothing to be done: the error that led here is the one to report.
        let _ = file::c_path(path).and_then(|path| rmdirat(CWD, &path));
    }
}

fn make_all(
    plan: &Plan,
    opening: Opening,
    made: &mut Vec<PathBuf>,
) -> Result<Vec<Member>, CgroupError> {
    let mut members: Vec<Option<Member>> = Vec::with_capacity(plan.directories.len());
    for (index, directory) in plan.directories.iter().enumerate() {
        members.push(match make(plan, index, opening, made) {
            Err(error) if directory.optional && is_permission(&error) => None,
            other => Some(other?),
        });
    }
    write_limits(plan, &members)?;
    if let Some((index, program)) = &plan.device_program
        && let Some(member) = members.get(*index).and_then(Option::as_ref)
    {
        let loaded = bpf_prog_load_cgroup_device(&program.0);
        let attached = loaded.and_then(|loaded| attach(&member.path, loaded));
        attached.map_err(|source| CgroupError::Limit {
            origin: "linux.resources.devices".into(),
            value: format!("a program of {} instructions", program.0.len()),
            file: member.path.clone(),
            source,
        })?;
    }
    Ok(members.into_iter().flatten().collect())
}

/// A program is attached to a directory that is open for reading; `O_PATH` does not do.
fn attach(path: &Path, program: OwnedFd) -> SyscallResult<()> {
    let flags = OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    bpf_prog_attach_cgroup_device(openat(CWD, &file::c_path(path)?, flags, 0)?, program)
}

fn is_permission(error: &CgroupError) -> bool {
    matches!(error.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

/// Makes one directory and opens what entering it takes.
fn make(
    plan: &Plan,
    index: usize,
    opening: Opening,
    made: &mut Vec<PathBuf>,
) -> Result<Member, CgroupError> {
    let planned = &plan.directories[index];
    let path = planned.path();
    let failed = |source| CgroupError::Make { path: path.clone(), source };
    if let DirectoryKind::V2 { enable } = &planned.kind {
        enable_controllers(planned, enable, made).map_err(failed)?;
    }
    let is_new = make_path(planned, &planned.below, made).map_err(failed)?;
    let is_v2 = matches!(planned.kind, DirectoryKind::V2 { .. });
    let directory = match is_new && !is_v2 {
        true => None,
        false => Some(file::open_directory(&path).map_err(failed)?),
    };
    if let Some(directory) = directory.as_ref().filter(|_| !is_new && !plan.occupied) {
        procs::refuse_in_use(directory, &path)?;
    }
    if let DirectoryKind::V1Cpuset { cpus, mems } = planned.kind {
        let is_free = |name| !plan.writes.iter().any(|w| w.directory == index && w.file == name);
        let names = [(cpus, is_free(cpus)), (mems, is_free(mems))];
        cpuset::fill(planned, names, is_new)?;
    }
    let name = join_file(is_v2);
    let open = || {
        let fd = file::open_for_writing(CWD, path.join(name));
        fd.map_err(|source| CgroupError::File { file: path.join(name), source })
    };
    let join = match (opening, is_v2) {
        (Opening::Later, _) => Join::Later,
        (Opening::Now, true) => Join::Procs(open()?),
        (Opening::Now, false) => Join::Tasks(open()?),
    };
    Ok(Member { keys: planned.keys.clone(), path: path.clone(), directory, join })
}

/// The file to which a process writes `0` to enter.
fn join_file(is_v2: bool) -> &'static str {
    if is_v2 { "cgroup.procs" } else { "tasks" }
}

impl Member {
    /// Whether the hierarchy is v2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.keys.iter().any(String::is_empty)
    }

    /// The file to which a process writes `0` to enter.
    #[must_use]
    pub fn join_path(&self) -> PathBuf {
        self.path.join(join_file(self.is_v2()))
    }

    fn open_for_writing(&self, file: &str) -> SyscallResult<OwnedFd> {
        match &self.directory {
            Some(directory) => file::open_for_writing(directory, file),
            None => file::open_for_writing(CWD, self.path.join(file)),
        }
    }

    fn write(&self, file: &str, value: &str) -> SyscallResult<()> {
        write_all(self.open_for_writing(file)?, value.as_bytes())
    }
}

/// Makes `below` and, where they are missing, its parents. Says whether it was not there before.
fn make_path(planned: &Directory, below: &str, made: &mut Vec<PathBuf>) -> SyscallResult<bool> {
    match make_one(planned, below, made) {
        Err(error) if error.errno == libc::ENOENT => {
            for parent in parents(below) {
                make_one(planned, parent, made)?;
            }
            make_one(planned, below, made)
        }
        other => other,
    }
}

fn make_one(planned: &Directory, below: &str, made: &mut Vec<PathBuf>) -> SyscallResult<bool> {
    let path = planned.mount_point.join(below);
    match mkdirat(CWD, &file::c_path(&path)?, 0o755) {
        Ok(()) => {
            made.push(path);
            Ok(true)
        }
        Err(error) if error.errno == libc::EEXIST => Ok(false),
        Err(error) => Err(error),
    }
}

/// `a`, `a/b` of `a/b/c`.
pub(super) fn parents(below: &str) -> impl Iterator<Item = &str> {
    below.match_indices('/').map(|(at, _)| &below[..at])
}

/// Enables controllers in the root and in every parent, each of which is made first. What a parent
/// cannot give is found out when a file is missing, so that only the making is checked.
fn enable_controllers(
    planned: &Directory,
    controllers: &[String],
    made: &mut Vec<PathBuf>,
) -> SyscallResult<()> {
    const NAME: &str = "cgroup.subtree_control";
    if controllers.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = controllers.iter().map(|name| format!("+{name}")).collect();
    for parent in std::iter::once("").chain(parents(&planned.below)) {
        if !parent.is_empty() {
            make_path(planned, parent, made)?;
        }
        let directory = file::open_directory(planned.mount_point.join(parent))?;
        if file::write(&directory, NAME, &all.join(" ")).is_err() {
            for one in &all {
                let _ = file::write(&directory, NAME, one);
            }
        }
    }
    Ok(())
}

/// Writes all limits. One that the kernel refuses for the sake of another (EINVAL: a quota below its
/// old burst, a memory limit above the old limit with swap) gets a second chance after all others.
pub(super) fn write_limits(plan: &Plan, members: &[Option<Member>]) -> Result<(), CgroupError> {
    let mut again: Vec<&Write> = Vec::new();
    let mut open: Option<(usize, &str, OwnedFd)> = None;
    for write in &plan.writes {
        let member = members.get(write.directory).and_then(Option::as_ref);
        let Some(member) = member else {
            let path = plan.directories.get(write.directory).map(Directory::path);
            let path = path.unwrap_or_default();
            return Err(CgroupError::LeftOut { origin: write.origin.clone(), path });
        };
        // A list of devices is a dozen lines for one file.
        if let Some((directory, file, fd)) = &open
            && (*directory, *file) == (write.directory, &*write.file)
        {
            limit(write, member, write_all(fd, write.value.as_bytes()), &mut again)?;
            continue;
        }
        open = match member.open_for_writing(&write.file) {
            Ok(fd) => {
                limit(write, member, write_all(&fd, write.value.as_bytes()), &mut again)?;
                Some((write.directory, &*write.file, fd))
            }
            Err(error) if error.errno == libc::ENOENT => {
                write_elsewhere(write, member, error)?;
                None
            }
            Err(source) => return Err(limit_error(write, &member.path, &write.file, source)),
        };
    }
    for write in again {
        if let Some(member) = members.get(write.directory).and_then(Option::as_ref) {
            member
                .write(&write.file, &write.value)
                .map_err(|source| limit_error(write, &member.path, &write.file, source))?;
        }
    }
    Ok(())
}

fn limit<'a>(
    write: &'a Write,
    member: &Member,
    result: SyscallResult<()>,
    again: &mut Vec<&'a Write>,
) -> Result<(), CgroupError> {
    match result {
        Err(error) if error.errno == libc::EINVAL => {
            again.push(write);
            Ok(())
        }
        other => other.map_err(|source| limit_error(write, &member.path, &write.file, source)),
    }
}

/// The file is missing: another one, nothing, or an error.
fn write_elsewhere(write: &Write, member: &Member, error: SyscallError) -> Result<(), CgroupError> {
    match &write.alternative {
        Some((file, value)) => member
            .write(file, value)
            .map_err(|source| limit_error(write, &member.path, file, source)),
        None if write.missing == Missing::Skip => Ok(()),
        None => Err(limit_error(write, &member.path, &write.file, error)),
    }
}

fn limit_error(write: &Write, directory: &Path, file: &str, source: SyscallError) -> CgroupError {
    if let ("memory.limit_in_bytes", libc::EBUSY) = (file, source.errno)
        && let Some(error) = in_use(&write.value, directory)
    {
        return error;
    }
    CgroupError::Limit {
        origin: write.origin.clone(),
        value: write.value.clone(),
        file: directory.join(file),
        source,
    }
}

/// The kernel cannot get below the limit; what stands in its way says more than the errno.
fn in_use(limit: &str, directory: &Path) -> Option<CgroupError> {
    let read = |name: &str| {
        let text = file::read_value(CWD, directory.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let usage = read("memory.usage_in_bytes")?;
    let peak = read("memory.max_usage_in_bytes")?;
    Some(CgroupError::InUse { limit: limit.to_owned(), usage, peak })
}
