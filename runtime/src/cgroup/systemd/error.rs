//! What goes wrong with systemd, with the unit it was about.

use thiserror::Error;

use crate::dbus::connection::BusError;

/// Why systemd's part could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// The path has another form.
    #[error(
        "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd \
         cgroups, got {0:?} instead"
    )]
    Form(String),
    /// A part of the path is no name of systemd's.
    #[error("linux.cgroupsPath: invalid {what} name: {name:?}")]
    Name {
        /// Slice or unit.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An annotation is no property.
    #[error("annotations[{key:?}]: {detail}")]
    Annotation {
        /// The annotation.
        key: String,
        /// What is wrong, with the value.
        detail: String,
    },
    /// systemd was not reached.
    #[error("cannot reach systemd")]
    Unreachable(#[source] BusError),
    /// systemd refused, or did not answer.
    #[error("systemd: unit {unit}")]
    Unit {
        /// The unit's name.
        unit: String,
        /// What was asked for, and the answer.
        source: BusError,
    },
    /// systemd began and did not get there.
    #[error("systemd: unit {unit}: the job to {what} it ended with {result:?}, not \"done\"")]
    Job {
        /// The unit's name.
        unit: String,
        /// Start or stop.
        what: &'static str,
        /// systemd's word: canceled, timeout, failed, dependency, skipped.
        result: String,
    },
    /// systemd answered something else than it always does.
    #[error("systemd: unit {unit}: {member} gave an answer of another form")]
    Answer {
        /// The unit's name.
        unit: String,
        /// The call.
        member: &'static str,
    },
    /// The host's controllers are not on v2.
    #[error(
        "--systemd-cgroup: this host has cgroup v1, for which only the cgroupfs driver is there: \
         leave the flag out"
    )]
    Version1,
    /// The process is not where systemd says it put it.
    #[error("systemd: unit {unit}: process {pid} is in cgroup {found:?}, not in {expected:?}")]
    Elsewhere {
        /// The unit's name.
        unit: String,
        /// The process.
        pid: i32,
        /// Where it is.
        found: String,
        /// Where it should be.
        expected: String,
    },
}

impl SystemdError {
    /// Whether nobody was there to be asked.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }

    /// What usually helps, for a line of its own.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable(_) => Some(
                "is systemd the first process here? A user needs a session: \
                 DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR",
            ),
            Self::Unit { source, .. } => match source.name()? {
                "org.freedesktop.systemd1.UnitExists" => {
                    Some("another container, or a service, has a unit of this name")
                }
                "org.freedesktop.DBus.Error.PropertyReadOnly" => {
                    Some("this systemd does not know the property, or not for scopes")
                }
                "org.freedesktop.DBus.Error.AccessDenied"
                | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
                    Some("this user may not ask this systemd for units")
                }
                _ => None,
            },
            _ => None,
        }
    }
}
