//! The seccomp filter of a process, and the agent that answers for the calls of which it notifies
//! (runtime-spec, config-linux.md, "Seccomp", "The Container Process State").

use std::os::fd::OwnedFd;
use std::path::Path;

use serde_json::{Value, json};

use super::error::RuntimeError;
use crate::config::SPECIFICATION;
use crate::config::spec::Spec;
use crate::container::state_file::State;
use crate::init::error::InitError;
use crate::limits::AGENT_WAIT_MS;
use crate::process::plan::Filter;
use crate::seccomp::{self, Listener};
use crate::sys::error::SyscallError;
use crate::sys::socket::{connect_stream, send_descriptor};

/// The filter of a config, and who listens to it.
///
/// # Errors
/// What the profile asks for and cannot be had.
pub(super) fn compile(spec: &Spec) -> Result<(Option<Filter>, Option<Listener>), RuntimeError> {
    let Some(profile) = &spec.linux.seccomp else { return Ok((None, None)) };
    let native = seccomp::native().ok_or_else(|| {
        let text = "linux.seccomp: keel knows no system calls of this machine";
        RuntimeError::Refused(text.to_owned())
    })?;
    let seccomp::Filter { program, flags, listener, lets_sendmsg } =
        seccomp::compile(profile, native)?;
    Ok((Some(Filter { program, flags, lets_sendmsg }), listener))
}

/// A process whose filter has a listener, as its agent is told.
#[derive(Debug)]
pub(super) struct Filtered<'a> {
    /// The process.
    pub pid: i32,
    /// The container.
    pub state: &'a State,
    /// The container's status.
    pub status: &'a str,
    /// The pid of the container's first process.
    pub first_pid: i32,
}

/// Sends the listener and the state of its process to the agent, over a connection of its own.
///
/// # Errors
/// [`InitError::Parent`], naming the socket.
pub(super) fn tell_agent(
    agent: Option<&Listener>,
    process: &Filtered<'_>,
    listener: &OwnedFd,
) -> Result<(), InitError> {
    let Some(agent) = agent else { return Ok(()) };
    let failed = |what: &str| {
        let what = format!("linux.seccomp.listenerPath ({}): {what}", agent.path);
        move |error: SyscallError| InitError::Parent { what, source: error.into() }
    };
    let text = process_state(agent.metadata.as_deref(), process).to_string();
    let socket = connect_stream(Path::new(&agent.path), AGENT_WAIT_MS)
        .map_err(failed("failed to connect with seccomp agent"))?;
    send_descriptor(&socket, text.as_bytes(), listener)
        .map_err(failed("cannot send seccomp listener"))
}

fn process_state(metadata: Option<&str>, process: &Filtered<'_>) -> Value {
    let state = process.state.for_hooks(process.status, process.first_pid);
    let mut told = json!({
        "ociVersion": SPECIFICATION,
        "fds": ["seccompFd"],
        "pid": process.pid,
        // What this program wrote a moment ago is JSON.
        "state": state.parse::<Value>().unwrap_or_default(),
    });
    if let Some(metadata) = metadata {
        told["metadata"] = json!(metadata);
    }
    told
}
