//! Counting and digesting what is read.

use std::io::{self, Read, Write};

use crate::identity::{Algorithm, Digest, Hasher};

/// A reader that counts and digests what passes through it.
#[derive(Debug)]
pub struct Meter<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: Read> Meter<R> {
    /// Measures `inner` from here on.
    pub fn new(inner: R, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm), bytes: 0 }
    }

    /// How many bytes have passed.
    pub fn count(&self) -> u64 {
        self.bytes
    }

    /// The reader below.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The digest and the number of all bytes that have passed.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<W> Meter<W> {
    /// Measures what is written to `inner` from here on.
    pub fn writer(inner: W, algorithm: Algorithm) -> Self {
        Self { inner, hasher: Hasher::new(algorithm), bytes: 0 }
    }

    /// The writer below, with the digest and the number of all bytes written.
    pub fn into_parts(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.bytes)
    }
}

impl<W: Write> Write for Meter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that writes a copy of all that passes.
#[derive(Debug)]
pub struct Tee<R, W> {
    reader: R,
    copy: W,
}

impl<R, W> Tee<R, W> {
    /// Copies what is read from `reader` to `copy`.
    pub fn new(reader: R, copy: W) -> Self {
        Self { reader, copy }
    }
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}
