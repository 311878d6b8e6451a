//! Reading the file: the one place of this layer that touches a disk.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::ConfigErrors;
use super::json::Json;
use crate::limits::CONFIG_BYTES_MAX;

/// What most configs fit into, so that one read is enough; larger ones only take more reads.
const CONFIG_BYTES_USUAL: usize = 32 << 10;

/// Why a config could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("JSON specification file {name} not found in {}", folder.display())]
    NotFound {
        /// The file's name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is no such folder. The words are runc's, which enters the bundle first.
    #[error("chdir {}: no such file or directory", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any config.
    #[error("{}: larger than {CONFIG_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is no JSON.
    #[error("{}: not JSON", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The file is JSON, but no valid config.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

fn not_found(path: &Path) -> LoadError {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match folder.is_dir() {
        true => LoadError::NotFound { name, folder },
        false => LoadError::NoFolder { folder },
    }
}

/// A JSON file that was read.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    /// The file as it is.
    pub bytes: Vec<u8>,
}

impl Document {
    /// What it says.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn json(&self) -> Result<Json<'_>, LoadError> {
        let tell = |source| LoadError::Syntax { path: self.path.clone(), source };
        Json::parse(&self.bytes).map_err(tell)
    }
}

/// Reads a JSON file of bounded size.
///
/// # Errors
/// When it is absent, unreadable or too large.
pub fn load(path: &Path) -> Result<Document, LoadError> {
    let owned = || path.to_owned();
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => not_found(path),
        _ => LoadError::Read { path: owned(), source },
    })?;
    let mut bytes = Vec::with_capacity(CONFIG_BYTES_USUAL);
    let limit = CONFIG_BYTES_MAX as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| LoadError::Read { path: owned(), source })?;
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(LoadError::TooLarge { path: owned() });
    }
    Ok(Document { path: owned(), bytes })
}
