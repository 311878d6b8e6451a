//! Blobs in and out. In: only under the digest of their bytes. Out: only through a reader that knows
//! digest and size.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::error::{At, reading};
use super::layout::make_directory;
use super::{Scratch, Store, StoreError};
use crate::blob::{Meter, Mismatch, VerifiedReader};
use crate::identity::{Algorithm, Digest};
use crate::spec::Descriptor;

/// A blob that is being written and has no name yet. Dropped without a commit, it is gone.
#[derive(Debug)]
pub struct Ingest {
    writer: Meter<File>,
    path: PathBuf,
    _scratch: Scratch,
}

impl Write for Ingest {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Ingest {
    /// Ends the writing. The bytes are on the disk then, but not yet in the store.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn finish(self) -> Result<Ingested, StoreError> {
        let (file, digest, size) = self.writer.into_parts();
        file.sync_data().at("write", &self.path)?;
        Ok(Ingested { digest, size, path: self.path, _scratch: self._scratch })
    }
}

/// A blob whose bytes and digest are known and which nobody else sees yet.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) path: PathBuf,
    _scratch: Scratch,
}

impl Store {
    /// Begins to write a blob whose digest will be of `algorithm`.
    ///
    /// # Errors
    /// The disk's.
    pub fn ingest(&self, algorithm: Algorithm) -> Result<Ingest, StoreError> {
        let scratch = self.scratch()?;
        let path = scratch.path().join("blob");
        let file = File::create_new(&path).at("create", &path)?;
        Ok(Ingest { writer: Meter::writer(file, algorithm), path, _scratch: scratch })
    }

    /// Ends the writing and gives the blob its name, which is returned with its size.
    ///
    /// # Errors
    /// The disk's; a [`Mismatch`] if `expected` says something else.
    pub fn commit_ingest(
        &self,
        ingest: Ingest,
        expected: Option<&Descriptor>,
    ) -> Result<(Digest, u64), StoreError> {
        let ingested = ingest.finish()?;
        if let Some(expected) = expected {
            check(expected, &ingested.digest, ingested.size)?;
        }
        self.publish(ingested)
    }

    /// Gives a blob its name.
    #[allow(clippy::needless_pass_by_value, reason = "its directory goes away with it")]
    pub(crate) fn publish(&self, ingested: Ingested) -> Result<(Digest, u64), StoreError> {
        let path = self.blob_path(&ingested.digest);
        if let Some(parent) = path.parent() {
            make_directory(parent, 0o755)?;
        }
        // Replacing an equal blob is harmless; and a damaged one is healed so.
        fs::rename(&ingested.path, &path).at("write", &path)?;
        Ok((ingested.digest.clone(), ingested.size))
    }

    /// Where a blob is, for those that verify it themselves.
    pub(crate) fn blob_file(&self, digest: &Digest) -> PathBuf {
        self.blob_path(digest)
    }

    /// Gives the file at `path`, whose digest and size are known to be those of `blob`, its name.
    pub(crate) fn publish_file(
        &self,
        path: &std::path::Path,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        File::open(path).and_then(|file| file.sync_data()).at("write", path)?;
        let target = self.blob_path(&blob.digest);
        if let Some(parent) = target.parent() {
            make_directory(parent, 0o755)?;
        }
        fs::rename(path, &target).at("write", &target)
    }

    /// What a failed read of the blob `digest` means.
    pub(crate) fn reading(&self, digest: &Digest, error: io::Error) -> StoreError {
        reading(error, &self.blob_path(digest))
    }

    /// Stores all that `reader` gives, and returns its SHA-256 digest and its size.
    ///
    /// # Errors
    /// The reader's and the disk's.
    pub fn put_blob(&self, reader: &mut dyn Read) -> Result<(Digest, u64), StoreError> {
        let mut ingest = self.ingest(Algorithm::Sha256)?;
        let path = ingest.path.clone();
        io::copy(reader, &mut ingest).at("write", &path)?;
        self.commit_ingest(ingest, None)
    }

    /// Stores `bytes`, and returns their descriptor.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if !self.keep_blob(&digest, size) {
            self.put_blob(&mut &bytes[..])?;
        }
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Is there a blob of this name and size?
    #[must_use]
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// As [`Store::has_blob`]; the blob counts as new for garbage collection then, since somebody who
    /// need not write it begins to rely on it.
    #[must_use]
    pub fn keep_blob(&self, digest: &Digest, size: u64) -> bool {
        if !self.has_blob(digest, size) {
            return false;
        }
        // In a store of another user the time stays.
        if let Ok(file) = File::open(self.blob_path(digest)) {
            let _ = file.set_modified(std::time::SystemTime::now());
        }
        true
    }

    /// Is a layer's blob there, so that the layer can be unpacked if it is not yet?
    #[must_use]
    pub fn layer_is_present(&self, layer: &super::Layer) -> bool {
        self.has_blob(&layer.descriptor.digest, layer.descriptor.size)
    }

    /// Opens a blob. The reader fails at the end if the bytes are not the expected ones.
    ///
    /// # Errors
    /// The blob does not exist; the disk's.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<VerifiedReader<File>, StoreError> {
        let path = self.blob_path(&descriptor.digest);
        match File::open(&path) {
            Ok(file) => Ok(VerifiedReader::new(file, descriptor.digest.clone(), descriptor.size)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NoSuchBlob { digest: descriptor.digest.clone() })
            }
            Err(error) => Err(error).at("open", &path),
        }
    }

    /// Opens a blob to be copied as it is: its bytes were verified when it came in, and whoever gets them
    /// verifies them again. Only its size is compared.
    ///
    /// # Errors
    /// The blob does not exist, or is shorter or longer; the disk's.
    pub(crate) fn open_whole(&self, descriptor: &Descriptor) -> Result<File, StoreError> {
        let path = self.blob_path(&descriptor.digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NoSuchBlob { digest: descriptor.digest.clone() });
            }
            opened => opened.at("open", &path)?,
        };
        let size = file.metadata().at("stat", &path)?.len();
        check(descriptor, &descriptor.digest, size)?;
        Ok(file)
    }

    /// Reads a whole blob of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// The blob does not exist, is larger, or is damaged; the disk's.
    pub fn read_blob(
        &self,
        descriptor: &Descriptor,
        bytes_max: u64,
    ) -> Result<Vec<u8>, StoreError> {
        self.read_staged(descriptor, &super::Staged::new(), bytes_max)
    }

    /// As [`Store::read_blob`], also of blobs that have no name yet.
    pub(crate) fn read_staged(
        &self,
        descriptor: &Descriptor,
        staged: &super::Staged,
        bytes_max: u64,
    ) -> Result<Vec<u8>, StoreError> {
        if descriptor.size > bytes_max {
            let digest = descriptor.digest.clone();
            return Err(StoreError::Large { digest, size: descriptor.size, limit: bytes_max });
        }
        let (path, mut reader) = match self.open_staged(descriptor, staged) {
            Err(missing @ StoreError::NoSuchBlob { .. }) => {
                return descriptor.inline().ok_or(missing);
            }
            opened => opened?,
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| reading(error, &path))?;
        Ok(bytes)
    }
}

/// Compares what was read with what was announced.
pub(crate) fn check(expected: &Descriptor, digest: &Digest, size: u64) -> Result<(), StoreError> {
    let announced = expected.digest.clone();
    if expected.size > size {
        let expected = expected.size;
        return Err(Mismatch::Short { digest: announced, expected, actual: size }.into());
    }
    if expected.size < size {
        return Err(Mismatch::Long { digest: announced, expected: expected.size }.into());
    }
    if expected.digest != *digest {
        return Err(Mismatch::Digest { digest: announced, actual: digest.clone() }.into());
    }
    Ok(())
}
