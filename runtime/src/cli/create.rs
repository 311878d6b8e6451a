//! `create`, and how its arguments become a request, which `run` shares.

use super::command::{CreateArgs, Global, Rootless};
use super::error::{CommandError, Details};
use super::output::Output;
use crate::container::id::ContainerId;
use crate::lifecycle;
use crate::lifecycle::error::RuntimeError;
use crate::lifecycle::launch::Request;

pub(super) fn run(
    args: &CreateArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let request = request(args, global)?;
    let warnings = lifecycle::create::create(&request, args.console_socket.as_deref());
    warn(&warnings.map_err(|error| failed("create", &error))?, output);
    Ok(0)
}

/// Logs what the user should know.
pub(super) fn warn(warnings: &[String], output: &mut Output) {
    for warning in warnings {
        output.warn(warning);
    }
}

pub(super) fn request(args: &CreateArgs, global: &Global) -> Result<Request, CommandError> {
    Ok(Request {
        id: id(&args.id)?,
        root: global.root.clone(),
        bundle: args.bundle.clone(),
        config: args.config.clone(),
        pid_file: args.pid_file.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: args.preserve_fds,
        rootless: match global.rootless {
            Rootless::Auto => None,
            Rootless::Yes => Some(true),
            Rootless::No => Some(false),
        },
        systemd_cgroup: global.systemd_cgroup,
    })
}

pub(super) fn id(text: &str) -> Result<ContainerId, CommandError> {
    ContainerId::parse(text).map_err(|error| explain(&error.into()))
}

/// An operation's error in the form callers know: `keel create failed: …`.
pub(super) fn failed(operation: &str, error: &RuntimeError) -> CommandError {
    let plain = explain(error);
    CommandError { message: format!("keel {operation} failed: {}", plain.message), ..plain }
}

/// An error with its causes, and its parts for programs.
pub(super) fn explain(error: &RuntimeError) -> CommandError {
    let report = error.report();
    CommandError::caused_by(error).with_details(Details {
        code: Some(report.code.to_owned()),
        field: report.field,
        syscall: report.syscall,
        errno: report.errno,
        hint: report.hint,
    })
}
