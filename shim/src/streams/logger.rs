//! `binary://`: a program that takes a container's output. It finds standard output as descriptor 3, standard error as
//! 4, and says by closing 5 that it is ready.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Owner;
use crate::error::{Code, Error};

/// A logger that runs.
#[derive(Debug)]
pub struct Logger {
    /// Its process.
    pub pid: u32,
    /// Readable when it is ready; `None` from then on.
    pub ready: Option<OwnedFd>,
    program: String,
}

impl Logger {
    /// Starts it; with it come the ends for the container.
    pub fn start(
        program: &str,
        words: &[String],
        owner: Owner<'_>,
    ) -> Result<(Self, OwnedFd, OwnedFd), Error> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::host("pipe", error));
        let (out, err, ready) = (pipe()?, pipe()?, pipe()?);
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.env("CONTAINER_ID", owner.id).env("CONTAINER_NAMESPACE", owner.namespace);
        crate::sys::pass_descriptors(&mut command, vec![out.0, err.0, ready.1]);
        let child = command.spawn().map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let code = if missing { Code::NotFound } else { Code::Internal };
            Error::new(code, format!("logger {program}: {error}"))
        })?;
        let logger = Self { pid: child.id(), ready: Some(ready.0), program: program.to_owned() };
        super::fifo::set_blocking(logger.ready.as_ref().unwrap_or(&out.1), false)?;
        Ok((logger, out.1, err.1))
    }

    /// Whether it has said so, by a byte or by closing.
    pub fn is_ready(&mut self) -> bool {
        let Some(ready) = &self.ready else { return true };
        if matches!(rustix::io::read(ready, &mut [0; 1]), Err(Errno::AGAIN | Errno::INTR)) {
            return false;
        }
        self.ready = None;
        true
    }

    /// The error for one that does not do its part in time.
    pub fn late(&self) -> Error {
        let (program, bound) = (&self.program, crate::limits::LOGGER);
        let text = format!("logger {program}: it did not say within {bound:?} that it is ready");
        Error::new(Code::DeadlineExceeded, text)
    }
}
