//! state: what is known of a container, and what of it is still true.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::RuntimeError;
use crate::cgroup;
use crate::config::hooks::{Hooks, Point};
use crate::config::json::Json;
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::container::state_dir::{StateDir, StateError};
use crate::container::state_file::State;
use crate::container::status::Status;
use crate::limits::{END_WAIT_MS, KILL_WAIT_MS};
use crate::sys::process::{pidfd_send_signal, wait_readable};

/// A container that is on disk.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub directory: StateDir,
    /// What was recorded.
    pub state: State,
}

impl Container {
    /// Finds a container.
    ///
    /// # Errors
    /// [`StateError::NotFound`] when there is none, or none that was ever recorded.
    pub fn open(root: &Path, id: &ContainerId) -> Result<Self, RuntimeError> {
        let directory = StateDir::open(root, id)?;
        let state = directory.read_state()?.ok_or(StateError::NotFound)?;
        Ok(Self { directory, state })
    }

    /// Finds a container and keeps other commands from changing it until this value is dropped. What
    /// was recorded is read after that, so that it holds what an earlier command wrote.
    ///
    /// # Errors
    /// As [`Container::open`].
    pub fn open_locked(root: &Path, id: &ContainerId) -> Result<Self, RuntimeError> {
        let directory = StateDir::open(root, id)?;
        directory.lock(true)?;
        let state = directory.read_state()?.ok_or(StateError::NotFound)?;
        Ok(Self { directory, state })
    }

    /// The container's status now: the record is a hint, the process is the truth.
    ///
    /// # Errors
    /// When it cannot be found out; a guess would have its processes given up.
    pub fn status(&self) -> Result<Status, RuntimeError> {
        let alive = self.state.process.is_alive();
        Ok(if !alive.map_err(RuntimeError::system("the container process"))? {
            Status::Stopped
        } else if self.cgroups().is_frozen()? {
            Status::Paused
        } else if self.directory.is_awaiting_start()? {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// The container's cgroups.
    #[must_use]
    pub fn cgroups(&self) -> cgroup::Paths {
        paths_of(&self.state)
    }

    /// Whether a cgroup of the container is there.
    #[must_use]
    pub fn has_cgroup(&self) -> bool {
        self.state.cgroup_paths.iter().any(|(_, path)| Path::new(path).exists())
    }

    /// The hooks of the config as it was at creation; `None` when it has none.
    ///
    /// # Errors
    /// When the copy of the config cannot be read.
    pub fn hooks(&self) -> Result<Option<Hooks>, RuntimeError> {
        let bytes = self.directory.read_config()?;
        match mentions(&bytes, "hooks") {
            true => Ok(Some(self.parse(&bytes)?.hooks)),
            false => Ok(None),
        }
    }

    /// Whether the container process ends within the time that one which is about to takes.
    pub(super) fn has_ended_soon(&self) -> bool {
        match self.state.process.open() {
            Ok(Some(pidfd)) => wait_readable(&pidfd, END_WAIT_MS).unwrap_or(false),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Whether the config as it was at creation holds one of these strings.
    pub(super) fn config_mentions(&self, strings: &[&str]) -> Result<bool, RuntimeError> {
        let bytes = self.directory.read_config()?;
        Ok(strings.iter().any(|text| mentions(&bytes, text)))
    }

    /// The config as it was at creation.
    ///
    /// # Errors
    /// When the copy cannot be read.
    pub fn config(&self) -> Result<Spec, RuntimeError> {
        self.parse(&self.directory.read_config()?)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Spec, RuntimeError> {
        let json = Json::parse(bytes).map_err(|source| {
            let path = PathBuf::from(&self.state.id).join("config.json");
            crate::config::load::LoadError::Syntax { path, source }
        })?;
        Ok(Spec::from_json(json)?.value)
    }

    /// Kills every process of the container and waits until the first one has ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn kill_all(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + Duration::from_millis(KILL_WAIT_MS.unsigned_abs().into());
        let opened = self.state.process.open();
        let pidfd = opened.map_err(RuntimeError::system("the container process"))?;
        if let Some(pidfd) = &pidfd {
            match pidfd_send_signal(pidfd, libc::SIGKILL) {
                Err(error) if error.errno != libc::ESRCH => {
                    return Err(RuntimeError::system("the container process")(error));
                }
                _ => {}
            }
        }
        kill_in(&self.cgroups())?;
        if let Some(pidfd) = pidfd {
            // Those of the cgroup were waited for; the first one may have been moved out of it.
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let ended = wait_readable(&pidfd, i32::try_from(left).unwrap_or(KILL_WAIT_MS))
                .map_err(RuntimeError::system("the container process"))?;
            if !ended {
                let pid = self.state.process.pid;
                let text = format!("the container process (pid {pid}) does not end after SIGKILL");
                return Err(RuntimeError::Refused(text));
            }
            super::wait::reap(self.state.process);
        }
        Ok(())
    }

    /// Whether hooks wait for the container's deletion.
    ///
    /// # Errors
    /// As [`Container::hooks`].
    pub fn poststop_hooks(&self) -> Result<Option<Hooks>, RuntimeError> {
        Ok(self.hooks()?.filter(|hooks| !hooks.at(Point::Poststop).is_empty()))
    }
}

fn mentions(json: &[u8], string: &str) -> bool {
    let name = format!("\"{string}\"");
    json.windows(name.len()).any(|window| window == name.as_bytes())
}

/// Kills what is in the cgroups; a container without any has nothing else to kill.
pub(super) fn kill_in(cgroups: &cgroup::Paths) -> Result<(), RuntimeError> {
    match cgroups.signal_all(libc::SIGKILL) {
        Err(cgroup::CgroupError::Missing { .. }) => Ok(()),
        other => Ok(other?),
    }
}

/// The cgroups that a state names.
pub(super) fn paths_of(state: &State) -> cgroup::Paths {
    let pairs = state.cgroup_paths.iter();
    cgroup::Paths::new(pairs.map(|(key, path)| (key.clone(), PathBuf::from(path))))
}
