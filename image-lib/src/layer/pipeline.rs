//! A large layer on several processors: one thread reads and decompresses it, one digests the archive, and
//! the caller's reads its entries. Each byte is decompressed into a buffer that both others look at.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{Builder, ScopedJoinHandle, scope};

use super::bounded::Bounded;
use super::{LayerError, Limits};
use crate::blob::{Compression, DecodeError};
use crate::identity::{Algorithm, DiffId, Hasher};

/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces may wait for each thread. With those in hand there are 2 MiB of them at most.
const WAITING: usize = 4;

/// A part of the archive.
struct Piece {
    bytes: Box<[u8]>,
    length: usize,
}

/// Gives `visit` the archive that `blob` is, which is decompressed and digested meanwhile. `visit` reads to
/// the end, or fails; then all threads end, and `blob` may not have been read to its end.
pub(super) fn read<R: Read + Send>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<(DiffId, Compression), LayerError> {
    // A thread ends when nobody listens to it any more, or when nothing can come any more.
    let (to_digest, digested) = mpsc::sync_channel(WAITING);
    let (to_visit, visited) = mpsc::sync_channel(WAITING);
    let (give_back, free) = mpsc::channel();
    let mut pieces = Pieces { current: None, at: 0, visited, give_back: give_back.clone() };
    let decompress = Decompress { to_digest, to_visit, free };
    scope(|scope| {
        let digester = Builder::new()
            .name("digest".into())
            .spawn_scoped(scope, move || digest(algorithm, &digested, &give_back))
            .map_err(LayerError::Read)?;
        let decompressor = Builder::new()
            .name("decompress".into())
            .spawn_scoped(scope, move || decompress.run(blob, limits))
            .map_err(LayerError::Read)?;
        let result = visit(&mut pieces);
        drop(pieces);
        // That the stream could not be begun is why nothing came.
        let compression = join(decompressor)?;
        let digest = join(digester);
        result?;
        Ok((digest, compression))
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Decompress {
    to_digest: SyncSender<Arc<Piece>>,
    to_visit: SyncSender<io::Result<Arc<Piece>>>,
    free: Receiver<Piece>,
}

impl Decompress {
    fn run<R: Read>(self, blob: &mut R, limits: &Limits) -> Result<Compression, DecodeError> {
        let mut source = Bounded::new(blob, limits)?;
        let _held = source.hold_window();
        loop {
            let mut piece = self.free.try_recv().unwrap_or_else(|_| Piece {
                bytes: vec![0; PIECE_BYTES].into_boxed_slice(),
                length: 0,
            });
            let filled = piece.fill(&mut source);
            let is_last = piece.length < PIECE_BYTES;
            let piece = Arc::new(piece);
            let is_wanted = self.to_digest.send(Arc::clone(&piece)).is_ok()
                && self.to_visit.send(Ok(piece)).is_ok();
            if let Err(error) = filled {
                // Whoever does not listen has a failure of its own.
                let _ = self.to_visit.send(Err(error));
                break;
            }
            if is_last || !is_wanted {
                break;
            }
        }
        Ok(source.compression())
    }
}

impl Piece {
    /// Reads until it is full, or to the end.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        self.length = 0;
        while self.length < self.bytes.len() {
            match source.read(&mut self.bytes[self.length..]) {
                Ok(0) => break,
                Ok(count) => self.length += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Gives the buffer back if nobody else looks at it.
    fn release(piece: Arc<Self>, give_back: &Sender<Self>) {
        if let Some(piece) = Arc::into_inner(piece) {
            // Nobody needs buffers at the end.
            let _ = give_back.send(piece);
        }
    }
}

fn digest(
    algorithm: Algorithm,
    pieces: &Receiver<Arc<Piece>>,
    give_back: &Sender<Piece>,
) -> DiffId {
    let mut hasher = Hasher::new(algorithm);
    for piece in pieces {
        hasher.update(piece.bytes());
        Piece::release(piece, give_back);
    }
    DiffId::new(hasher.finish())
}

/// The pieces as one stream.
struct Pieces {
    current: Option<Arc<Piece>>,
    at: usize,
    visited: Receiver<io::Result<Arc<Piece>>>,
    give_back: Sender<Piece>,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let is_read = self.current.as_ref().is_none_or(|piece| self.at == piece.length);
        if is_read {
            if let Some(piece) = self.current.take() {
                Piece::release(piece, &self.give_back);
            }
            self.at = 0;
            // The end of the thread is the end of the stream; why it ended is seen when it is joined.
            self.current = self.visited.recv().ok().transpose()?;
        }
        Ok(self.current.as_ref().map_or(&[], |piece| &piece.bytes()[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Threads, verify};
    use super::*;
    use crate::blob::Encoder;
    use crate::tar::{Entry, EntryKind, Writer};
    use std::io::Write as _;

    fn blob(compression: Compression) -> Vec<u8> {
        let mut entry = Entry::new(b"big", EntryKind::File, 0o644);
        let numbers = (0..1_250_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes());
        let content: Vec<u8> = numbers.collect();
        entry.size = content.len() as u64;
        let mut writer = Writer::new(Encoder::new(Vec::new(), compression).unwrap());
        writer.append_content(&entry, &mut content.as_slice()).unwrap();
        let mut encoder = writer.finish().unwrap();
        encoder.write_all(b"garbage behind the archive").unwrap();
        encoder.finish().unwrap()
    }

    fn read_as(blob: &[u8], limits: &Limits, threads: Threads) -> Result<(DiffId, usize), String> {
        let mut rest = blob;
        match verify(&mut rest, Algorithm::Sha256, limits, threads) {
            Ok((diff_id, _)) => Ok((diff_id, rest.len())),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    #[track_caller]
    fn same(blob: &[u8], limits: &Limits) -> Result<(DiffId, usize), String> {
        let alone = read_as(blob, limits, Threads::One);
        assert_eq!(read_as(blob, limits, Threads::Several), alone);
        alone
    }

    /// Whatever is wrong, and wherever, is told as one thread tells it, and all threads end.
    #[test]
    fn several_threads_see_what_one_sees() {
        let limits = Limits::default();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let whole = blob(compression);
            assert_eq!(same(&whole, &limits).unwrap().1, 0, "{compression:?}");
            assert!(same(&whole[..whole.len() / 2], &limits).is_err(), "{compression:?}");
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 0x55;
            let is_refused = same(&damaged, &limits).is_err();
            assert!(is_refused || compression != Compression::Gzip);
            let small = Limits { expanded_bytes_max: 2_000_000, ..limits };
            let refused = same(&whole, &small).unwrap_err();
            assert!(refused.contains("Limit"), "{refused}");
            let archive = crate::tar::Limits { entries_max: 0, ..limits.archive };
            let refused = same(&whole, &Limits { archive, ..limits }).unwrap_err();
            assert!(refused.contains("entries"), "{refused}");
        }
        assert!(same(b"", &limits).is_ok());
        assert!(same(&[0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff], &limits).is_err());
        assert!(same(&vec![b'x'; 9 << 20], &limits).is_err());
    }
}
