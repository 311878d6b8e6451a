//! Credential helpers: programs named `docker-credential-NAME` that keep credentials elsewhere. One
//! word says what is wanted, the standard input for whom, and the standard output answers in JSON.
//! They are the only programs that this library starts besides the executor's.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::{AuthError, Credential};

/// How long a helper may take: somebody may have to type a passphrase.
const TIME_MAX: Duration = Duration::from_mins(2);
/// The most bytes of an answer; tokens of clouds have some thousands.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// One helper.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    program: String,
}

struct Answer {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Helper {
    /// The helper `name`, which is looked for in `PATH` as `docker-credential-NAME`.
    pub(super) fn new(name: &str) -> Result<Self, AuthError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(AuthError::HelperName { name: name.to_owned() });
        }
        Ok(Self { program: format!("docker-credential-{name}") })
    }

    /// What the helper keeps for `server`; nothing if it knows none.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, AuthError> {
        let answer = self.ask("get", server.as_bytes())?;
        if !answer.status.success() {
            let message = message_of(&answer);
            return if is_absence(&message) { Ok(None) } else { Err(self.refused("get", message)) };
        }
        let value: Option<Value> = serde_json::from_slice(&answer.stdout).ok();
        let text = |name: &str| {
            value.as_ref().and_then(|v| v.get(name)).and_then(Value::as_str).map(str::to_owned)
        };
        let (Some(username), Some(secret)) = (text("Username"), text("Secret")) else {
            return Err(self.refused("get", "its answer has no Username and Secret".to_owned()));
        };
        if secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(Credential::of_pair(username, secret)))
    }

    /// Has the helper keep a name and a secret for `server`.
    pub(super) fn store(
        &self,
        server: &str,
        username: &str,
        secret: &str,
    ) -> Result<(), AuthError> {
        let input = json!({ "ServerURL": server, "Username": username, "Secret": secret });
        let answer = self.ask("store", input.to_string().as_bytes())?;
        if answer.status.success() {
            return Ok(());
        }
        // A helper that repeats its input must not bring the secret into a message.
        let message = message_of(&answer).replace(secret, "***");
        Err(self.refused("store", message))
    }

    /// Has the helper forget `server`; false if it knew none.
    pub(super) fn erase(&self, server: &str) -> Result<bool, AuthError> {
        let answer = self.ask("erase", server.as_bytes())?;
        let message = message_of(&answer);
        match answer.status.success() {
            true => Ok(true),
            false if is_absence(&message) => Ok(false),
            false => Err(self.refused("erase", message)),
        }
    }

    fn refused(&self, verb: &'static str, message: String) -> AuthError {
        AuthError::Helper { program: self.program.clone(), verb, message }
    }

    fn ask(&self, verb: &'static str, input: &[u8]) -> Result<Answer, AuthError> {
        let failed = |operation| {
            move |source| AuthError::HelperStart {
                program: self.program.clone(),
                operation,
                source,
            }
        };
        let mut command = Command::new(&self.program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed("start"))?;
        let until = Instant::now() + TIME_MAX;
        let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
        let stdin = child.stdin.take();
        let input = input.to_owned();
        // A helper that reads nothing must not hold up who writes.
        std::thread::spawn(move || {
            if let Some(mut stdin) = stdin {
                // It may end without having read all.
                let _ = stdin.write_all(&input);
            }
        });
        let ended = ended_by(&child, until).map_err(failed("wait for"))?;
        if !ended {
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed("wait for"))?;
        let late =
            || AuthError::HelperTime { program: self.program.clone(), verb, limit: TIME_MAX };
        if !ended {
            return Err(late());
        }
        // What the helper left running may hold the streams open.
        let left = || until.saturating_duration_since(Instant::now());
        let stdout = stdout.recv_timeout(left()).map_err(|_| late())?;
        let stderr = stderr.recv_timeout(left()).map_err(|_| late())?;
        Ok(Answer { status, stdout, stderr })
    }
}

/// Reads a stream on a thread of its own, which ends with it.
fn read(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read before an error is the answer.
            let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

fn ended_by(child: &Child, until: Instant) -> io::Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

/// Helpers tell errors on the standard output.
fn message_of(answer: &Answer) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let message = text(&answer.stdout);
    let message = if message.is_empty() { text(&answer.stderr) } else { message };
    message.chars().take(400).collect()
}

fn is_absence(message: &str) -> bool {
    message.contains("credentials not found")
}
