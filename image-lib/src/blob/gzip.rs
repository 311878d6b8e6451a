//! Gzip by as many threads as there are processors. The bytes are divided into blocks of one size, which are
//! compressed each for itself but with the end of the one before as a dictionary, so that what comes out is
//! one member (RFC 1952), hardly longer than if one thread had made it, and the same for any number of threads.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The bytes that are compressed at once.
const BLOCK: usize = 512 << 10;
/// How far back deflate looks (RFC 1951, 2).
const WINDOW: usize = 32 << 10;
/// How many blocks wait for each thread, so that none is without work.
const WAITING: usize = 2;
/// Deflate, no flags, no time, no extra flags, an unknown system: nothing of the host is in it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A writer that compresses.
pub(super) struct GzipEncoder<W: Write> {
    writer: W,
    level: u32,
    threads: usize,
    header: &'static [u8],
    block: Vec<u8>,
    /// The end of the block before.
    dictionary: Vec<u8>,
    crc: Crc,
    workers: Option<Workers>,
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    is_last: bool,
    result: SyncSender<io::Result<Done>>,
}

struct Done {
    compressed: Vec<u8>,
    crc: Crc,
}

/// Threads, and the results that they owe, in the order of the blocks.
struct Workers {
    jobs: Option<Sender<Job>>,
    owed: VecDeque<Receiver<io::Result<Done>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> GzipEncoder<W> {
    pub(super) fn new(writer: W, level: u32) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(writer, level, threads)
    }

    fn with_threads(writer: W, level: u32, threads: usize) -> Self {
        Self {
            writer,
            level,
            threads,
            header: &HEADER,
            block: Vec::new(),
            dictionary: Vec::new(),
            crc: Crc::new(),
            workers: None,
        }
    }

    /// Writes what is held back, and the end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.end_block(true)?;
        self.settle(0)?;
        let mut trailer = self.crc.sum().to_le_bytes().to_vec();
        trailer.extend(self.crc.amount().to_le_bytes());
        self.writer.write_all(&trailer)?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    /// Has the block compressed: at once where it is all there is, otherwise by a thread.
    fn end_block(&mut self, is_last: bool) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let window = block[block.len().saturating_sub(WINDOW)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, window);
        let is_alone = is_last && self.workers.is_none();
        if !is_alone && self.threads > 1 && self.workers.is_none() {
            self.workers = Workers::start(self.threads, self.level);
        }
        let Some(workers) = &mut self.workers else {
            let done = compress(self.level, &block, &dictionary, is_last)?;
            return self.write(&done);
        };
        workers.give(block, dictionary, is_last)?;
        let most = workers.threads.len() * WAITING;
        self.settle(most)
    }

    /// Writes results until no more than `most` are owed.
    fn settle(&mut self, most: usize) -> io::Result<()> {
        while let Some(done) = self.workers.as_mut().and_then(|workers| workers.take(most)) {
            self.write(&done?)?;
        }
        Ok(())
    }

    fn write(&mut self, done: &Done) -> io::Result<()> {
        self.writer.write_all(std::mem::take(&mut self.header))?;
        self.crc.combine(&done.crc);
        self.writer.write_all(&done.compressed)
    }
}

impl<W: Write> Write for GzipEncoder<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        // Where a block ends depends on the bytes alone. The last one is known only at the end.
        if self.block.len() == BLOCK && !buffer.is_empty() {
            self.end_block(false)?;
        }
        let taken = &buffer[..buffer.len().min(BLOCK - self.block.len())];
        self.block.extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Writes what is compressed; the rest waits until its block is full.
    fn flush(&mut self) -> io::Result<()> {
        self.settle(0)?;
        self.writer.flush()
    }
}

impl Workers {
    /// As many as can be started; without any the caller does the work.
    fn start(threads: usize, level: u32) -> Option<Self> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let work = || {
            let waiting = Arc::clone(&waiting);
            let work = move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { break };
                    let done = compress(level, &job.block, &job.dictionary, job.is_last);
                    // Nobody waits for it where the writing has failed.
                    let _ = job.result.send(done);
                }
            };
            Builder::new().name("compress".to_owned()).spawn(work).ok()
        };
        let threads: Vec<_> = (0..threads).filter_map(|_| work()).collect();
        let owed = VecDeque::new();
        (!threads.is_empty()).then_some(Self { jobs: Some(jobs), owed, threads })
    }

    fn give(&mut self, block: Vec<u8>, dictionary: Vec<u8>, is_last: bool) -> io::Result<()> {
        let (result, owed) = sync_channel(1);
        let job = Job { block, dictionary, is_last, result };
        let given = self.jobs.as_ref().map(|jobs| jobs.send(job));
        given.and_then(Result::ok).ok_or_else(ended)?;
        self.owed.push_back(owed);
        Ok(())
    }

    /// The next result, where more than `most` are owed.
    fn take(&mut self, most: usize) -> Option<io::Result<Done>> {
        let next = if self.owed.len() > most { self.owed.pop_front() } else { None };
        next.map(|result| result.recv().unwrap_or_else(|_| Err(ended())))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // They end when nothing can come any more.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

/// One block, which ends on a whole byte.
fn compress(level: u32, block: &[u8], dictionary: &[u8], is_last: bool) -> io::Result<Done> {
    // A state that was reset finds other matches than a new one.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary)?;
    }
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut compressed = Vec::with_capacity(block.len() / 2 + 64);
    loop {
        let read = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        let status = deflate.compress_vec(&block[read..], &mut compressed, flush)?;
        let is_full = compressed.len() == compressed.capacity();
        if status == Status::StreamEnd || (!is_last && !is_full) {
            break;
        }
        compressed.reserve(block.len() / 4 + 64);
    }
    let mut crc = Crc::new();
    crc.update(block);
    Ok(Done { compressed, crc })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use super::*;

    /// Bytes of which some can be compressed and some not.
    fn content(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [.., high] = state.to_le_bytes();
            let run = if high < 40 { 1 } else { usize::from(high % 9) };
            bytes.extend(std::iter::repeat_n(high, run));
        }
        bytes.truncate(length);
        bytes
    }

    fn encode(bytes: &[u8], threads: usize, piece: usize) -> Vec<u8> {
        let mut encoder = GzipEncoder::with_threads(Vec::new(), 6, threads);
        for piece in bytes.chunks(piece) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn the_bytes_do_not_depend_on_threads_or_pieces() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 12_345] {
            let bytes = content(length);
            let one = encode(&bytes, 1, 1 << 20);
            for (threads, piece) in [(1, 4093), (2, 1 << 20), (3, 77_777), (8, 4096)] {
                assert!(encode(&bytes, threads, piece) == one, "{length} bytes, {threads} threads");
            }
            let mut decoded = Vec::new();
            // One member: what follows the first is not read.
            flate2::read::GzDecoder::new(one.as_slice()).read_to_end(&mut decoded).unwrap();
            assert!(decoded == bytes, "{length} bytes");
        }
    }

    /// Seen to fail where a thread takes one state for all its blocks and resets it between.
    #[test]
    fn what_a_thread_has_compressed_before_does_not_show() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let one = encode(&bytes, 1, 1 << 20);
        for threads in 2..5 {
            assert!(encode(&bytes, threads, 1 << 20) == one, "{threads} threads");
        }
    }

    #[test]
    fn it_is_hardly_longer_than_by_one_thread() {
        let bytes = content(8 * BLOCK);
        let mut plain = flate2::write::GzEncoder::new(Vec::new(), Compression::new(6));
        plain.write_all(&bytes).unwrap();
        let plain = plain.finish().unwrap();
        let blocks = encode(&bytes, 2, 1 << 20);
        assert!(blocks.len() * 200 < plain.len() * 201, "{} and {}", blocks.len(), plain.len());
    }

    /// Writes so many bytes and no more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(buffer.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_fails_ends_all_threads() {
        let bytes = content(20 * BLOCK);
        let mut encoder = GzipEncoder::with_threads(Full(1 << 20), 6, 4);
        let written = encoder.write_all(&bytes).and_then(|()| encoder.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
