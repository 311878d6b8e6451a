//! Fetching one blob into the store: from any place that has it, again where a connection ended, and on
//! from what an earlier pull has left.

use std::io::Read;
use std::time::Duration;

use super::parts::{Part, Turn};
use super::repository::{Repository, Selector};
use super::transport::TransportError;
use super::{RegistryError, host};
use crate::blob::Mismatch;
use crate::spec::Descriptor;
use crate::store::{Arriving, Event, Partial, Progress, Store, StoreError};

/// So many new bytes make an attempt worth not being counted.
const PROGRESS_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// One fetch of one blob.
pub(super) struct Fetch<'a> {
    pub(super) repository: &'a Repository,
    pub(super) store: &'a Store,
    pub(super) blob: &'a Descriptor,
    pub(super) arriving: &'a Arriving,
    pub(super) progress: &'a dyn Progress,
    /// Is the result not wanted any more?
    pub(super) is_given_up: &'a (dyn Fn() -> bool + Sync),
}

/// How a fetch ended, when it ended well.
pub(super) enum Fetched<'s> {
    /// The blob was in the store, or another process has put it there.
    InStore,
    /// All bytes are there and verified, but have no name yet.
    Complete(Box<Partial<'s>>),
}

/// Why one attempt ended.
enum Ended {
    /// The connection did.
    Early(Option<TransportError>),
    /// Nothing that another attempt would change.
    Finally(RegistryError),
}

/// A blob whose bytes were wrong, and that had begun in an earlier pull: from the beginning, all may be
/// well.
#[derive(Debug)]
pub(super) struct Stale;

impl<'a> Fetch<'a> {
    /// Fetches the blob and tells its readers how it ended.
    pub(super) fn run(&self) -> Result<Result<Fetched<'a>, Stale>, RegistryError> {
        let result = self.fetch();
        match &result {
            Ok(Ok(Fetched::InStore)) => self.arriving.found(),
            Ok(Ok(Fetched::Complete(_))) => {
                self.progress.note(Event::EndFetch { blob: &self.blob.digest });
                self.arriving.complete();
            }
            Err(RegistryError::Mismatch { mismatch, .. }) => {
                self.arriving.mismatch(mismatch.clone());
            }
            Ok(Err(Stale)) | Err(_) => self.arriving.fail(),
        }
        result
    }

    fn fetch(&self) -> Result<Result<Fetched<'a>, Stale>, RegistryError> {
        let client = &self.repository.client().0;
        let pause =
            |time: Duration| client.options.cancellation.pause(time) || (self.is_given_up)();
        let partial = self.store.partial(self.blob, self.arriving, &pause);
        let Some(mut partial) = partial.map_err(|source| self.kept_badly(source))? else {
            self.check_wanted()?;
            return Ok(Ok(Fetched::InStore));
        };
        let present = partial.written();
        let blob = &self.blob.digest;
        self.progress.note(Event::BeginFetch { blob, bytes: self.blob.size, present });
        self.fill(&mut partial)?;
        let Err(mismatch) = partial.verify() else {
            return Ok(Ok(Fetched::Complete(Box::new(partial))));
        };
        partial.discard().map_err(|source| self.kept_badly(source))?;
        if present > 0 { Ok(Err(Stale)) } else { Err(self.mismatched(mismatch)) }
    }

    /// Fetches until all bytes are there.
    fn fill(&self, partial: &mut Partial<'_>) -> Result<(), RegistryError> {
        let client = &self.repository.client().0;
        let retry = &client.options.retry;
        let mut attempt = 0;
        while partial.written() < self.blob.size {
            self.check_wanted()?;
            let before = partial.written();
            let failure = match self.attempt(partial) {
                Ok(()) => continue,
                Err(Ended::Finally(error)) => return Err(error),
                Err(Ended::Early(failure)) => failure,
            };
            self.check_wanted()?;
            if partial.written() - before >= PROGRESS_BYTES {
                attempt = 0;
            }
            attempt += 1;
            if attempt > retry.retries {
                return Err(RegistryError::Incomplete {
                    subject: self.subject(),
                    digest: self.blob.digest.clone(),
                    have: partial.written(),
                    size: self.blob.size,
                    attempts: attempt,
                    failure,
                });
            }
            retry.pause_for(attempt, None, &client.options.cancellation)?;
        }
        Ok(())
    }

    /// Fetches until the connection ends.
    fn attempt(&self, partial: &mut Partial<'_>) -> Result<(), Ended> {
        let (first, tag) = (partial.written(), partial.entity_tag().map(str::to_owned));
        let Part { first: begin, entity_tag, mut reader, .. } = self
            .repository
            .part_of(self.blob, first, tag.as_deref(), Turn::Waits)
            .map_err(Ended::Finally)?;
        partial.set_entity_tag(entity_tag).map_err(|e| Ended::Finally(self.kept_badly(e)))?;
        // A server that begins anew sends what is already there once more.
        let mut unwanted = first - begin.min(first);
        let mut buffer = vec![0; BUFFER_BYTES];
        while partial.written() < self.blob.size {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Err(Ended::Early(None)),
                Ok(count) => count,
                Err(error) => return Err(Ended::Early(Some(host::failure_of(&error)))),
            };
            if (self.is_given_up)() {
                return Err(Ended::Finally(RegistryError::Cancelled));
            }
            let skipped = usize::try_from(unwanted).unwrap_or(usize::MAX).min(count);
            unwanted -= skipped as u64;
            let new = &buffer[skipped..count];
            if new.len() as u64 > self.blob.size - partial.written() {
                let (digest, expected) = (self.blob.digest.clone(), self.blob.size);
                return Err(Ended::Finally(self.mismatched(Mismatch::Long { digest, expected })));
            }
            partial.append(new).map_err(|source| Ended::Finally(self.kept_badly(source)))?;
            let bytes = new.len() as u64;
            self.progress.note(Event::AdvanceFetch { blob: &self.blob.digest, bytes });
        }
        // One more byte would be one too many; the end lets the connection be used again.
        match reader.read(&mut buffer[..1]) {
            Ok(1..) => {
                let (digest, expected) = (self.blob.digest.clone(), self.blob.size);
                Err(Ended::Finally(self.mismatched(Mismatch::Long { digest, expected })))
            }
            _ => Ok(()),
        }
    }

    fn check_wanted(&self) -> Result<(), RegistryError> {
        self.repository.client().0.check_cancelled()?;
        if (self.is_given_up)() { Err(RegistryError::Cancelled) } else { Ok(()) }
    }

    fn subject(&self) -> String {
        self.repository.subject(&Selector::Digest(self.blob.digest.clone()))
    }

    fn kept_badly(&self, source: StoreError) -> RegistryError {
        RegistryError::Store { subject: self.subject(), source: Box::new(source) }
    }

    fn mismatched(&self, mismatch: Mismatch) -> RegistryError {
        RegistryError::Mismatch { subject: self.subject(), mismatch }
    }
}
