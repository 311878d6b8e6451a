//! `run`: its exit code is the container's.

use super::command::{Global, RunArgs};
use super::create::{failed, request, warn};
use super::error::CommandError;
use super::output::Output;
use crate::lifecycle::run::{After, run as run_container};

pub(super) fn run(
    args: &RunArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let request = request(&args.create, "run", global)?;
    let after = match args.detach {
        true => After::Detach,
        false => After::Wait { keep: args.keep, subreaper: !args.no_subreaper },
    };
    let socket = args.create.console_socket.as_deref();
    let outcome = run_container(&request, socket, after)
        .map_err(|error| failed(global.name, "run", &error))?;
    warn(&outcome.warnings, output);
    Ok(exit_code(outcome.status))
}

/// A status as a shell shows it fits an exit code; what does not can only be an error's.
pub(super) fn exit_code(status: i32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}
