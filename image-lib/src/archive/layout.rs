//! OCI image layouts (image-spec image-layout.md), in a tar or as a directory.

use std::fs;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use super::ArchiveError;
use super::contents::Contents;
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

/// Reads the layout in the directory `path`.
pub(super) fn read_directory<'s>(
    store: &'s Store,
    path: &Path,
) -> Result<Contents<'s>, ArchiveError> {
    let failed = |source| ArchiveError::Entry { entry: path.to_string_lossy().into(), source };
    let root = Root::open(path).map_err(|error| failed(error.source))?;
    let mut contents = Contents::new(store)?;
    let mut add = |name: &Path| {
        let file = root.open_file(name).map_err(|error| failed(error.source))?;
        let metadata: fs::Metadata = file.metadata().map_err(failed)?;
        contents.add(name, &mut BufReader::with_capacity(128 << 10, file), metadata.len())
    };
    for name in ["oci-layout", "index.json"] {
        add(Path::new(name))?;
    }
    for algorithm in ["sha256", "sha512"] {
        let folder = Path::new("blobs").join(algorithm);
        let Ok(entries) = root.entries(&folder) else { continue };
        for (name, _) in entries.iter().filter(|(_, kind)| *kind == FileKind::File) {
            add(&folder.join(name))?;
        }
    }
    Ok(contents)
}
