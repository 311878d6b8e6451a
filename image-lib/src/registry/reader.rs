//! Reading a blob of a repository in one go, over connections that end: each is gone on with from where it
//! ended, so that whoever reads sees one stream.

use std::fmt;
use std::io::{self, Read};

use super::parts::{Part, Turn};
use super::repository::{Repository, Selector};
use super::transport::TransportError;
use super::{RegistryError, host};
use crate::spec::Descriptor;

/// So many new bytes make an attempt worth not being counted.
const PROGRESS_BYTES: u64 = 1 << 20;

/// The bytes of a blob, not verified: [`crate::blob::VerifiedReader`] does that. An error of it has a
/// [`RegistryError`] inside.
pub struct BlobReader {
    repository: Repository,
    blob: Descriptor,
    part: Part,
    /// How many bytes were given.
    at: u64,
    /// What the connection sends once more.
    unwanted: u64,
    attempts: u32,
    /// Where the connection began to give something new.
    began: u64,
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader").field("blob", &self.blob.digest).finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens a blob at its registry or a mirror, or else where its descriptor says.
    ///
    /// # Errors
    /// There is none; it cannot be had.
    pub fn open(&self, blob: &Descriptor) -> Result<BlobReader, RegistryError> {
        let part = self.part_of(blob, 0, None, Turn::Now)?;
        Ok(BlobReader {
            repository: self.clone(),
            blob: blob.clone(),
            part,
            at: 0,
            unwanted: 0,
            attempts: 0,
            began: 0,
        })
    }
}

impl BlobReader {
    /// Waits, and opens the blob where the last connection ended.
    fn go_on(&mut self, failure: Option<TransportError>) -> Result<(), RegistryError> {
        let client = &self.repository.client().0;
        client.check_cancelled()?;
        if self.at - self.began >= PROGRESS_BYTES {
            self.attempts = 0;
        }
        self.attempts += 1;
        let retry = &client.options.retry;
        if self.attempts > retry.retries {
            let digest = self.blob.digest.clone();
            return Err(RegistryError::Incomplete {
                subject: self.repository.subject(&Selector::Digest(digest.clone())),
                digest,
                have: self.at,
                size: self.blob.size,
                attempts: self.attempts,
                failure,
            });
        }
        retry.pause_for(self.attempts, None, &client.options.cancellation)?;
        let tag = self.part.entity_tag.take();
        self.part = self.repository.part_of(&self.blob, self.at, tag.as_deref(), Turn::Now)?;
        self.unwanted = self.at - self.part.first.min(self.at);
        self.began = self.at;
        Ok(())
    }

    /// What the connection sends next, without what was given already.
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.unwanted > 0 {
            let most = usize::try_from(self.unwanted).unwrap_or(usize::MAX).min(buffer.len());
            match self.part.reader.read(&mut buffer[..most])? {
                0 => return Ok(0),
                count => self.unwanted -= count as u64,
            }
        }
        self.part.reader.read(buffer)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let failure = match self.next(buffer) {
                Ok(0) => None,
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
                Err(error) => Some(host::failure_of(&error)),
            };
            // All has come; what happened to the connection afterwards is nobody's business.
            if self.at >= self.blob.size {
                return Ok(0);
            }
            self.go_on(failure).map_err(io::Error::other)?;
        }
    }
}
