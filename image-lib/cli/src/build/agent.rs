//! Keys of `--ssh ID=FILE`: they are put into an agent that lives as long as the build. It is OpenSSH's, so that no key
//! is read here, and it ends with its command, which ends with this process, however that ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keel_image::store::{Scratch, Store};
use rustix::process::{Pid, Signal, kill_process};

use super::usage;
use crate::failure::Failure;

/// Says the agent's process id, and waits for the end of its standard input.
const COMMAND: &str = "echo $SSH_AGENT_PID; exec cat >/dev/null";

/// An agent with keys.
#[derive(Debug)]
pub(super) struct KeyAgent {
    command: Child,
    process: Option<Pid>,
    socket: PathBuf,
    _scratch: Scratch,
}

impl KeyAgent {
    /// Starts an agent and gives it the keys of `files`, for the agent that the build calls `id`.
    pub(super) fn start(store: &Store, id: &str, files: &[PathBuf]) -> Result<Self, Failure> {
        let scratch = store.scratch()?;
        let socket = scratch.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-a").arg(&socket).args(["sh", "-c", COMMAND]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut command = command.spawn().map_err(|error| missing(id, "ssh-agent", &error))?;
        let mut line = String::new();
        if let Some(stdout) = command.stdout.take() {
            // The end of the stream is that of an agent that did not start; it has said why.
            let _ = BufReader::new(stdout).read_line(&mut line);
        }
        let process = line.trim().parse().ok().and_then(Pid::from_raw);
        let agent = Self { command, process, socket, _scratch: scratch };
        if process.is_none() {
            return Err(usage(format!("--ssh {id}: ssh-agent does not start")));
        }
        for file in files {
            agent.add(id, file)?;
        }
        Ok(agent)
    }

    fn add(&self, id: &str, file: &Path) -> Result<(), Failure> {
        let mut command = Command::new("ssh-add");
        // Nobody is asked for a passphrase.
        command.env("SSH_AUTH_SOCK", &self.socket).env("SSH_ASKPASS_REQUIRE", "force");
        command.env("SSH_ASKPASS", "/bin/false").arg("-q").arg(file);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| missing(id, "ssh-add", &error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let reason = reason.unwrap_or("it has a passphrase, or is no private key");
        Err(usage(format!("--ssh {id}: cannot use the key {}: {reason}", file.display()))
            .with_hint(
                "a key with a passphrase is given by an agent: ssh-add FILE, then --ssh default",
            ))
    }

    /// The path of its socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        // The agent looks only now and then whether its command is still there. It is, so that the number is the
        // agent's own.
        if let Some(process) = self.process {
            let _ = kill_process(process, Signal::TERM);
        }
        drop(self.command.stdin.take());
        let _ = self.command.wait();
    }
}

fn missing(id: &str, program: &str, error: &std::io::Error) -> Failure {
    usage(format!("--ssh {id}: a key needs the program {program}: {error}"))
        .with_hint("install OpenSSH's client, or name the socket of an agent")
}
