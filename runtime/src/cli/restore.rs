//! `restore`: its exit code is the container's.

use super::checkpoint::warn_without_privilege;
use super::command::{Global, RestoreArgs};
use super::create::{explain, request, warn};
use super::error::CommandError;
use super::output::Output;
use super::run::exit_code;
use crate::lifecycle::restore::{Request, restore};
use crate::lifecycle::run::After;

pub(super) fn run(
    args: RestoreArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    warn_without_privilege("restore", output);
    let RestoreArgs { create, detach, no_subreaper, images, work, options } = args;
    let request =
        Request { container: request(&create, "restore", global)?, images, work, options };
    let after = match detach {
        true => After::Detach,
        false => After::Wait { keep: false, subreaper: !no_subreaper },
    };
    let outcome = restore(&request, create.console_socket.as_deref(), after);
    let outcome = outcome.map_err(|error| explain(&error))?;
    warn(&outcome.warnings, output);
    Ok(exit_code(outcome.status))
}
