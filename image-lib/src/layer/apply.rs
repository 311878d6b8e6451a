//! One pass over a layer's blob: decompress, digest, unpack, with bounded memory.

use std::io::{self, BufReader, Read};

use super::bounded::{Bounded, Exceeded};
use super::{Extracted, Extractor, LayerError, Limits};
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

/// Unpacks the layer that `blob` gives into a new tree named `fs` in `container`. `blob` is read to
/// its end, also behind the archive's, so that its own digest is complete.
///
/// # Errors
/// The blob is damaged, refused or cannot be unpacked; the tree is of no use then, and `blob` may
/// not have been read to its end.
pub fn apply<R: Read>(
    blob: &mut R,
    algorithm: Algorithm,
    container: Directory,
    limits: &Limits,
) -> Result<Applied, LayerError> {
    let mut extractor = Extractor::new(container)?;
    let (diff_id, compression) =
        each(blob, algorithm, limits, |reader| extractor.apply_all(reader))?;
    Ok(Applied { extracted: extractor.finish()?, diff_id, compression })
}

/// Reads the layer that `blob` gives as [`apply`] would, without unpacking it: all of its entries
/// are looked at, none is made.
///
/// # Errors
/// As [`apply`].
pub fn verify<R: Read>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
) -> Result<(DiffId, Compression), LayerError> {
    each(blob, algorithm, limits, |reader| {
        while reader.next_entry()?.is_some() {}
        Ok(())
    })
}

/// The bytes of the archive.
type Source<'a, R> = BufReader<Meter<Bounded<&'a mut R>>>;

fn each<R: Read>(
    blob: &mut R,
    algorithm: Algorithm,
    limits: &Limits,
    mut visit: impl FnMut(&mut Reader<Source<'_, R>>) -> Result<(), LayerError>,
) -> Result<(DiffId, Compression), LayerError> {
    let bounded = Bounded::new(&mut *blob, limits)?;
    let compression = bounded.compression();
    let source = BufReader::with_capacity(BUFFER, Meter::new(bounded, algorithm));
    let mut reader = Reader::new(source, limits.archive);
    visit(&mut reader).map_err(unwrap_limit)?;
    let mut rest = reader.into_inner();
    // Padding and even garbage behind the archive belong to both digests.
    io::copy(&mut rest, &mut io::sink()).map_err(LayerError::Read).map_err(unwrap_limit)?;
    let (digest, _) = rest.into_inner().finish();
    io::copy(blob, &mut io::sink()).map_err(LayerError::Read)?;
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
