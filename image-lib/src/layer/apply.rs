//! One pass over a layer's blob: decompress, digest, unpack, with bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use super::bounded::{Bounded, Exceeded};
use super::{Extracted, Extractor, LayerError, Limits, pipeline};
use crate::blob::{Compression, Meter};
use crate::fsroot::Directory;
use crate::identity::{Algorithm, DiffId};
use crate::tar::{Reader, TarError};

/// Bytes that are decompressed, digested and written at once: small enough for a processor's own
/// memory, large enough that calls do not count.
const BUFFER: usize = 128 << 10;

/// A layer that has been read to its end. Whether it is the right one is for the caller to see
/// before anyone else sees the tree.
#[derive(Debug)]
pub struct Applied {
    /// The tree.
    pub extracted: Extracted,
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// How the blob was compressed.
    pub compression: Compression,
}

/// How many threads read a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The caller's.
    One,
    /// Two more: one decompresses, one digests. For large layers, where processors are idle.
    Several,
}

impl Threads {
    /// Several, if there is more than one processor.
    #[must_use]
    pub fn available() -> Self {
        match std::thread::available_parallelism() {
            Ok(processors) if processors.get() > 1 => Self::Several,
            _ => Self::One,
        }
    }
}

/// Unpacks the layer that `blob` gives into a new tree named `fs` in `container`. `blob` is read to
/// its end, also behind the archive's, so that its own digest is complete.
///
/// # Errors
/// The blob is damaged, refused or cannot be unpacked; the tree is of no use then, and `blob` may
/// not have been read to its end.
pub fn apply<R: Read + Send>(
    blob: &mut R,
    algorithm: Algorithm,
    container: Directory,
    limits: &Limits,
    threads: Threads,
) -> Result<Applied, LayerError> {
    let mut extractor = Extractor::new(container)?;
    let visit = |reader: &mut Reader<&mut dyn BufRead>| extractor.apply_all(reader);
    let (diff_id, compression) = each(blob, algorithm, limits, threads, visit)?;
    Ok(Applied { extracted: extractor.finish()?, diff_id, compression })
}

/// Reads the layer that `blob` gives as [`apply`] would, without unpacking it: all of its entries
/// are looked at, none is made.
///
/// # Errors
/// As [`apply`].
pub fn verify<R: Read + Send>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
    threads: Threads,
) -> Result<(DiffId, Compression), LayerError> {
    each(blob, algorithm, limits, threads, |reader| {
        while reader.next_entry()?.is_some() {}
        Ok(())
    })
}

fn each<R: Read + Send>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
    threads: Threads,
    visit: impl FnOnce(&mut Reader<&mut dyn BufRead>) -> Result<(), LayerError>,
) -> Result<(DiffId, Compression), LayerError> {
    let read_archive = |source: &mut dyn BufRead| {
        let mut reader = Reader::new(source, limits.archive);
        visit(&mut reader)?;
        // Padding and even garbage behind the archive belong to both digests.
        io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(LayerError::Read).map(drop)
    };
    let result = match threads {
        Threads::One => read_alone(blob, algorithm, limits, read_archive),
        Threads::Several => pipeline::read(blob, algorithm, limits, read_archive),
    };
    let read = result.map_err(unwrap_limit)?;
    io::copy(blob, &mut io::sink()).map_err(LayerError::Read)?;
    Ok(read)
}

fn read_alone<R: Read>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
    visit: impl FnOnce(&mut dyn BufRead) -> Result<(), LayerError>,
) -> Result<(DiffId, Compression), LayerError> {
    let bounded = Bounded::new(blob, limits)?;
    let compression = bounded.compression();
    let _held = bounded.hold_window();
    let mut source = BufReader::with_capacity(BUFFER, Meter::new(bounded, algorithm));
    visit(&mut source)?;
    let (digest, _) = source.into_inner().finish();
    Ok((DiffId::new(digest), compression))
}

/// An exceeded limit travels through readers as an `io::Error`; it is told as what it is.
fn unwrap_limit(error: LayerError) -> LayerError {
    let io = match &error {
        LayerError::Read(source) | LayerError::Archive(TarError::Read { source, .. }) => source,
        LayerError::Entry { source: super::EntryError::Content(source), .. } => source,
        _ => return error,
    };
    match io.get_ref().and_then(|inner| inner.downcast_ref::<Exceeded>()) {
        Some(exceeded) => LayerError::Limit { what: exceeded.what, limit: exceeded.limit },
        None => error,
    }
}
