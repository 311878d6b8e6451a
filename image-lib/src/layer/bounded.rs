//! Decompression that stops where an archive expands beyond all measure.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::Limits;
use crate::blob::{Compression, DecodeError, Decoder, Held};

/// What a reader of this room fails with, inside of an `io::Error`.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it expands beyond the limit of {limit} {what}")]
pub(super) struct Exceeded {
    pub(super) what: &'static str,
    pub(super) limit: u64,
}

/// The expanded bytes of a stream, as long as they stay within limits.
pub(crate) struct Bounded<R: Read> {
    decoder: Decoder<Counted<R>>,
    compressed: Rc<Cell<u64>>,
    expanded: u64,
    limits: Limits,
}

/// Counts the compressed bytes where the decoder takes them.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(stream: R, limits: &Limits) -> Result<Self, DecodeError> {
        let compressed = Rc::new(Cell::new(0));
        let decoder = Decoder::new(Counted { inner: stream, count: Rc::clone(&compressed) })?;
        Ok(Self { decoder, compressed, expanded: 0, limits: *limits })
    }

    pub(super) fn compression(&self) -> Compression {
        self.decoder.compression()
    }

    /// The memory that the stream's compression asks for; waits until it may be had.
    pub(super) fn hold_window(&self) -> Held {
        Held::wait_for(self.decoder.window_bytes())
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.expanded += count as u64;
        let Limits { expanded_bytes_max, ratio_max, ratio_from_bytes, .. } = self.limits;
        let exceeded = |what, limit| Err(io::Error::other(Exceeded { what, limit }));
        if self.expanded > expanded_bytes_max {
            return exceeded("bytes", expanded_bytes_max);
        }
        let allowed = self.compressed.get().saturating_mul(ratio_max);
        if self.expanded > ratio_from_bytes && self.expanded > allowed {
            return exceeded("times its compressed size", ratio_max);
        }
        Ok(count)
    }
}
