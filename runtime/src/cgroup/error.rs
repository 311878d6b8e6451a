//! What goes wrong between a plan and a cgroup, with the file, the value and the field of the config.

use std::borrow::Cow;
use std::path::PathBuf;

use thiserror::Error;

use super::router::LayoutError;
use crate::causes::with_causes;
use crate::sys::error::SyscallError;

/// Why a cgroup could not be made, used or removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// `/proc` could not be read.
    #[error("cannot read {file}")]
    Host {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: SyscallError,
    },
    /// `/proc` says something that it should not.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A directory could not be made.
    #[error("cannot make cgroup {}", path.display())]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: SyscallError,
    },
    /// A directory that was there already has processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// Which one.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// A directory that was there already is frozen, so that a process in it would never run.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// Which one.
        path: PathBuf,
    },
    /// A limit could not be set.
    #[error("{origin}: cannot write {value:?} to {}", file.display())]
    Limit {
        /// The field of the config.
        origin: Cow<'static, str>,
        /// The value.
        value: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: SyscallError,
    },
    /// A limit on memory is below what is in use. The words are runc's.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    InUse {
        /// In bytes, as it was to be written.
        limit: String,
        /// In bytes.
        usage: u64,
        /// In bytes.
        peak: u64,
    },
    /// The same, found out before it was tried.
    #[error("rejecting memory{} limit {limit} <= usage {usage}", if *swap { "+swap" } else { "" })]
    BelowUsage {
        /// Whether it is the limit on memory and swap together.
        swap: bool,
        /// In bytes.
        limit: i64,
        /// In bytes.
        usage: u64,
    },
    /// A limit was refused, and one that was set before it could not be set back.
    #[error("{} (and setting back the limits failed: {})", with_causes(_0.as_ref()), with_causes(_1.as_ref()))]
    NotUndone(Box<CgroupError>, Box<CgroupError>),
    /// A limit belongs to a directory that was left out for want of permission.
    #[error("{origin}: cgroup {} could not be made, so that it cannot be kept", path.display())]
    LeftOut {
        /// The field of the config.
        origin: Cow<'static, str>,
        /// The directory.
        path: PathBuf,
    },
    /// A file of an existing cgroup could not be used.
    #[error("cannot use {}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: SyscallError,
    },
    /// There is no directory that could be frozen, or listed.
    #[error("the container has no cgroup with {what}")]
    Missing {
        /// What is missing.
        what: &'static str,
    },
    /// Freezing would stop the process that asks for it, for good.
    #[error("this process is itself in cgroup {}", path.display())]
    Inside {
        /// Which one.
        path: PathBuf,
    },
    /// The kernel did not get there in time.
    #[error("cgroup {} is not {state} after {seconds} s", path.display())]
    Timeout {
        /// Which one.
        path: PathBuf,
        /// What was waited for.
        state: &'static str,
        /// How long.
        seconds: u32,
    },
    /// The directory could not be removed.
    #[error("cannot remove cgroup {}", path.display())]
    Remove {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: SyscallError,
    },
    /// The path is of no cgroup file system, and is left alone.
    #[error("{} is no cgroup", path.display())]
    NoCgroup {
        /// Which one.
        path: PathBuf,
    },
}

impl CgroupError {
    /// The errno behind the failure.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Host { source, .. }
            | Self::Make { source, .. }
            | Self::Limit { source, .. }
            | Self::File { source, .. }
            | Self::Remove { source, .. } => Some(source.errno),
            Self::NotUndone(first, _) => first.errno(),
            _ => None,
        }
    }

    /// What usually helps, for a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        if let Self::NotUndone(first, _) = self {
            return first.hint();
        }
        let errno = self.errno()?;
        let Self::Limit { file, .. } = self else {
            return match (self, errno) {
                (Self::Remove { .. }, libc::EBUSY) => {
                    Some("processes or cgroups are left in it: see its cgroup.procs")
                }
                (Self::Make { .. }, libc::EROFS | libc::EACCES | libc::EPERM) => {
                    Some("this user may not make cgroups there: it needs delegation, or root")
                }
                (Self::Make { .. }, libc::ENOSPC) => {
                    Some("the kernel's limit on cgroups is reached: see cgroup.max.descendants")
                }
                _ => None,
            };
        };
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Some(match (name, errno) {
            ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", libc::EBUSY) => {
                "the limit is lower than what is in use: see memory.usage_in_bytes"
            }
            ("memory.memsw.limit_in_bytes" | "memory.swap.max", libc::ENOENT) => {
                "this kernel does not count swap (swapaccount=1 at boot turns it on)"
            }
            ("memory.memsw.limit_in_bytes", libc::EINVAL) => {
                "memory and swap together cannot be less than the memory limit"
            }
            (
                "cpuset.cpus" | "cpus" | "cpuset.mems" | "mems",
                libc::EACCES | libc::EINVAL | libc::ERANGE,
            ) => "the list names processors or nodes that the parent cgroup does not have",
            ("cpuset.cpus" | "cpus" | "cpuset.mems" | "mems", libc::EBUSY | libc::ENOSPC) => {
                "a cgroup below uses what the list leaves out, or nothing is left for the processes"
            }
            ("cpu.rt_runtime_us" | "cpu.rt_period_us", libc::EINVAL) => {
                "the parent cgroups have no real-time budget left to give"
            }
            ("cpu.cfs_quota_us" | "cpu.cfs_period_us" | "cpu.max", libc::EINVAL) => {
                "out of the kernel's range, or more than a parent cgroup allows"
            }
            ("devices.allow", libc::EPERM) => "the parent cgroup does not allow the device either",
            (_, libc::ENOENT) => "this kernel has no such file: the controller is off or too old",
            (_, libc::ENODEV) => "no such device",
            (_, libc::EINVAL | libc::ERANGE) => "the kernel does not take this value",
            (_, libc::EACCES | libc::EPERM) => "this user may not set limits there",
            _ => return None,
        })
    }
}
