//! A terminal's pump: what the client types goes in, what the process prints goes out.
//!
//! All descriptors are watched edge by edge, so a pump runs until each side would block and costs nothing then. A
//! client that does not read stops the pump, and with it the process, but nobody else.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, write};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Client;
use crate::error::Error;

/// One direction's bytes that wait to be written.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
}

/// As much as a terminal's own buffer.
const PIECE: usize = 4096;

/// Pieces in one go: other containers of the pod want to be heard too.
const PIECES: usize = 64;

/// What a pump came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pumped {
    /// Each side would block.
    All,
    /// There is more; it is somebody else's turn.
    More,
    /// The process has closed its terminal, and all was handed out.
    Ended,
}

/// A terminal with its client.
#[derive(Debug)]
pub struct Terminal {
    /// The side that is not the process's.
    pub master: OwnedFd,
    /// The client's ends.
    pub client: Client,
    typed: Waiting,
    printed: Waiting,
    hung_up: bool,
}

enum Moved {
    Some,
    Blocked,
    End,
}

impl Terminal {
    /// A terminal that the runtime sent.
    pub fn new(master: OwnedFd, client: Client) -> Result<Self, Error> {
        super::fifo::set_blocking(&master, false)?;
        let (typed, printed) = (Waiting::default(), Waiting::default());
        Ok(Self { master, client, typed, printed, hung_up: false })
    }

    /// Its size in characters.
    pub fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        let cut = |it: u32| u16::try_from(it).unwrap_or(u16::MAX);
        let size = Winsize { ws_row: cut(height), ws_col: cut(width), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).map_err(|error| Error::host("size of the terminal", error))
    }

    /// Moves what can be moved.
    pub fn pump(&mut self) -> Pumped {
        for _ in 0..PIECES {
            let typed = match &self.client.stdin {
                Some(stdin) => step(stdin, &self.master, &mut self.typed),
                None => Moved::Blocked,
            };
            let printed = match &self.client.stdout {
                _ if self.hung_up && self.printed.is_empty() => Moved::End,
                Some(stdout) => step(&self.master, stdout, &mut self.printed),
                None => drain(&self.master),
            };
            if matches!(printed, Moved::End) {
                self.hung_up = true;
                self.client = Client::default();
                return Pumped::Ended;
            }
            if !matches!(typed, Moved::Some) && !matches!(printed, Moved::Some) {
                return Pumped::All;
            }
        }
        Pumped::More
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }
}

/// Fills an empty buffer, then writes what is in it.
fn step(from: &OwnedFd, to: &OwnedFd, waiting: &mut Waiting) -> Moved {
    if waiting.is_empty() {
        let mut piece = [0; PIECE];
        match read(from, &mut piece) {
            // A FIFO without a writer: the next client's opening is told by the poll.
            Ok(0) => return Moved::Blocked,
            Ok(count) => {
                waiting.bytes.clear();
                waiting.bytes.extend_from_slice(&piece[..count]);
                waiting.written = 0;
            }
            Err(Errno::AGAIN | Errno::INTR) => return Moved::Blocked,
            // A terminal that nobody has open any more says EIO.
            Err(_) => return Moved::End,
        }
    }
    match write(to, &waiting.bytes[waiting.written..]) {
        Ok(count) => {
            waiting.written += count;
            if waiting.is_empty() {
                *waiting = Waiting::default();
            }
            Moved::Some
        }
        Err(Errno::AGAIN | Errno::INTR) => Moved::Blocked,
        // Nobody can take it: it is dropped, as a terminal's output is that nobody looks at.
        Err(_) => {
            *waiting = Waiting::default();
            Moved::Some
        }
    }
}

/// Output that nobody asked for.
fn drain(from: &OwnedFd) -> Moved {
    match read(from, &mut [0; PIECE]) {
        Ok(1..) => Moved::Some,
        Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Moved::Blocked,
        Err(_) => Moved::End,
    }
}
