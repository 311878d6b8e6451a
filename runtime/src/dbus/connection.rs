//! A talk with a bus, or with systemd's own socket: authentication, calls, and what comes unasked.
//! Everything of one talk ends by one deadline.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::address::Address;
use super::message::{self, Kind, Malformed, Message, Method, PREFIX};
use super::value::Value;
use crate::limits::DBUS_UNASKED_MAX;
use crate::sys::error::SyscallError;
use crate::sys::process::{geteuid, wait_readable};
use crate::sys::socket::{UnixAddress, connect_stream_within, receive, send_stream};

/// Why a talk failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Nobody listens there.
    #[error("cannot connect to {place}")]
    Connect {
        /// The socket.
        place: String,
        /// Why.
        source: SyscallError,
    },
    /// The connection broke.
    #[error("the connection to {place} failed")]
    Broken {
        /// The socket.
        place: String,
        /// Why.
        source: SyscallError,
    },
    /// The other side closed the connection.
    #[error("{place} closed the connection")]
    Closed {
        /// The socket.
        place: String,
    },
    /// The other side does not take this user.
    #[error("{place} refuses this user: {answer:?}")]
    Refused {
        /// The socket.
        place: String,
        /// Its words.
        answer: String,
    },
    /// The other side does not speak D-Bus.
    #[error("{place}: {source}")]
    Malformed {
        /// The socket.
        place: String,
        /// What is wrong.
        source: Malformed,
    },
    /// No answer in time.
    #[error("{place} does not answer {what} within {seconds} s")]
    Timeout {
        /// The socket.
        place: String,
        /// What was asked for.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The call failed on the other side.
    #[error("{member}: {name}: {text}")]
    Answer {
        /// The method.
        member: String,
        /// The name of the error.
        name: String,
        /// What the other side says about it.
        text: String,
    },
}

impl BusError {
    /// Whether nobody was there to be asked.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// The name of the error that a call was answered with.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Answer { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    place: String,
    is_bus: bool,
    serial: u32,
    began: Instant,
    limit: Duration,
    inbox: Vec<u8>,
    unasked: VecDeque<Message>,
}

/// Whom we say we are.
enum Identity {
    /// The user by its number, which every version takes.
    Named,
    /// Whoever the kernel says: in a user namespace the other side sees another number than we do.
    AsSeen,
}

/// Longest line of an authentication.
const LINE_BYTES_MAX: usize = 4096;

impl Connection {
    /// Connects and authenticates. A bus wants to be greeted; systemd's own socket, where there is no
    /// bus between, does not.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn open(address: &Address, is_bus: bool, limit: Duration) -> Result<Self, BusError> {
        match Self::open_as(address, is_bus, limit, &Identity::Named) {
            Err(BusError::Refused { .. }) => {
                Self::open_as(address, is_bus, limit, &Identity::AsSeen)
            }
            other => other,
        }
    }

    fn open_as(
        address: &Address,
        is_bus: bool,
        limit: Duration,
        id: &Identity,
    ) -> Result<Self, BusError> {
        let place = match address {
            Address::Path(path) => path.display().to_string(),
            Address::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
        };
        let socket = match address {
            Address::Path(path) => connect_stream_within(UnixAddress::Path(path), limit),
            Address::Abstract(name) => connect_stream_within(UnixAddress::Abstract(name), limit),
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(source) => return Err(BusError::Connect { place, source }),
        };
        let mut connection = Self {
            socket,
            place,
            is_bus,
            serial: 0,
            began: Instant::now(),
            limit,
            inbox: Vec::new(),
            unasked: VecDeque::new(),
        };
        connection.authenticate(id)?;
        if is_bus {
            let bus = |member| Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member,
            };
            connection.call(&bus("Hello"), &[])?;
        }
        Ok(connection)
    }

    /// The socket, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether a bus is between: signals come only to those who asked for them.
    #[must_use]
    pub fn is_bus(&self) -> bool {
        self.is_bus
    }

    /// EXTERNAL: the kernel tells the other side who we are.
    ///
    /// All of it is one write, and no call is sent before the answer: systemd forgets a call that
    /// reaches it together with BEGIN until something else comes.
    fn authenticate(&mut self, id: &Identity) -> Result<(), BusError> {
        let words = match id {
            Identity::Named => {
                let mut hex = String::new();
                for digit in geteuid().to_string().bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(hex, "{digit:02x}");
                }
                format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n")
            }
            Identity::AsSeen => "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_owned(),
        };
        self.send(words.as_bytes())?;
        loop {
            let answer = self.line()?;
            match answer.split(' ').next() {
                Some("OK") => return Ok(()),
                Some("DATA") => {}
                _ => return Err(BusError::Refused { place: self.place.clone(), answer }),
            }
        }
    }

    fn line(&mut self) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.inbox[..end]).into_owned();
                self.inbox.drain(..end + 2);
                return Ok(line);
            }
            if self.inbox.len() > LINE_BYTES_MAX {
                return Err(self.malformed(Malformed("a line without an end")));
            }
            self.fill("authentication")?;
        }
    }

    /// Calls a method and gives the values of the answer. Signals that come meanwhile are kept for
    /// [`Connection::signal`].
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn call(
        &mut self,
        method: &Method<'_>,
        arguments: &[Value],
    ) -> Result<Vec<Value>, BusError> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = message::call(method, arguments, serial, self.is_bus);
        let bytes = bytes.map_err(|error| self.malformed(error))?;
        self.send(&bytes)?;
        loop {
            let message = self.message(method.member)?;
            match message.kind {
                Kind::Signal => self.keep(message),
                Kind::Return if message.reply_to == Some(serial) => {
                    return message.values().map_err(|error| self.malformed(error));
                }
                Kind::Error if message.reply_to == Some(serial) => {
                    let values = message.values().unwrap_or_default();
                    let text = values.first().and_then(Value::as_text).unwrap_or_default();
                    return Err(BusError::Answer {
                        member: method.member.to_owned(),
                        name: message.error.clone(),
                        text: text.to_owned(),
                    });
                }
                _ => {}
            }
        }
    }

    /// The next signal of this name.
    ///
    /// # Errors
    /// See [`BusError`].
    pub fn signal(&mut self, member: &str) -> Result<Vec<Value>, BusError> {
        loop {
            let message = match self.unasked.pop_front() {
                Some(message) => message,
                None => self.message(member)?,
            };
            if message.kind == Kind::Signal && message.member == member {
                return message.values().map_err(|error| self.malformed(error));
            }
        }
    }

    fn keep(&mut self, message: Message) {
        // A busy systemd tells of all its units; ours is among the last ones.
        if self.unasked.len() == DBUS_UNASKED_MAX {
            self.unasked.pop_front();
        }
        self.unasked.push_back(message);
    }

    fn message(&mut self, what: &str) -> Result<Message, BusError> {
        let length = loop {
            if let Some(prefix) = self.inbox.first_chunk::<PREFIX>() {
                break message::length(prefix).map_err(|error| self.malformed(error))?;
            }
            self.fill(what)?;
        };
        while self.inbox.len() < length {
            self.fill(what)?;
        }
        let parsed = Message::parse(&self.inbox[..length]);
        self.inbox.drain(..length);
        parsed.map_err(|error| self.malformed(error))
    }

    /// Takes what the other side has sent, or waits for it.
    fn fill(&mut self, what: &str) -> Result<(), BusError> {
        let left = self.limit.saturating_sub(self.began.elapsed());
        // Rounded up, so that the last part of a millisecond is waited for and not spun through.
        let left = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let ready = match left {
            0 => false,
            left => wait_readable(&self.socket, left).map_err(|error| self.broken(error))?,
        };
        if !ready {
            let seconds = self.limit.as_secs();
            return Err(BusError::Timeout {
                place: self.place.clone(),
                what: what.to_owned(),
                seconds,
            });
        }
        let mut buffer = [0; 4096];
        match receive(&self.socket, &mut buffer).map_err(|error| self.broken(error))? {
            0 => Err(BusError::Closed { place: self.place.clone() }),
            count => {
                self.inbox.extend(&buffer[..count]);
                Ok(())
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), BusError> {
        send_stream(&self.socket, bytes).map_err(|error| self.broken(error))
    }

    fn broken(&self, source: SyscallError) -> BusError {
        BusError::Broken { place: self.place.clone(), source }
    }

    fn malformed(&self, source: Malformed) -> BusError {
        BusError::Malformed { place: self.place.clone(), source }
    }
}

/// A socket of the file system.
#[must_use]
pub fn at(path: impl Into<PathBuf>) -> Address {
    Address::Path(path.into())
}
