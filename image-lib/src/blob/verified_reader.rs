//! The only door through which a blob's bytes reach a caller.

use std::io::{self, Read};

use crate::identity::{Digest, Hasher};

/// Why a blob is not the one that was asked for. It comes out of [`VerifiedReader`] as the inner
/// error of an `io::Error` of the kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// There are fewer bytes than announced.
    #[error("blob {digest} is {actual} bytes long, but its descriptor says {expected}")]
    Short {
        /// The expected digest.
        digest: Digest,
        /// The size that was announced.
        expected: u64,
        /// The size that was found.
        actual: u64,
    },
    /// There are more bytes than announced.
    #[error("blob {digest} is longer than the {expected} bytes that its descriptor says")]
    Long {
        /// The expected digest.
        digest: Digest,
        /// The size that was announced.
        expected: u64,
    },
    /// The bytes are others.
    #[error("blob {digest} is damaged: its bytes have the digest {actual}")]
    Digest {
        /// The expected digest.
        digest: Digest,
        /// The digest of what was read.
        actual: Digest,
    },
}

impl Mismatch {
    fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }
}

/// A reader that fails instead of reporting its end, unless digest and size are the expected ones.
/// Whoever stops before the end has seen bytes that were not verified.
#[derive(Debug)]
pub struct VerifiedReader<R> {
    inner: R,
    expected: Digest,
    size: u64,
    seen: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> VerifiedReader<R> {
    /// Reads `inner`, which must have `size` bytes with the digest `expected`.
    pub fn new(inner: R, expected: Digest, size: u64) -> Self {
        let hasher = Some(Hasher::new(expected.algorithm()));
        Self { inner, expected, size, seen: 0, hasher }
    }

    /// Reads what is left, so that all is verified.
    ///
    /// # Errors
    /// The inner reader's, or a [`Mismatch`].
    pub fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0_u8; 64 << 10];
        while self.read(&mut buffer)? != 0 {}
        Ok(())
    }

    fn verify(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        if self.seen < self.size {
            let (digest, expected) = (self.expected.clone(), self.size);
            return Err(Mismatch::Short { digest, expected, actual: self.seen }.into_io());
        }
        let actual = hasher.finish();
        if actual == self.expected {
            return Ok(());
        }
        Err(Mismatch::Digest { digest: self.expected.clone(), actual }.into_io())
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        if count == 0 {
            self.verify()?;
            return Ok(0);
        }
        self.seen += count as u64;
        if self.seen > self.size {
            let digest = self.expected.clone();
            return Err(Mismatch::Long { digest, expected: self.size }.into_io());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(bytes: &[u8], expected: &[u8], size: u64) -> Result<Vec<u8>, Mismatch> {
        let mut out = Vec::new();
        let mut reader = VerifiedReader::new(bytes, Digest::of(expected), size);
        match reader.read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => {
                Err(error.into_inner().unwrap().downcast_ref::<Mismatch>().unwrap().clone())
            }
        }
    }

    #[test]
    fn fails_on_short_long_and_altered() {
        assert_eq!(read(b"hello", b"hello", 5).unwrap(), b"hello");
        assert!(matches!(read(b"hell", b"hello", 5), Err(Mismatch::Short { actual: 4, .. })));
        assert!(matches!(read(b"hello!", b"hello", 5), Err(Mismatch::Long { .. })));
        assert!(matches!(read(b"hellO", b"hello", 5), Err(Mismatch::Digest { .. })));
    }
}
