//! What checkpoint and restore both must know of the world outside of a container: directories for criu,
//! cgroups that the container sees, and where the paths of its config really lead.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::host::cgroup_mounts;
use crate::causes::io_text;
use crate::cgroup;
use crate::criu::{Criu, CriuError};
use crate::root::Root;
use crate::sys::open::{CWD, OpenFlags, openat};

/// The oldest criu that can be talked to: it tells its version.
const OLDEST: u32 = 30_000;

/// Makes sure that criu is new enough.
///
/// # Errors
/// [`CriuError::Version`], naming what it is needed for.
pub(super) fn require(found: u32, needed: u32, reason: &'static str) -> Result<(), CriuError> {
    if found >= needed { Ok(()) } else { Err(CriuError::Version { found, needed, reason }) }
}

/// The version of a criu that can be talked to.
///
/// # Errors
/// Why it cannot.
pub(super) fn version(criu: &Criu) -> Result<u32, CriuError> {
    let found = criu.version()?;
    require(found, OLDEST, "")?;
    Ok(found)
}

/// The directories that criu works in.
#[derive(Debug)]
pub(super) struct Directories {
    /// The images.
    pub(super) images: OwnedFd,
    /// The log, where it is elsewhere.
    pub(super) work: Option<OwnedFd>,
    /// The path of the log.
    pub(super) log: PathBuf,
}

impl Directories {
    /// Opens them; the one for the log is made where it is missing.
    ///
    /// # Errors
    /// [`RuntimeError::System`] or [`RuntimeError::Refused`], naming the flag.
    pub(super) fn open(
        images: &Path,
        work: Option<&Path>,
        log: &str,
    ) -> Result<Self, RuntimeError> {
        let opened = open_directory(images)
            .map_err(RuntimeError::system(format!("--image-path {}", images.display())))?;
        let Some(work) = work else {
            return Ok(Self { images: opened, work: None, log: images.join(log) });
        };
        make(work, 0o700, false).map_err(|error| refused("--work-path", work, &error))?;
        let work_fd = open_directory(work)
            .map_err(RuntimeError::system(format!("--work-path {}", work.display())))?;
        Ok(Self { images: opened, work: Some(work_fd), log: work.join(log) })
    }
}

/// Opens a directory as a process with a mount namespace of its own sees it, so that the process can mount on
/// what is below.
pub(super) fn as_seen_by(pid: i32, fd: &OwnedFd) -> Result<OwnedFd, RuntimeError> {
    let path = path_of(fd).unwrap_or_default();
    let there = PathBuf::from(format!("/proc/{pid}/root{}", path.display()));
    open_directory(&there).map_err(RuntimeError::system(path.display().to_string()))
}

/// Makes a directory, which may be there.
pub(super) fn make(path: &Path, mode: u32, parents: bool) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    match builder.recursive(parents).mode(mode).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// A flag's path that cannot be used.
pub(super) fn refused(flag: &str, path: &Path, error: &std::io::Error) -> RuntimeError {
    RuntimeError::Refused(format!("{flag} {}: {}", path.display(), io_text(error)))
}

pub(super) fn open_directory(path: &Path) -> crate::sys::error::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    openat(CWD, &path, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY, 0)
}

/// A descriptor's number, as it is told to another process.
pub(super) fn number(fd: impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}

/// The cgroups that a mount of type `cgroup` shows by binds: the name below the mount and the directory.
pub(super) fn cgroup_binds(cgroups: &cgroup::Plan) -> Vec<(String, String)> {
    cgroup_mounts(cgroups).into_iter().map(|mount| (mount.name, mount.path)).collect()
}

/// Leads the paths of a config through the links of a root file system, for criu compares strings.
#[derive(Debug)]
pub(super) struct Resolver {
    root: Root,
    path: PathBuf,
}

impl Resolver {
    /// Of a root file system on the host.
    ///
    /// # Errors
    /// [`RuntimeError::System`], naming the path.
    pub(super) fn new(rootfs: &Path) -> Result<Self, RuntimeError> {
        let failed = || RuntimeError::system(format!("root.path ({})", rootfs.display()));
        let fd = open_directory(rootfs).map_err(failed())?;
        let path = path_of(&fd).unwrap_or_else(|| rootfs.to_owned());
        Ok(Self { root: Root::new(fd), path })
    }

    /// The root file system without links in its path.
    pub(super) fn root(&self) -> &Path {
        &self.path
    }

    /// Where a path leads, in the container's view. What is not there, being made by a mount in which it
    /// lies, is taken as it is written.
    pub(super) fn resolve(&self, path: &str) -> String {
        let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
        let mut rest = Vec::new();
        loop {
            if let Some(found) = self.find(&parts.join("/")) {
                let tail =
                    rest.iter().rev().fold(String::new(), |all, part| format!("{all}/{part}"));
                let whole = format!("{}{tail}", found.trim_end_matches('/'));
                return if whole.is_empty() { "/".to_owned() } else { whole };
            }
            match parts.pop() {
                Some(part) => rest.push(part),
                None => return path.to_owned(),
            }
        }
    }

    fn find(&self, path: &str) -> Option<String> {
        let path = if path.is_empty() { "." } else { path };
        let fd = self.root.find(&CString::new(path).ok()?).ok()?;
        let found = path_of(&fd)?;
        let below = found.strip_prefix(&self.path).ok()?.to_str()?.to_owned();
        Some(format!("/{below}"))
    }
}

/// The path of an open file, as the kernel knows it.
fn path_of(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn leads_paths_through_links_and_no_further() {
        let base = std::env::temp_dir().join(format!("keel-resolver-{}", std::process::id()));
        let root = base.join("rootfs");
        std::fs::create_dir_all(root.join("real/conf")).unwrap();
        std::os::unix::fs::symlink("/real/conf", root.join("conf")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.join("out")).unwrap();
        let resolver = Resolver::new(&root).unwrap();
        for (path, expected) in [
            ("/conf", "/real/conf"),
            ("/conf/", "/real/conf"),
            ("/conf/for/nested", "/real/conf/for/nested"),
            ("/none", "/none"),
            ("/out", "/out"),
            ("/", "/"),
        ] {
            assert_eq!(resolver.resolve(path), expected, "{path}");
        }
        std::fs::remove_dir_all(base).unwrap();
    }
}
