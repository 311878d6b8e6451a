//! `checkpoint`.

use super::command::{CheckpointArgs, Global};
use super::create::{explain, id, warn};
use super::error::CommandError;
use super::output::Output;
use super::root::is_privileged;
use crate::lifecycle::checkpoint::{Request, checkpoint};

pub(super) fn run(
    args: CheckpointArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    warn_without_privilege("checkpoint", output);
    let CheckpointArgs { id: text, images, work, pre_dump, status_fd, options } = args;
    let request = Request { images, work, pre_dump, status_fd, options };
    let warnings = checkpoint(&global.root, &id(&text)?, &request);
    warn(&warnings.map_err(|error| explain(&error))?, output);
    Ok(0)
}

/// criu has no way that works for every container of an ordinary user.
pub(super) fn warn_without_privilege(command: &str, output: &mut Output) {
    if !is_privileged() {
        output.warn(&format!("keel {command} is untested with rootless containers"));
    }
}
