//! Entries as a stream: ustar, with a PAX header only where ustar cannot say it. The same entries
//! always give the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::header::BLOCK;
use super::pax::{base64_encoded, percent_encoded};
use super::{Entry, EntryKind, TarError};

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
}

/// The most that one call is asked to send, so that a signal is not waited for long.
const SEND_MAX: usize = 16 << 20;
/// The largest number of eleven octal digits.
const OCTAL_11_MAX: u64 = 0o777_7777_7777;
/// The largest number of seven octal digits.
const OCTAL_7_MAX: u64 = 0o777_7777;

impl<W: Write> Writer<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Adds an entry without content.
    ///
    /// # Errors
    /// The writer's.
    pub fn append(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.append_content(entry, &mut io::empty())
    }

    /// Adds an entry with the `entry.size` bytes that `content` must have. If it has more, they are
    /// left out; if it has fewer, the archive is spoilt and an error tells so.
    ///
    /// # Errors
    /// The writer's and the content's.
    pub fn append_content(
        &mut self,
        entry: &Entry,
        content: &mut dyn Read,
    ) -> Result<(), TarError> {
        let failed = |source| TarError::Write { path: entry.display_path(), source };
        self.write_headers(entry).map_err(failed)?;
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        let copied = io::copy(&mut content.take(entry.size), &mut self.inner).map_err(failed)?;
        self.end_content(entry, copied)
    }

    /// As [`Writer::append_content`], of a regular file, which the kernel copies by itself where this writes
    /// to one, too.
    ///
    /// # Errors
    /// As [`Writer::append_content`].
    pub fn append_file(&mut self, entry: &Entry, file: &File) -> Result<(), TarError> {
        let failed = |source| TarError::Write { path: entry.display_path(), source };
        self.write_headers(entry).map_err(failed)?;
        let copied = io::copy(&mut file.take(entry.size), &mut self.inner).map_err(failed)?;
        self.end_content(entry, copied)
    }

    fn end_content(&mut self, entry: &Entry, copied: u64) -> Result<(), TarError> {
        let failed = |source| TarError::Write { path: entry.display_path(), source };
        if copied != entry.size {
            return Err(failed(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("its content ended after {copied} of {} bytes", entry.size),
            )));
        }
        self.pad(entry.size).map_err(failed)
    }

    /// Writes the archive's end and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> Result<W, TarError> {
        let written = self.inner.write_all(&[0; BLOCK * 2]).and_then(|()| self.inner.flush());
        written.map_err(|source| TarError::Write { path: String::new(), source })?;
        Ok(self.inner)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let block = BLOCK as u64;
        let padding = usize::try_from(size.div_ceil(block) * block - size).unwrap_or(0);
        self.inner.write_all(&[0; BLOCK][..padding])
    }

    fn write_headers(&mut self, entry: &Entry) -> io::Result<()> {
        let mut path = entry.path.clone();
        if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let split = split_path(&path);
        let mut records = Vec::new();
        if split.is_none() {
            record(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 || !entry.link.is_ascii() {
            record(&mut records, b"linkpath", &entry.link);
        }
        let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
        if size > OCTAL_11_MAX {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if u64::from(id) > OCTAL_7_MAX {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let whole = entry.mtime.nanoseconds == 0;
        let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|s| *s <= OCTAL_11_MAX);
        if !whole || seconds.is_none() {
            record(&mut records, b"mtime", decimal_time(entry).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            // A key ends at its first `=`, so a name that has one is written as libarchive does.
            if name.contains(&b'=') {
                let key = [&b"LIBARCHIVE.xattr."[..], &percent_encoded(name)].concat();
                record(&mut records, &key, &base64_encoded(value));
            } else {
                record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
            }
        }
        if !records.is_empty() {
            // Only readers without PAX look at this header's own fields.
            let name = b"./PaxHeaders/entry";
            let mut block = header((b"", name), b'x', records.len() as u64);
            seal(&mut block);
            self.inner.write_all(&block)?;
            self.inner.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let flag = match entry.kind {
            EntryKind::File => b'0',
            EntryKind::HardLink => b'1',
            EntryKind::Symlink => b'2',
            EntryKind::CharacterDevice => b'3',
            EntryKind::BlockDevice => b'4',
            EntryKind::Directory => b'5',
            EntryKind::Fifo => b'6',
        };
        let shortened = (&b""[..], &path[..path.len().min(100)]);
        let mut block = header(split.unwrap_or(shortened), flag, size.min(OCTAL_11_MAX));
        octal(&mut block[100..108], u64::from(entry.mode & 0o7777));
        octal(&mut block[108..116], u64::from(entry.uid).min(OCTAL_7_MAX));
        octal(&mut block[116..124], u64::from(entry.gid).min(OCTAL_7_MAX));
        octal(&mut block[136..148], seconds.unwrap_or(0));
        let link = &entry.link[..entry.link.len().min(100)];
        block[157..157 + link.len()].copy_from_slice(link);
        octal(&mut block[329..337], u64::from(entry.device.0).min(OCTAL_7_MAX));
        octal(&mut block[337..345], u64::from(entry.device.1).min(OCTAL_7_MAX));
        seal(&mut block);
        self.inner.write_all(&block)
    }
}

impl<W: Write + AsFd> Writer<BufWriter<W>> {
    /// As [`Writer::append_file`], by the kernel also into a pipe or a socket. The bytes of `file` must not
    /// change until they have been read there.
    ///
    /// # Errors
    /// As [`Writer::append_content`].
    pub fn send_file(&mut self, entry: &Entry, file: &File) -> Result<(), TarError> {
        let failed = |source: io::Error| TarError::Write { path: entry.display_path(), source };
        self.write_headers(entry).map_err(failed)?;
        self.inner.flush().map_err(failed)?;
        let is_file = rustix::fs::fstat(self.inner.get_ref())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let mut sent = 0;
        while !is_file && sent < entry.size {
            let part = usize::try_from(entry.size - sent).unwrap_or(usize::MAX).min(SEND_MAX);
            match rustix::fs::sendfile(self.inner.get_ref(), file, Some(&mut sent), part) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                // What cannot be sent to is written to.
                Err(Errno::INVAL | Errno::NOSYS) if sent == 0 => break,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        let mut rest = file;
        rest.seek(SeekFrom::Start(sent)).map_err(failed)?;
        let copied =
            io::copy(&mut rest.take(entry.size - sent), &mut self.inner).map_err(failed)?;
        self.end_content(entry, sent + copied)
    }
}

/// Divides a path into ustar's prefix of 155 and name of 100 bytes, where a slash allows it.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((b"", path));
    }
    // The last slash that is no trailing one and leaves a name that fits.
    let end = path.len() - 1;
    let at = path[..end.min(156)].iter().rposition(|b| *b == b'/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (!prefix.is_empty() && prefix.len() <= 155 && name.len() <= 100).then_some((prefix, name))
}

fn header((prefix, name): (&[u8], &[u8]), flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    octal(&mut block[100..108], 0o644);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

/// Octal digits that fill the field up to one NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + u8::try_from(value & 7).unwrap_or(0);
        value >>= 3;
    }
    field[digits] = 0;
}

/// Writes the checksum, which counts itself as spaces.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..155], sum);
}

/// Appends `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Seconds with a fraction, as PAX writes times; before 1970 the fraction counts backwards.
fn decimal_time(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    let text = match (seconds, nanoseconds) {
        (_, 0) => return seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanoseconds:09}"),
        (-1, _) => format!("-0.{:09}", 1_000_000_000 - nanoseconds),
        _ => format!("{}.{:09}", seconds + 1, 1_000_000_000 - nanoseconds),
    };
    text.trim_end_matches('0').to_owned()
}
