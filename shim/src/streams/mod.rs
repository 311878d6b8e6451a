//! The standard streams of a process: what the client named becomes three descriptors for the runtime.
//!
//! Without a terminal the container gets the client's FIFO, file or logger itself: nothing is copied, and no output
//! wakes the shim. With a terminal there is one pump, because somebody has to stand between a terminal and a FIFO.

pub mod console;
pub mod fifo;
pub mod logger;
pub mod terminal;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::{Code, Error};
use crate::messages::StreamNames;
use fifo::Kept;
use logger::Logger;
use terminal::Terminal;

/// What the runtime gets as descriptors 0, 1 and 2.
#[derive(Debug)]
pub struct Ends {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// What the shim keeps of a process's streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// Ends that keep FIFOs alive.
    pub kept: Vec<Kept>,
    /// Where the client's ends wait for the terminal that the runtime will send.
    pub console: Option<console::ConsoleSocket>,
    /// The client's ends of a terminal.
    pub client: Option<Client>,
    /// The terminal.
    pub terminal: Option<Terminal>,
    /// The program that takes the output.
    pub logger: Option<Logger>,
}

/// The client's side of a terminal: input, and output with what takes it.
#[derive(Debug, Default)]
pub struct Client {
    /// What the client types.
    pub stdin: Option<OwnedFd>,
    /// What it sees.
    pub stdout: Option<OwnedFd>,
}

/// Who the process is, for a logger's environment, and who shall own the streams.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// containerd's namespace.
    pub namespace: &'a str,
    /// The container.
    pub id: &'a str,
    /// The streams' user.
    pub uid: u32,
    /// The streams' group.
    pub gid: u32,
}

/// Where output goes, by what the client named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    Null,
    /// A FIFO, or whatever else is at the path.
    Fifo(String),
    /// Appended to a file, which is made.
    File(String),
    /// A program with its arguments.
    Program(String, Vec<String>),
}

impl Target {
    /// Reads a path or a URI.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let invalid =
            |why: &str| Error::new(Code::InvalidArgument, format!("stream {name:?}: {why}"));
        if name.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = name.split_once("://") else {
            return Ok(Self::Fifo(name.to_owned()));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = decode(path).ok_or_else(|| invalid("a path that cannot be read"))?;
        if !path.starts_with('/') {
            return Err(invalid("the path is not absolute"));
        }
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" => {
                let mut words = Vec::new();
                for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    for word in [name, value] {
                        let word = decode(&word.replace('+', " "));
                        let word = word.ok_or_else(|| invalid("a word that cannot be read"))?;
                        if !word.is_empty() {
                            words.push(word);
                        }
                    }
                }
                Ok(Self::Program(path, words))
            }
            _ => Err(invalid("known are fifo, file and binary")),
        }
    }
}

/// Takes `%41` for `A`; what comes must be UTF-8 without a zero byte.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Opens what the client named.
pub fn open(names: &StreamNames, owner: Owner<'_>) -> Result<(Ends, Streams), Error> {
    let mut streams = Streams::default();
    let stdout = Target::parse(&names.stdout)?;
    if names.terminal {
        let mut client = Client::default();
        if !names.stdin.is_empty() {
            client.stdin = Some(fifo::open_for_reading(&names.stdin)?);
        }
        client.stdout = output(&stdout, &mut streams, owner)?;
        if let Some(fd) = &client.stdout {
            fifo::set_blocking(fd, false)?;
        }
        streams.client = Some(client);
        return Ok((Ends { stdin: null()?, stdout: null()?, stderr: null()? }, streams));
    }
    let stdin = if names.stdin.is_empty() {
        null()?
    } else {
        let (fd, kept) = fifo::open_input(&names.stdin)?;
        streams.kept.extend(kept);
        own(&fd, owner)?;
        fd
    };
    if let Target::Program(program, words) = &stdout {
        let (logger, stdout, stderr) = Logger::start(program, words, owner)?;
        streams.logger = Some(logger);
        own(&stdout, owner)?;
        own(&stderr, owner)?;
        return Ok((Ends { stdin, stdout, stderr }, streams));
    }
    let out = output(&stdout, &mut streams, owner)?;
    let target = Target::parse(&names.stderr)?;
    let err = match &out {
        Some(out) if target == stdout => {
            Some(out.try_clone().map_err(|error| Error::host("stderr", error))?)
        }
        _ => output(&target, &mut streams, owner)?,
    };
    let or_null = |fd: Option<OwnedFd>| fd.map_or_else(null, Ok);
    Ok((Ends { stdin, stdout: or_null(out)?, stderr: or_null(err)? }, streams))
}

fn output(
    target: &Target,
    streams: &mut Streams,
    owner: Owner<'_>,
) -> Result<Option<OwnedFd>, Error> {
    let fd = match target {
        Target::Null => return Ok(None),
        Target::Fifo(path) => {
            let (fd, kept) = fifo::open_output(path)?;
            streams.kept.extend(kept);
            fd
        }
        Target::File(path) => file(path)?,
        Target::Program(program, words) => {
            let (logger, stdout, _) = Logger::start(program, words, owner)?;
            streams.logger = Some(logger);
            stdout
        }
    };
    own(&fd, owner)?;
    Ok(Some(fd))
}

fn file(path: &str) -> Result<OwnedFd, Error> {
    let tell = |error: std::io::Error| Error::file(format!("stream {path}"), &error);
    if let Some(folder) = Path::new(path).parent() {
        std::fs::create_dir_all(folder).map_err(tell)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    Ok(file.map_err(tell)?.into())
}

fn null() -> Result<OwnedFd, Error> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/null");
    file.map(File::into).map_err(|error| Error::host("/dev/null", error))
}

/// With a user namespace the container's root is somebody else, who must be able to open its streams again.
fn own(fd: &OwnedFd, owner: Owner<'_>) -> Result<(), Error> {
    if owner.uid == 0 && owner.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    rustix::fs::fchown(fd, Some(uid), Some(gid))
        .map_err(|error| Error::host("owner of a stream", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_are_read() {
        let program = |path: &str, words: &[&str]| {
            Target::Program(path.to_owned(), words.iter().map(|&it| it.to_owned()).collect())
        };
        for (name, expected) in [
            ("", Target::Null),
            ("/run/f", Target::Fifo("/run/f".to_owned())),
            ("file:///var/log/a%20b", Target::File("/var/log/a b".to_owned())),
            (
                "binary:///bin/log?a=b&c=&d+e=f%26",
                program("/bin/log", &["a", "b", "c", "d e", "f&"]),
            ),
            ("binary:///bin/log", program("/bin/log", &[])),
        ] {
            assert_eq!(Target::parse(name), Ok(expected), "{name}");
        }
        for name in
            ["http://x/y", "file://relative", "file:///a%0", "binary:///a%00b", "binary:///a?b=%ff"]
        {
            assert!(Target::parse(name).is_err(), "{name}");
        }
    }
}
