//! `create`, and how its arguments become a request, which `run` shares.

use super::command::{CreateArgs, Global, Rootless};
use super::error::{CommandError, Details};
use super::output::Output;
use crate::container::id::ContainerId;
use crate::init::error::InitError;
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
    let (failure, field) = match error {
        RuntimeError::Init(init) => match init {
            InitError::Parent { source, what } => (Some(*source), Some(what.clone())),
            InitError::Mapping { field, .. } => (None, Some((*field).to_owned())),
            InitError::Step { source, step, .. } => (Some(*source), Some(step.clone())),
            InitError::Program(_, source, _) => (Some(*source), Some("process.args".to_owned())),
            _ => (None, None),
        },
        RuntimeError::Config(errors) => (None, errors.0.first().map(|first| first.field.clone())),
        _ => (None, None),
    };
    let syscall = match (failure, error) {
        (Some(crate::failure::Failure::Syscall(error)), _) => Some(error),
        (_, RuntimeError::System { source, .. }) => Some(*source),
        _ => None,
    };
    // A step in words begins with its field.
    let field = field.map(|text| text.split(": ").next().unwrap_or_default().to_owned());
    CommandError::caused_by(error).with_details(Details {
        code: Some(code(error).to_owned()),
        field,
        syscall: syscall.map(|error| error.call.name().to_owned()),
        errno: syscall.map(|error| error.errno_name()),
        hint: error.hint().map(str::to_owned),
    })
}

fn code(error: &RuntimeError) -> &'static str {
    use crate::container::state_dir::StateError;
    match error {
        RuntimeError::Id(_) => "invalid-id",
        RuntimeError::Load(_) | RuntimeError::Config(_) => "invalid-config",
        RuntimeError::State(StateError::NotFound) => "not-found",
        RuntimeError::State(StateError::Exists) => "already-exists",
        RuntimeError::State(_) => "state",
        RuntimeError::CgroupLocation(_) | RuntimeError::CgroupPlan(_) | RuntimeError::Cgroup(_) => {
            "cgroup"
        }
        RuntimeError::Seccomp(_) => "seccomp",
        RuntimeError::Init(_) => "init",
        RuntimeError::Hook(_) => "hook",
        RuntimeError::Refused(_) => "refused",
        RuntimeError::System { .. } => "system",
    }
}
