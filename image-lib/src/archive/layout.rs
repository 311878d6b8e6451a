//! OCI image layouts (image-spec image-layout.md), in a tar or as a directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::ArchiveError;
use super::contents::Contents;
use super::piece::Piece;
use crate::fsroot::{FileKind, Root};
use crate::spec::{Index, MANIFEST_BYTES_MAX};
use crate::store::Store;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

/// The index of a layout; nothing if there is none.
pub(super) fn index(contents: &Contents<'_>) -> Result<Option<Index>, ArchiveError> {
    let Some(bytes) = contents.bytes("index.json", MANIFEST_BYTES_MAX)? else { return Ok(None) };
    // Some tools leave the version out; a wrong one is another matter.
    if let Some(layout) = contents.bytes("oci-layout", MANIFEST_BYTES_MAX)? {
        let layout: Layout = document("oci-layout", &layout)?;
        if layout.image_layout_version != "1.0.0" {
            return Err(ArchiveError::LayoutVersion);
        }
    }
    document("index.json", &bytes).map(Some)
}

pub(super) fn document<T: serde::de::DeserializeOwned>(
    entry: &str,
    bytes: &[u8],
) -> Result<T, ArchiveError> {
    let failed = |source| ArchiveError::Document { entry: entry.to_owned(), source };
    serde_json::from_slice(bytes).map_err(failed)
}

/// The layout in the directory `path`, of which only the names are read.
pub(super) fn of_directory<'s>(
    store: &'s Store,
    path: &Path,
) -> Result<Contents<'s>, ArchiveError> {
    let failed = |source| ArchiveError::Entry { entry: path.to_string_lossy().into(), source };
    let root = Arc::new(Root::open(path).map_err(|error| failed(error.source))?);
    let mut contents = Contents::new(store)?;
    let mut add = |name: PathBuf| {
        let metadata = root.symlink_metadata(&name).map_err(|error| failed(error.source))?;
        let metadata = metadata.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let root = Arc::clone(&root);
        let piece = Piece::Below { root, path: name.clone(), size: metadata.size };
        contents.add(name, piece);
        Ok::<_, ArchiveError>(())
    };
    for name in ["oci-layout", "index.json"] {
        add(PathBuf::from(name))?;
    }
    for algorithm in ["sha256", "sha512"] {
        let folder = Path::new("blobs").join(algorithm);
        let Ok(entries) = root.entries(&folder) else { continue };
        for (name, _) in entries.iter().filter(|(_, kind)| *kind == FileKind::File) {
            add(folder.join(name))?;
        }
    }
    Ok(contents)
}
