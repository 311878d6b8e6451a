//! Entry after entry from a stream.

use std::io::{self, BufRead, Read, Seek};

use super::header::{BLOCK, Header};
use super::pax::Records;
use super::sparse::{self, Map, PaxSparse};
use super::{Entry, EntryKind, Limits, Problem, TarError};

/// What a hole holds.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// Reads an archive. Between two calls of [`Reader::next_entry`] the reader itself gives the
/// content of the entry, with its holes filled. It works on the buffer of the reader below and has
/// none of its own.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    limits: Limits,
    offset: u64,
    entries: u64,
    content: u64,
    paths: u64,
    /// The path of the last entry, for errors.
    path: Vec<u8>,
    /// Where the header of the present entry begins.
    header_offset: u64,
    global: Records,
    data: Data,
}

/// What is left of the present entry.
#[derive(Debug, Default)]
struct Data {
    /// Stored bytes not yet read.
    stored: u64,
    /// Bytes after them up to the next block.
    padding: u64,
    /// The place in the file with its holes.
    position: u64,
    /// The size of the file with its holes.
    size: u64,
    /// The runs not yet read, last first.
    segments: Vec<(u64, u64)>,
}

/// Extended headers that stand before an entry.
#[derive(Debug, Default)]
struct Pending {
    records: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the archive in `inner` within `limits`.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self {
            inner,
            limits,
            offset: 0,
            entries: 0,
            content: 0,
            paths: 0,
            path: Vec::new(),
            header_offset: 0,
            global: Records::default(),
            data: Data::default(),
        }
    }

    /// The reader below.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The reader below. What stands after the archive's end is still in it.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// An error that names the present entry.
    pub fn refuse(&self, problem: Problem) -> TarError {
        let path = String::from_utf8_lossy(&self.path).into_owned();
        TarError::Entry { path, offset: self.header_offset, problem }
    }

    /// The next entry; nothing after the last. What was not read of the one before is skipped.
    ///
    /// # Errors
    /// The archive is damaged, not understood or beyond the limits.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let padding = self.data.padding;
        self.skip(self.data.stored)?;
        // Some writers end with the last byte of content: no padding, no end blocks (umoci's insert).
        // Only the end of the stream may be that short, and there no header follows.
        self.skip_up_to(padding)?;
        self.data = Data::default();
        let mut pending = Pending::default();
        loop {
            self.header_offset = self.offset;
            let Some(header) = self.next_header()? else {
                let dangling =
                    pending.records.is_some() || pending.path.is_some() || pending.link.is_some();
                if dangling {
                    return Err(self.refuse(Problem::ExtendedOrder));
                }
                return Ok(None);
            };
            match header.flag {
                b'x' | b'X' if pending.records.is_none() => {
                    pending.records = Some(self.records(header.size)?);
                }
                b'L' if pending.path.is_none() => pending.path = Some(self.long_name(header.size)?),
                b'K' if pending.link.is_none() => pending.link = Some(self.long_name(header.size)?),
                b'x' | b'X' | b'L' | b'K' => return Err(self.refuse(Problem::ExtendedOrder)),
                b'g' => {
                    let records = self.records(header.size)?;
                    self.global = self.global.overlaid(Some(records));
                    let limit = self.limits.extended_header_bytes_max;
                    if self.global.bytes() > limit {
                        let what = "bytes of global headers";
                        return Err(self.refuse(Problem::Limit { what, limit }));
                    }
                }
                // A label of the volume: no file.
                b'V' => self.skip(padded(header.size))?,
                _ => return self.entry(header, pending).map(Some),
            }
        }
    }

    fn entry(&mut self, header: Header, pending: Pending) -> Result<Entry, TarError> {
        let records = self.global.overlaid(pending.records);
        let path = records.get("path").map(<[u8]>::to_vec).or(pending.path).unwrap_or(header.path);
        // A sparse file of PAX has its own name elsewhere, the visible one is made up.
        let path = records.get("GNU.sparse.name").map(<[u8]>::to_vec).unwrap_or(path);
        self.path.clone_from(&path);
        let link =
            records.get("linkpath").map(<[u8]>::to_vec).or(pending.link).unwrap_or(header.link);
        self.check_path(&path)?;
        self.check_path(&link)?;
        if path.is_empty() {
            return Err(self.refuse(Problem::Path));
        }
        let kind = self.kind(header.flag, &path)?;
        let stored = match header.flag {
            // Also of a file that turns out to be a directory by its name: what follows it is its
            // content and no header.
            b'0' | b'\0' | b'7' | b'S' => self.pax(records.number("size"))?.unwrap_or(header.size),
            // A size of what has no content means nothing, as Go's reader has it.
            _ => 0,
        };
        let id = |key: &'static str, plain: i128| -> Result<u32, Problem> {
            let value = records.number(key)?.map_or(plain, i128::from);
            u32::try_from(value).map_err(|_| Problem::Number { field: key })
        };
        let mtime = self.pax(records.time("mtime"))?.unwrap_or(header.mtime);
        let mut entry = Entry {
            kind,
            link,
            mode: header.mode,
            uid: self.pax(id("uid", header.uid))?,
            gid: self.pax(id("gid", header.gid))?,
            size: 0,
            mtime,
            device: header.device,
            xattrs: self.pax(records.xattrs())?,
            path,
        };
        self.data.stored = stored;
        self.data.padding = padded(stored) - stored;
        if kind == EntryKind::File {
            self.open_content(&records, header.sparse)?;
            entry.size = self.data.size;
        }
        self.count(&entry)?;
        Ok(entry)
    }

    /// Finds the runs of the entry's content.
    fn open_content(
        &mut self,
        records: &Records,
        old: Option<sparse::OldMap>,
    ) -> Result<(), TarError> {
        let map = match (old, self.pax(sparse::of_records(records))?) {
            (None, None) => None,
            (Some(mut old), None) => {
                // The map's further blocks are not part of the stored bytes.
                while old.continues {
                    let block = self.block()?.ok_or_else(|| self.refuse(Problem::Truncated))?;
                    self.pax(old.extend(&block))?;
                }
                Some(old.finish())
            }
            (None, Some(PaxSparse::Known(map))) => Some(map),
            (None, Some(PaxSparse::InContent { size })) => Some(self.map_in_content(size)?),
            (Some(_), Some(_)) => return Err(self.refuse(Problem::Sparse)),
        };
        let stored = self.data.stored;
        let map = map.unwrap_or(Map { segments: vec![(0, stored)], size: stored });
        let mut map = self.pax(map.checked(stored))?;
        map.segments.retain(|(_, length)| *length > 0);
        map.segments.reverse();
        self.data.segments = map.segments;
        self.data.size = map.size;
        Ok(())
    }

    fn map_in_content(&mut self, size: u64) -> Result<Map, TarError> {
        let (path, offset) = (String::from_utf8_lossy(&self.path).into_owned(), self.header_offset);
        let refuse = |problem| TarError::Entry { path: path.clone(), offset, problem };
        let mut left = self.data.stored;
        let next = || {
            if left < BLOCK as u64 {
                return Err(refuse(Problem::Sparse));
            }
            left -= BLOCK as u64;
            self.block()?.ok_or_else(|| refuse(Problem::Truncated))
        };
        let (map, taken) = sparse::from_content(size, next, refuse)?;
        self.data.stored -= taken;
        Ok(map)
    }

    fn kind(&self, flag: u8, path: &[u8]) -> Result<EntryKind, TarError> {
        Ok(match flag {
            // Before POSIX, a directory was a file whose name ends in a slash.
            b'0' | b'\0' | b'7' if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | b'\0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharacterDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            _ => return Err(self.refuse(Problem::Type { flag: char::from(flag) })),
        })
    }

    fn check_path(&self, path: &[u8]) -> Result<(), TarError> {
        let Limits { path_bytes_max, depth_max, .. } = self.limits;
        if path.len() > path_bytes_max {
            let limit = path_bytes_max as u64;
            return Err(self.refuse(Problem::Limit { what: "bytes of a path", limit }));
        }
        if path.split(|b| *b == b'/').count() > depth_max {
            let limit = depth_max as u64;
            return Err(self.refuse(Problem::Limit { what: "components of a path", limit }));
        }
        if path.contains(&0) {
            return Err(self.refuse(Problem::Path));
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.entries += 1;
        self.content = self.content.saturating_add(entry.size);
        self.paths = self.paths.saturating_add((entry.path.len() + entry.link.len()) as u64);
        let Limits { entries_max, content_bytes_max, path_bytes_total_max, xattrs_max, .. } =
            self.limits;
        if entry.xattrs.len() > xattrs_max {
            let limit = xattrs_max as u64;
            return Err(self.refuse(Problem::Limit { what: "extended attributes", limit }));
        }
        if self.paths > path_bytes_total_max {
            let what = "bytes of all paths";
            return Err(self.refuse(Problem::Limit { what, limit: path_bytes_total_max }));
        }
        if self.entries > entries_max {
            return Err(self.refuse(Problem::Limit { what: "entries", limit: entries_max }));
        }
        if self.content > content_bytes_max {
            let what = "bytes of content";
            return Err(self.refuse(Problem::Limit { what, limit: content_bytes_max }));
        }
        Ok(())
    }

    /// Gives a problem its place.
    fn pax<T>(&self, result: Result<T, Problem>) -> Result<T, TarError> {
        result.map_err(|problem| self.refuse(problem))
    }

    /// The content of an extended header, whose own size is never overridden.
    fn extended(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let limit = self.limits.extended_header_bytes_max;
        if size > limit {
            return Err(self.refuse(Problem::Limit { what: "bytes of an extended header", limit }));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.inner).take(size).read_to_end(&mut bytes);
        read.map_err(|source| TarError::Read { offset: self.offset, source })?;
        self.offset += bytes.len() as u64;
        if (bytes.len() as u64) < size {
            return Err(self.refuse(Problem::Truncated));
        }
        self.skip(padded(size) - size)?;
        Ok(bytes)
    }

    fn records(&mut self, size: u64) -> Result<Records, TarError> {
        let bytes = self.extended(size)?;
        self.pax(Records::parse(&bytes))
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.extended(size)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    /// The next header; nothing at the end of the archive.
    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block == [0; BLOCK] {
            // Some writers leave the second block of the end out.
            return match self.block()? {
                None => Ok(None),
                Some(second) if second == [0; BLOCK] => Ok(None),
                Some(_) => Err(self.refuse(Problem::LoneZeroBlock)),
            };
        }
        self.pax(Header::parse(&block)).map(Some)
    }

    /// One block; nothing at the end of the stream, if that is between two blocks.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let part = self.buffered()?;
            let count = part.len().min(BLOCK - filled);
            if count == 0 {
                let truncated = || self.refuse(Problem::Truncated);
                return if filled == 0 { Ok(None) } else { Err(truncated()) };
            }
            block[filled..filled + count].copy_from_slice(&part[..count]);
            self.inner.consume(count);
            filled += count;
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    /// What the reader below has ready; nothing at its end.
    fn buffered(&mut self) -> Result<&[u8], TarError> {
        let offset = self.offset;
        fill(&mut self.inner).map_err(|source| TarError::Read { offset, source })
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        match self.skip_up_to(bytes)? {
            0 => Ok(()),
            _ => Err(self.refuse(Problem::Truncated)),
        }
    }

    /// Skips `bytes` or what there is of them; returns how many were missing.
    fn skip_up_to(&mut self, bytes: u64) -> Result<u64, TarError> {
        let mut left = bytes;
        while left > 0 {
            let count = at_most(self.buffered()?.len(), left);
            if count == 0 {
                break;
            }
            self.inner.consume(count);
            self.offset += count as u64;
            left -= count as u64;
        }
        Ok(left)
    }

    /// How many of the next bytes of the content are a hole; 0 if data comes next.
    pub fn hole(&self) -> u64 {
        let end = self.data.segments.last().map_or(self.data.size, |segment| segment.0);
        end - self.data.position
    }

    /// Passes over `bytes` of the hole that comes next.
    pub fn skip_hole(&mut self, bytes: u64) {
        self.data.position += bytes.min(self.hole());
    }
}

impl<R: BufRead + Seek> Reader<R> {
    /// Passes over the content of the present entry, without reading it; returns where it begins, counted
    /// from where the archive does. Nothing, and nothing is passed over, if it lies there with holes.
    /// Whether the archive is that long shows nobody.
    ///
    /// # Errors
    /// The reader's.
    pub fn pass_over(&mut self) -> Result<Option<u64>, TarError> {
        let Data { stored, padding, size, position, .. } = self.data;
        let is_whole = match self.data.segments[..] {
            [] => stored == 0,
            [(offset, length)] => (offset, length) == (0, stored),
            _ => false,
        };
        if !is_whole || size != stored || position != 0 {
            return Ok(None);
        }
        let offset = self.offset;
        let failed = |source| TarError::Read { offset, source };
        let bytes = i64::try_from(stored + padding);
        let bytes = bytes.map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
        self.inner.seek_relative(bytes).map_err(failed)?;
        self.offset += stored + padding;
        self.data = Data::default();
        Ok(Some(offset))
    }
}

fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64)
}

/// As much of `length` as `limit` allows.
fn at_most(length: usize, limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(length)
}

/// The buffer of a reader, filled if it was empty. An interrupted call is made again.
fn fill<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What is buffered now is only looked at: a borrow out of the loop would outlive it.
    reader.fill_buf()
}

impl<R: BufRead> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let hole = self.hole();
        if hole > 0 {
            return Ok(&ZEROS[..at_most(ZEROS.len(), hole)]);
        }
        let Some((_, run)) = self.data.segments.last().copied() else { return Ok(&[]) };
        if fill(&mut self.inner)?.is_empty() {
            let error = self.refuse(Problem::Truncated);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        let ready = self.inner.fill_buf()?;
        Ok(&ready[..at_most(ready.len(), run)])
    }

    fn consume(&mut self, count: usize) {
        let read = count as u64;
        // The reader below knows nothing of holes.
        if self.hole() > 0 {
            return self.skip_hole(read);
        }
        let Some((offset, run)) = self.data.segments.last_mut() else { return };
        (*offset, *run) = (*offset + read, *run - read);
        if *run == 0 {
            self.data.segments.pop();
        }
        self.data.stored -= read;
        self.data.position += read;
        self.offset += read;
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}
