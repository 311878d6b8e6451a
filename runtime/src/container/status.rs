//! What state a container is in.
//!
//! ```text
//!            create             start              the process ends
//! (absent) ──────────▶ created ────────▶ running ──────────────────▶ stopped ──▶ (absent)
//!                          │              │  ▲                          ▲   delete
//!                          │        pause ▼  │ resume                   │
//!                          │             paused ────────────────────────┤
//!                          └────────────────────────────────────────────┘
//! ```

use std::fmt;

/// The status (runtime-spec, runtime.md, "State", and `paused` as runc has it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The process waits to be started.
    Created,
    /// The process runs.
    Running,
    /// The process is frozen.
    Paused,
    /// There is no process any more.
    Stopped,
}

impl Status {
    /// The word for `state` and `list`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Why a container in this state cannot be started; `None` when it can.
    #[must_use]
    pub fn refuses_start(self) -> Option<&'static str> {
        match self {
            Self::Created => None,
            Self::Running => Some("cannot start an already running container"),
            Self::Paused => Some("cannot start a container in the paused state"),
            Self::Stopped => Some("cannot start a container that has stopped"),
        }
    }

    /// Why a container in this state cannot be checkpointed; `None` when it can.
    #[must_use]
    pub fn refuses_checkpoint(self) -> Option<&'static str> {
        match self {
            Self::Created => Some("Container cannot be checkpointed in created state"),
            Self::Stopped => Some("Container cannot be checkpointed in stopped state"),
            Self::Running | Self::Paused => None,
        }
    }

    /// Why exec is not possible in this state; `None` when it is.
    #[must_use]
    pub fn refuses_exec(self, ignore_paused: bool) -> Option<&'static str> {
        match self {
            Self::Stopped => Some("cannot exec in a stopped container"),
            Self::Paused if !ignore_paused => {
                Some("cannot exec in a paused container (use --ignore-paused to override)")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
