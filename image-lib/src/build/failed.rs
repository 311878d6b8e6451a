//! A `RUN` whose command failed, kept with all that the command had, so that somebody can look around in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::StepError;
use super::execute::{Execution, RuntimeExecutor};
use super::network::Link;
use super::run_mount::Held;
use super::workspace::Workspace;
use crate::fsroot::FsError;

/// Keeps the first `RUN` of a build that fails. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct KeepFailed(Arc<Mutex<Option<FailedRun>>>);

/// What a failed command had: its rootfs as it left it, mounts, variables, secrets and network. Dropped, it leaves
/// nothing behind.
pub struct FailedRun {
    pub(super) spec: Vec<u8>,
    pub(super) state: PathBuf,
    pub(super) id: String,
    // The network goes before what was lent, and all of it before the rootfs.
    pub(super) link: Link,
    pub(super) held: Held,
    pub(super) workspace: Workspace,
}

impl KeepFailed {
    /// What is kept, for the caller.
    #[must_use]
    pub fn take(&self) -> Option<FailedRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn keep(&self, failed: FailedRun) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failed);
    }
}

impl fmt::Debug for FailedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedRun").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FailedRun {
    /// Runs `words` where the command ran, with the streams of this process; with `terminal` these are one. Gives
    /// the exit code.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn enter(
        &self,
        runtime: &RuntimeExecutor,
        words: &[&str],
        terminal: bool,
    ) -> Result<i32, StepError> {
        let _kept_until_it_ends = (&self.link, &self.held);
        let mut spec: serde_json::Value = serde_json::from_slice(&self.spec)
            .map_err(|error| StepError::Value(format!("the container's configuration: {error}")))?;
        spec["process"]["args"] = words.into();
        spec["process"]["terminal"] = terminal.into();
        let bundle = self.workspace.bundle();
        let file = bundle.join("config.json");
        std::fs::write(&file, spec.to_string())
            .map_err(|error| FsError::new("write", &file, error))?;
        let (state, id) = (&self.state, self.id.as_str());
        runtime.enter(&Execution { bundle, state, id, cancelled: &|| false })
    }
}
