//! The process that does the work, and the talk with it. It runs for one request and ends with its socket.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::CriuError;
use super::log;
use super::message::{Features, Kind, Options, Request, Response};
use crate::failure::{Failure, Result as StepResult};
use crate::limits::{CRIU_ANSWER_MS, CRIU_MESSAGE_BYTES_MAX, END_WAIT_MS};
use crate::sys::error::SyscallError;
use crate::sys::namespace::Kind as NamespaceFlags;
use crate::sys::open::{CWD, can_execute, close_range_on_exec, set_cloexec};
use crate::sys::process::{
    Child, Clone3, Ended, ExecStrings, clone3, execve, pidfd_send_signal, wait_child, wait_readable,
};
use crate::sys::signal::{stop_ignoring, unblock_all};
use crate::sys::socket::{receive_descriptor, send, seqpacket_pair};

/// criu, waiting for requests.
#[derive(Debug)]
pub struct Criu {
    child: Child,
    socket: OwnedFd,
    log: PathBuf,
}

/// A point that criu has reached, and at which it waits.
#[derive(Debug)]
pub struct Notice {
    /// Which.
    pub point: String,
    /// The process it is about, as seen from here; 0 for none.
    pub pid: i32,
    /// A descriptor that came along.
    pub descriptor: Option<OwnedFd>,
}

/// Begins a message of our own child before it becomes criu: no response begins so, since no field has
/// such a type.
const OWN: u8 = 0xff;

/// The child's message that it is prepared and becomes criu now.
const PREPARED: [u8; 2] = [OWN, 0];

impl Criu {
    /// Starts criu. `namespaces` are made for it, `inherited` descriptors stay open in it under their
    /// numbers, and `prepare` runs in it first: it must not allocate. `log` is where criu will write why
    /// it failed.
    ///
    /// # Errors
    /// [`CriuError::Missing`], or what failed in the child.
    pub fn start(
        namespaces: NamespaceFlags,
        inherited: &[BorrowedFd<'_>],
        log: PathBuf,
        prepare: impl FnOnce() -> StepResult<()>,
    ) -> Result<Self, CriuError> {
        let program = find().ok_or(CriuError::Missing)?;
        let failed = || CriuError::syscall("starting criu");
        let (ours, theirs) = seqpacket_pair().map_err(failed())?;
        let arguments = ExecStrings::new(["criu", "swrk", &theirs.as_raw_fd().to_string()]);
        let environment = ExecStrings::new(
            std::env::vars_os()
                .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()),
        );
        let become_criu = || {
            let ready = prepare().and_then(|()| Ok(hand_over(&theirs, inherited)?));
            let failure = match ready {
                Ok(()) => Failure::Syscall(execve(&program, &arguments, &environment)),
                Err(failure) => failure,
            };
            let (kind, number, errno) = failure.to_wire();
            let mut frame = [OWN; 9];
            frame[1..3].copy_from_slice(&kind.to_le_bytes());
            frame[3..5].copy_from_slice(&number.to_le_bytes());
            frame[5..].copy_from_slice(&errno.to_le_bytes());
            // When nobody listens any more, nobody needs to know.
            let _ = send(&theirs, &frame);
            1
        };
        let options = Clone3 { namespaces, ..Clone3::default() };
        let child = clone3(&options, become_criu).map_err(failed())?;
        drop(theirs);
        let criu = Self { child, socket: ours, log };
        match criu.receive()? {
            (bytes, _) if bytes == PREPARED => Ok(criu),
            (bytes, _) => Err(criu.refusal(&bytes)),
        }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Its version, as major × 10 000 + minor × 100 + sublevel.
    ///
    /// # Errors
    /// Why it does not tell.
    pub fn version(&self) -> Result<u32, CriuError> {
        self.ask(&Request::Version, Kind::Version)?.version.ok_or(CriuError::OutOfTurn)
    }

    /// Which of some features are there.
    ///
    /// # Errors
    /// Why it does not tell.
    pub fn check(&self, features: Features) -> Result<Features, CriuError> {
        Ok(self.ask(&Request::Check(features), Kind::FeatureCheck)?.features)
    }

    fn ask(&self, request: &Request, kind: Kind) -> Result<Response, CriuError> {
        send(&self.socket, &request.encode()).map_err(|_| self.ended())?;
        let failed = CriuError::syscall("the socket to criu");
        if !wait_readable(&self.socket, CRIU_ANSWER_MS).map_err(failed)? {
            return Err(CriuError::Silent(CRIU_ANSWER_MS));
        }
        let response = self.response(kind)?.0;
        if response.kind == Some(kind) { Ok(response) } else { Err(CriuError::OutOfTurn) }
    }

    /// Has it dump or restore. At each notice `notify` decides whether it goes on; it may take as long as
    /// the memory of the processes takes, and its end ends the wait.
    ///
    /// # Errors
    /// What `notify` said, or why criu could not.
    pub fn carry_out<E: From<CriuError>>(
        &self,
        kind: Kind,
        options: Options,
        mut notify: impl FnMut(Notice) -> Result<(), E>,
    ) -> Result<Response, E> {
        let request = Request::Do(kind, Box::new(options));
        send(&self.socket, &request.encode()).map_err(|_| self.ended())?;
        let mut refused = None;
        loop {
            let (response, descriptor) = match self.response(kind) {
                Ok(answer) => answer,
                // It failed because it was told to.
                Err(error) => return Err(refused.unwrap_or_else(|| error.into())),
            };
            let (point, pid) = match (response.kind, &response.notice) {
                (Some(answered), _) if answered == kind => return Ok(response),
                (Some(Kind::Notify), Some(notice)) => notice.clone(),
                _ => return Err(CriuError::OutOfTurn.into()),
            };
            let go_on = match notify(Notice { point, pid, descriptor }) {
                Ok(()) => true,
                Err(error) => {
                    refused.get_or_insert(error);
                    false
                }
            };
            send(&self.socket, &Request::Noted { go_on }.encode()).map_err(|_| self.ended())?;
        }
    }

    /// Waits for its end, which its closed socket brings about. `Err` is how it ended, when not well.
    ///
    /// # Errors
    /// [`CriuError::Ended`].
    pub fn finish(self) -> Result<(), CriuError> {
        let Self { child, socket, log } = self;
        drop(socket);
        match end_of(&child) {
            Ok(Ended::Exited(0)) => Ok(()),
            other => {
                Err(CriuError::Ended { how: describe(other), lines: log::errors_in(&log), log })
            }
        }
    }

    fn response(&self, kind: Kind) -> Result<(Response, Option<OwnedFd>), CriuError> {
        let (bytes, descriptor) = self.receive()?;
        if bytes.first() == Some(&OWN) {
            return Err(self.refusal(&bytes));
        }
        let response = Response::decode(&bytes)?;
        if response.success {
            return Ok((response, descriptor));
        }
        let mut lines = log::errors_in(&self.log);
        lines.extend(response.message.filter(|text| !text.is_empty() && lines.is_empty()));
        let kind = response.kind.unwrap_or(kind);
        let log = self.log.clone();
        Err(CriuError::Failed { kind, errno: response.errno, lines, log })
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>), CriuError> {
        let mut buffer = vec![0; CRIU_MESSAGE_BYTES_MAX];
        let received = loop {
            match receive_descriptor(&self.socket, &mut buffer) {
                Err(SyscallError { errno: libc::EINTR, .. }) => {}
                other => break other,
            }
        };
        match received {
            Ok((0, _)) | Err(SyscallError { errno: libc::ECONNRESET, .. }) => Err(self.ended()),
            Ok((length, _)) if length == buffer.len() => {
                Err(super::wire::Malformed::Truncated.into())
            }
            Ok((length, descriptor)) => {
                buffer.truncate(length);
                Ok((buffer, descriptor))
            }
            Err(error) => Err(CriuError::syscall("the socket to criu")(error)),
        }
    }

    /// What the child said before it became criu.
    fn refusal(&self, frame: &[u8]) -> CriuError {
        let word = |at: usize| Some(u16::from_le_bytes(frame.get(at..at + 2)?.try_into().ok()?));
        let errno =
            frame.get(5..9).and_then(|bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?)));
        let failure = word(1).zip(word(3)).zip(errno);
        let failure =
            failure.and_then(|((kind, number), errno)| Failure::from_wire(kind, number, errno));
        let ended = self.ended();
        match failure {
            Some(Failure::Syscall(source)) => CriuError::syscall("starting criu")(source),
            Some(_) | None => ended,
        }
    }

    fn ended(&self) -> CriuError {
        let lines = log::errors_in(&self.log);
        CriuError::Ended { how: describe(end_of(&self.child)), lines, log: self.log.clone() }
    }
}

/// In the child: its descriptors, signals, and the word that it is prepared.
fn hand_over(socket: &OwnedFd, inherited: &[BorrowedFd<'_>]) -> Result<(), SyscallError> {
    match close_range_on_exec(3) {
        // Before Linux 5.11 criu gets what the caller left open; it gives none of it to a container.
        Err(error) if matches!(error.errno, libc::ENOSYS | libc::EINVAL) => {}
        other => other?,
    }
    set_cloexec(socket, false)?;
    for fd in inherited {
        set_cloexec(fd, false)?;
    }
    stop_ignoring()?;
    unblock_all()?;
    send(socket, &PREPARED)
}

/// Its end, which is near: whatever keeps it shall not keep us.
fn end_of(child: &Child) -> Result<Ended, SyscallError> {
    if !wait_readable(&child.pidfd, END_WAIT_MS).unwrap_or(false) {
        let _ = pidfd_send_signal(&child.pidfd, libc::SIGKILL);
    }
    wait_child(child.pidfd.as_fd())
}

fn describe(ended: Result<Ended, SyscallError>) -> String {
    match ended {
        Ok(Ended::Exited(status)) => format!("exit status {status}"),
        Ok(Ended::Signaled(signal)) => format!("signal {signal}"),
        Err(error) => error.to_string(),
    }
}

/// The program, where PATH leads first.
fn find() -> Option<CString> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).find_map(|folder| {
        let program: &Path = &folder.join("criu");
        let is_file = std::fs::metadata(program).is_ok_and(|status| status.is_file());
        let program = CString::new(program.as_os_str().as_bytes()).ok()?;
        (is_file && can_execute(CWD, &program).is_ok()).then_some(program)
    })
}
