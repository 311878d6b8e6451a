//! `create`, and how its arguments become a request, which `run` shares.

use std::ffi::OsString;

use super::command::{CreateArgs, Global, Rootless};
use super::error::{CommandError, Details};
use super::output::Output;
use super::program::Name;
use crate::config::error::Findings;
use crate::container::id::ContainerId;
use crate::lifecycle;
use crate::lifecycle::error::RuntimeError;
use crate::lifecycle::request::Request;
use crate::limits::LISTEN_FDS_MAX;
use crate::sys::process::getpid;

pub(super) fn run(
    args: &CreateArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let request = request(args, "create", global)?;
    let warnings = lifecycle::create::create(&request, args.console_socket.as_deref());
    warn(&warnings.map_err(|error| failed(global.name, "create", &error))?, output);
    Ok(0)
}

/// Logs what the user should know.
pub(super) fn warn(warnings: &[String], output: &mut Output) {
    for warning in warnings {
        output.warn(warning);
    }
}

pub(super) fn request(
    args: &CreateArgs,
    operation: &str,
    global: &Global,
) -> Result<Request, CommandError> {
    Ok(Request {
        id: id(&args.id).map_err(|error| prefixed(global.name, operation, error))?,
        root: global.root.clone(),
        bundle: args.bundle.clone(),
        config: args.config.clone(),
        pid_file: args.pid_file.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        listen_fds: listen_fds(getpid, |name| std::env::var(name).ok()),
        preserve_fds: args.preserve_fds,
        notify_socket: notify_socket(),
        rootless: tolerance(global.rootless),
        systemd_cgroup: global.systemd_cgroup,
    })
}

/// Whether cgroups that may not be written to are tolerated; `None` decides by privilege.
pub(super) fn tolerance(rootless: Rootless) -> Option<bool> {
    match rootless {
        Rootless::Auto => None,
        Rootless::Yes => Some(true),
        Rootless::No => Some(false),
    }
}

/// The socket of a manager that waits for the container's program to be ready.
pub(super) fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// How many sockets were handed to the process of which `own` gives the pid; those of another process that left its variables
/// behind are not meant (sd_listen_fds(3)).
fn listen_fds(own: impl Fn() -> i32, variable: impl Fn(&str) -> Option<String>) -> u32 {
    let number = |name: &str| variable(name)?.parse::<i32>().ok();
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == own() => {
            u32::try_from(count).unwrap_or(0).min(LISTEN_FDS_MAX)
        }
        _ => 0,
    }
}

pub(super) fn id(text: &str) -> Result<ContainerId, CommandError> {
    ContainerId::parse(text).map_err(|error| explain(&error.into()))
}

/// An operation's error in the form callers know: `keel create failed: …`.
pub(super) fn failed(name: Name, operation: &str, error: &RuntimeError) -> CommandError {
    prefixed(name, operation, explain(error))
}

fn prefixed(name: Name, operation: &str, error: CommandError) -> CommandError {
    let message = format!("{} {operation} failed: {}", name.as_str(), error.message);
    CommandError { message, ..error }
}

/// The same, where what is not valid is another document than `config.json`.
pub(super) fn explain_document(name: &str, error: &RuntimeError) -> CommandError {
    match error {
        RuntimeError::Config(errors) => {
            let message = format!("invalid {name}: {}", Findings(errors));
            CommandError { message, ..explain(error) }
        }
        _ => explain(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_sockets_that_are_meant_for_it() {
        let count = |pid: &'static str, fds: &'static str| {
            listen_fds(
                || 7,
                |name| match name {
                    "LISTEN_PID" => Some(pid.to_owned()),
                    "LISTEN_FDS" => Some(fds.to_owned()),
                    _ => None,
                },
            )
        };
        for (pid, fds, expected) in
            [("7", "2", 2), ("8", "2", 0), ("7", "-1", 0), ("7", "x", 0), ("", "2", 0)]
        {
            assert_eq!(count(pid, fds), expected, "{pid} {fds}");
        }
        assert_eq!(count("7", "2000000000"), LISTEN_FDS_MAX);
        assert_eq!(listen_fds(|| 7, |_| None), 0);
    }
}
