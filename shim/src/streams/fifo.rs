//! FIFOs, opened without ever waiting for the other side.
//!
//! A FIFO forgets what is in it when nobody has it open, and tells a reader that it has ended while no writer has come
//! yet. So the shim stands in for a client that is still on its way. inotify says when it may step back; it joins
//! equal events into one, so each watch is for something that the shim does not do itself while it is set.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, inotify};
use rustix::io::Errno;

use crate::error::{Code, Error};

/// The shim's own ends of a FIFO.
#[derive(Debug)]
pub struct Kept {
    path: String,
    /// A reader beside the client's: a client that goes must not end the container by SIGPIPE, and one that has not come
    /// shall find all that was written. The kernel says of it when the last writer has closed.
    reader: Option<OwnedFd>,
    /// In place of a client that has not come: input does not end before it began, and output that has ended waits
    /// to be read.
    writer: Option<OwnedFd>,
    /// Becomes readable when the writer is not needed any more.
    pub watch: Watch,
    /// Whether it is standard input, whose writer closes with `CloseIO`.
    pub input: bool,
}

/// An instance of inotify with one watch; without one where there is nothing to wait for, or the host gives no more.
#[derive(Debug, Default)]
pub struct Watch(Option<OwnedFd>);

impl Watch {
    fn new(path: &str, what: inotify::WatchFlags) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let instance = inotify::init(flags).ok();
        Self(instance.filter(|it| inotify::add_watch(it, path, what).is_ok()))
    }

    /// What is polled.
    pub fn instance(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }
}

impl Drop for Watch {
    /// Has a thread close it: the kernel takes 15 to 40 ms over the end of an instance, because it waits until nobody
    /// looks at its watches any more, and no call shall wait for that.
    fn drop(&mut self) {
        const STACK_BYTES: usize = 32 << 10;
        if let Some(instance) = self.0.take() {
            // Where there is no thread to be had it is closed here.
            let _ =
                std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || drop(instance));
        }
    }
}

impl Kept {
    /// What hangs up when an output has ended: whoever polls it asks for nothing else, for each write would wake it.
    pub fn hangs_up(&self) -> Option<&OwnedFd> {
        self.reader.as_ref()
    }

    /// Looks what has happened. Whether there is a new watch to be polled.
    pub fn look(&mut self) -> bool {
        if let Some(instance) = self.watch.instance()
            && matches!(rustix::io::read(instance, &mut [0; 512]), Ok(1..))
        {
            // The client is there, or it was.
            self.writer = None;
            self.watch = Watch::default();
        }
        let ended = self.reader.as_ref().is_some_and(|it| is(it, PollFlags::HUP));
        if ended {
            self.settle();
        }
        ended && self.watch.instance().is_some()
    }

    /// Nobody writes any more: a client that reads shall see the end, and one that is late all that was written.
    ///
    /// A FIFO keeps its content as long as somebody has it open, and lets a reader in when there is a writer. With the
    /// shim's own reader gone, the kernel says of a writer whether anybody reads.
    fn settle(&mut self) {
        self.writer = open(&self.path, false, true).ok().map(OwnedFd::from);
        self.watch = Watch::new(&self.path, inotify::WatchFlags::OPEN);
        self.reader = None;
        let unread = self.writer.as_ref().is_some_and(|it| is(it, PollFlags::ERR));
        if !unread {
            self.writer = None;
            self.watch = Watch::default();
        }
    }
}

/// Whether the kernel says so of a descriptor.
fn is(fd: &OwnedFd, what: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(what)
}

fn open(path: &str, read: bool, write: bool) -> std::io::Result<File> {
    OpenOptions::new().read(read).write(write).custom_flags(libc::O_NONBLOCK).open(path)
}

fn told(path: &str, error: &std::io::Error) -> Error {
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Internal };
    Error::new(code, format!("stream {path}: {error}"))
}

/// Clears or sets O_NONBLOCK.
pub fn set_blocking(fd: impl AsFd, blocking: bool) -> Result<(), Error> {
    let tell = |error: Errno| Error::host("flags of a stream", error);
    let mut flags = fcntl_getfl(&fd).map_err(tell)?;
    flags.set(OFlags::NONBLOCK, !blocking);
    fcntl_setfl(&fd, flags).map_err(tell)
}

/// The end that a container writes to.
///
/// The shim is a reader until the last writer has closed, so opening succeeds at once.
pub fn open_output(path: &str) -> Result<(OwnedFd, Option<Kept>), Error> {
    let tell = |error: std::io::Error| told(path, &error);
    if !std::fs::metadata(path).map_err(tell)?.file_type().is_fifo() {
        let file = OpenOptions::new().append(true).open(path).map_err(tell)?;
        return Ok((file.into(), None));
    }
    let reader = Some(open(path, true, false).map_err(tell)?.into());
    let writer = open(path, false, true).map_err(tell)?;
    set_blocking(&writer, true)?;
    let kept =
        Kept { path: path.to_owned(), reader, writer: None, watch: Watch::default(), input: false };
    Ok((writer.into(), Some(kept)))
}

/// The end that a container reads from. The shim is a writer until the client's closes, or says `CloseIO`.
pub fn open_input(path: &str) -> Result<(OwnedFd, Option<Kept>), Error> {
    let tell = |error: std::io::Error| told(path, &error);
    if !std::fs::metadata(path).map_err(tell)?.file_type().is_fifo() {
        return Ok((File::open(path).map_err(tell)?.into(), None));
    }
    // Before the reader, which is what a client may be waiting for in open(2).
    let watch = Watch::new(path, inotify::WatchFlags::CLOSE_WRITE);
    let reader = open(path, true, false).map_err(tell)?;
    let writer = open(path, false, true).map_err(tell)?;
    set_blocking(&reader, true)?;
    let writer = Some(writer.into());
    Ok((
        reader.into(),
        Some(Kept { path: path.to_owned(), reader: None, writer, watch, input: true }),
    ))
}

/// The end that a terminal's pump reads from: not there yet and gone look alike, and both are waited for.
pub fn open_for_reading(path: &str) -> Result<OwnedFd, Error> {
    open(path, true, false).map(File::into).map_err(|error| told(path, &error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    struct Fifo(String);

    impl Fifo {
        fn make(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("keel-shim-{}-{name}", std::process::id()));
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
                .expect("a FIFO");
            Self(path.display().to_string())
        }
    }

    impl Drop for Fifo {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn output_waits_for_areader_that_is_late() {
        let fifo = Fifo::make("late-reader");
        let (writer, kept) = open_output(&fifo.0).expect("opened");
        let mut kept = kept.expect("a FIFO");
        let mut writer = File::from(writer);
        writer.write_all(b"early").expect("written");
        assert!(!kept.look(), "somebody writes");
        drop(writer);
        assert!(kept.look(), "a client is waited for");
        assert!(kept.writer.is_some(), "nobody has read");
        let mut reader = open(&fifo.0, true, false).expect("a reader");
        assert!(!kept.look());
        assert!(kept.writer.is_none(), "somebody reads");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read to its end");
        assert_eq!(text, "early");
    }

    #[test]
    fn output_ends_for_areader_that_came_in_time() {
        let fifo = Fifo::make("reader-in-time");
        let (writer, kept) = open_output(&fifo.0).expect("opened");
        let mut reader = open(&fifo.0, true, false).expect("a reader");
        drop(writer);
        let mut kept = kept.expect("a FIFO");
        assert!(!kept.look());
        assert!(kept.writer.is_none(), "somebody reads");
        assert_eq!(reader.read(&mut [0; 8]).expect("the end"), 0);
    }

    #[test]
    fn input_ends_with_its_writer_and_not_before() {
        let fifo = Fifo::make("writer");
        let (reader, kept) = open_input(&fifo.0).expect("opened");
        let mut kept = kept.expect("a FIFO");
        set_blocking(&reader, false).expect("flags");
        let mut reader = File::from(reader);
        let nothing = reader.read(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
        let mut writer = open(&fifo.0, false, true).expect("a writer");
        kept.look();
        assert!(kept.writer.is_some(), "it has only come");
        writer.write_all(b"x").expect("written");
        drop(writer);
        kept.look();
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read to its end");
        assert_eq!(text, "x");
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(open_output("/no/such").map(|_| ()).map_err(|e| e.code), Err(Code::NotFound));
        assert_eq!(open_input("/no/such").map(|_| ()).map_err(|e| e.code), Err(Code::NotFound));
    }
}
