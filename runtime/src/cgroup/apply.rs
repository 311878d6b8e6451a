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
    /// The directory (`O_PATH`).
    pub directory: OwnedFd,
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
}

impl Applied {
    /// The v2 directory, for clone3(2) with `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        let mut members = self.members.iter();
        members.find(|m| matches!(m.join, Join::Procs(_))).map(|m| m.directory.as_fd())
    }

    /// The files to which a process writes `0` to be in every cgroup; v2's among them only when it is
    /// not cloned into it.
    pub fn joins(&self, cloned_into_unified: bool) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.members.iter().filter_map(move |member| match &member.join {
            Join::Tasks(fd) => Some(fd.as_fd()),
            Join::Procs(fd) => (!cloned_into_unified).then_some(fd.as_fd()),
        })
    }

    /// The paths by their keys, for the state file.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let members = self.members.iter();
        Paths::new(members.flat_map(|m| m.keys.iter().map(|key| (key.clone(), m.path.clone()))))
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
pub fn apply(plan: &Plan) -> Result<Applied, CgroupError> {
    let mut made = Vec::new();
    match make_all(plan, &mut made) {
        Ok(members) => Ok(Applied { members, made }),
        Err(error) => {
            undo(&made);
            Err(error)
        }
    }
}

/// Refuses a place where processes are, or where none would run. To be asked before the plan's paths
/// are journalled, because whoever finds them in a journal kills what is there and removes it;
/// [`apply`] asks once more.
///
/// # Errors
/// [`CgroupError::NotEmpty`], [`CgroupError::Frozen`], [`CgroupError::File`].
pub fn check_unused(plan: &Plan) -> Result<(), CgroupError> {
    for directory in &plan.directories {
        let path = directory.path();
        // Not there in most cases; whatever else is wrong will be said when it is made.
        if let Ok(open) = file::open_directory(&path) {
            procs::refuse_in_use(open, &path)?;
        }
    }
    Ok(())
}

fn undo(made: &[PathBuf]) {
    for path in made.iter().rev() {
        // Nothing to be done: the error that led here is the one to report.
        let _ = file::c_path(path).and_then(|path| rmdirat(CWD, &path));
    }
}

fn make_all(plan: &Plan, made: &mut Vec<PathBuf>) -> Result<Vec<Member>, CgroupError> {
    let mut members: Vec<Option<Member>> = Vec::with_capacity(plan.directories.len());
    for (index, directory) in plan.directories.iter().enumerate() {
        members.push(match make(plan, index, made) {
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
fn make(plan: &Plan, index: usize, made: &mut Vec<PathBuf>) -> Result<Member, CgroupError> {
    let planned = &plan.directories[index];
    let path = planned.path();
    let failed = |source| CgroupError::Make { path: path.clone(), source };
    if let DirectoryKind::V2 { enable } = &planned.kind {
        enable_controllers(planned, enable, made).map_err(failed)?;
    }
    let is_new = make_path(planned, &planned.below, made).map_err(failed)?;
    let directory = file::open_directory(&path).map_err(failed)?;
    if !is_new {
        procs::refuse_in_use(&directory, &path)?;
    }
    if let DirectoryKind::V1Cpuset { cpus, mems } = planned.kind {
        let is_free = |name| !plan.writes.iter().any(|w| w.directory == index && w.file == name);
        let names = [(cpus, is_free(cpus)), (mems, is_free(mems))];
        cpuset::fill(planned, &directory, names, is_new)?;
    }
    let open = |name: &str| {
        let fd = file::open_for_writing(&directory, name);
        fd.map_err(|source| CgroupError::File { file: path.join(name), source })
    };
    let join = match planned.kind {
        DirectoryKind::V2 { .. } => Join::Procs(open("cgroup.procs")?),
        _ => Join::Tasks(open("tasks")?),
    };
    Ok(Member { keys: planned.keys.clone(), path: path.clone(), directory, join })
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
fn write_limits(plan: &Plan, members: &[Option<Member>]) -> Result<(), CgroupError> {
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
        open = match file::open_for_writing(&member.directory, &write.file) {
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
            file::write(&member.directory, &write.file, &write.value)
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
        Some((file, value)) => file::write(&member.directory, file, value)
            .map_err(|source| limit_error(write, &member.path, file, source)),
        None if write.missing == Missing::Skip => Ok(()),
        None => Err(limit_error(write, &member.path, &write.file, error)),
    }
}

fn limit_error(write: &Write, directory: &Path, file: &str, source: SyscallError) -> CgroupError {
    CgroupError::Limit {
        origin: write.origin.clone(),
        value: write.value.clone(),
        file: directory.join(file),
        source,
    }
}
