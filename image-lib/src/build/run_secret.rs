//! `RUN --mount=type=secret` and `type=ssh`: what is shown to one command and is part of no layer, key,
//! history or message.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::dockerfile::mount::Mount;
use super::error::StepError;
use super::stage::StageBuilder;
use super::transfer::absolute_path;
use crate::fsroot::FsError;

/// Where secrets appear that have no target.
const SECRETS: &str = "/run/secrets";
/// Where the sockets of agents appear that have no target; a number follows.
const AGENTS: &str = "/run/buildkit/ssh_agent";
/// The variable that names the socket of an agent.
pub(super) const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// A secret for one command.
pub(super) struct Secret {
    /// Its name.
    pub(super) id: String,
    /// The file that holds it in the container.
    pub(super) target: Option<String>,
    /// The variable that holds it.
    pub(super) variable: Option<String>,
    value: Option<Vec<u8>>,
    mode: u32,
    owner: (u32, u32),
}

/// The agent for one command.
pub(super) struct Agent {
    /// Its name.
    pub(super) id: String,
    /// Its socket in the container.
    pub(super) target: String,
    /// Its socket here.
    pub(super) socket: Option<PathBuf>,
}

impl StageBuilder<'_, '_> {
    pub(super) fn secret(&self, mount: &Mount) -> Result<Secret, StepError> {
        let word = |text: &Option<String>| self.expand_optional(text);
        let target = word(&mount.target)?;
        let named = word(&mount.source)?.or(word(&mount.id)?);
        let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let id = named.or_else(|| target.as_deref().map(base)).unwrap_or_default();
        let variable = word(&mount.env)?;
        let target = match target {
            Some(target) => Some(absolute_path(self.state.working_directory(), &target)),
            None if variable.is_some() => None,
            None => Some(format!("{SECRETS}/{}", base(&id))),
        };
        let value = match self.build.options.secrets.get(&id) {
            Some(source) => {
                let failed = |source| StepError::SecretUnread { id: id.clone(), source };
                Some(source.read().map_err(failed)?)
            }
            None if mount.required => return Err(StepError::NoSecret { id }),
            None => None,
        };
        let owner = (number(&mount.uid, 10, 0)?, number(&mount.gid, 10, 0)?);
        Ok(Secret { id, target, variable, value, mode: number(&mount.mode, 8, 0o400)?, owner })
    }

    pub(super) fn agent(&self, mount: &Mount, index: usize) -> Result<Agent, StepError> {
        let id = self.expand_optional(&mount.id)?.unwrap_or_else(|| "default".to_owned());
        // It is the agent's own socket, whose attributes are not the build's to change.
        let attributes = [("uid", &mount.uid), ("gid", &mount.gid), ("mode", &mount.mode)];
        if let Some((key, _)) = attributes.iter().find(|(_, value)| value.is_some()) {
            return Err(StepError::Unsupported {
                what: format!("RUN --mount=type=ssh with {key}"),
            });
        }
        let socket = self.build.options.ssh.get(&id).cloned();
        if socket.is_none() && mount.required {
            return Err(StepError::NoAgent { id });
        }
        let target = match self.expand_optional(&mount.target)? {
            Some(target) => absolute_path(self.state.working_directory(), &target),
            None => format!("{AGENTS}.{index}"),
        };
        Ok(Agent { id, target, socket })
    }

    pub(super) fn expand_optional(
        &self,
        text: &Option<String>,
    ) -> Result<Option<String>, StepError> {
        let word = |text: &String| Ok(self.state.expand(text, self.build.escape())?.text);
        text.as_ref().map(word).transpose()
    }
}

impl Secret {
    /// The variable with its value, for the command.
    pub(super) fn variable(&self) -> Option<(&str, String)> {
        let value = self.value.as_ref()?;
        Some((self.variable.as_deref()?, String::from_utf8_lossy(value).into_owned()))
    }

    /// Writes the secret into `directory`, which is memory; gives the file, if there is a secret and it is
    /// shown as one.
    pub(super) fn write(
        &self,
        directory: &Path,
        index: usize,
    ) -> Result<Option<PathBuf>, StepError> {
        let (Some(value), Some(_)) = (&self.value, &self.target) else { return Ok(None) };
        let path = directory.join(format!("secret-{index}"));
        let failed = |error| FsError::new("write", &path, error);
        let mut options = File::options();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        file.write_all(value).map_err(failed)?;
        fchown(&file, Some(self.owner.0), Some(self.owner.1)).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(self.mode)).map_err(failed)?;
        Ok(Some(path))
    }
}

/// A number of a mount's value.
pub(super) fn number(text: &Option<String>, radix: u32, default: u32) -> Result<u32, StepError> {
    match text {
        None => Ok(default),
        Some(text) => u32::from_str_radix(text, radix)
            .map_err(|_| StepError::Value(format!("invalid number {text:?} in --mount"))),
    }
}
