//! Why an operation on a container failed.

use crate::causes::with_causes;
use crate::cgroup::systemd::SystemdError;
use crate::cgroup::{CgroupError, LocationError, PlanErrors};
use crate::config::error::ConfigErrors;
use crate::config::load::LoadError;
use crate::container::id::InvalidId;
use crate::container::state_dir::StateError;
use crate::criu::CriuError;
use crate::failure::Failure;
use crate::init::error::{HookError, InitError};
use crate::resctrl::apply::ResctrlError;
use crate::seccomp::SeccompError;
use crate::sys::error::SyscallError;

/// An operation failed; nothing of what it began is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The id is none.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The config cannot be read or is not valid.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The config is not valid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The cgroup's place is not allowed.
    #[error(transparent)]
    CgroupLocation(#[from] LocationError),
    /// The limits cannot be had here.
    #[error(transparent)]
    CgroupPlan(#[from] PlanErrors),
    /// A cgroup could not be made, changed or removed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// systemd did not make, change or stop the unit.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The container's group in the resctrl file system could not be had.
    #[error(transparent)]
    Resctrl(#[from] ResctrlError),
    /// The seccomp profile cannot be compiled.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// The process could not be started. The words are runc's.
    #[error("unable to start container process")]
    Init(#[source] InitError),
    /// criu could not be asked, or could not do it.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The container is in a state in which this cannot be done, or a flag does not fit.
    #[error("{0}")]
    Refused(String),
    /// An error, and a second one that kept its traces from being removed.
    #[error("{} (and cleaning up failed: {second})", with_causes(first.as_ref()))]
    Uncleaned {
        /// What failed first.
        first: Box<RuntimeError>,
        /// What failed then, with its causes.
        second: String,
    },
    /// The host's procfs cannot be used.
    #[error("/proc")]
    Procfs(#[source] Failure),
    /// Something else the operation needs failed.
    #[error("{what}")]
    System {
        /// What was tried, with its object.
        what: String,
        /// Which call failed and why.
        source: SyscallError,
    },
}

impl RuntimeError {
    /// A failed system call with what it was for.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(SyscallError) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// This error, with the one that kept its traces from being removed.
    pub(crate) fn and_cleaning_up(self, second: &Self) -> Self {
        Self::Uncleaned { first: Box::new(self), second: with_causes(second) }
    }

    /// What the user may do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Init(InitError::Mapping { hint, .. }) => {
                Some(hint.as_str()).filter(|hint| !hint.is_empty())
            }
            Self::Init(InitError::Step { hint, .. } | InitError::Program(_, _, hint)) => *hint,
            Self::Cgroup(error) => error.hint(),
            Self::Criu(error) => error.hint(),
            Self::Systemd(error) => error.hint(),
            _ => None,
        }
    }
}
