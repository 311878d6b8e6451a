//! A file of an archive or a directory that has not been read, and may never be.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::fsroot::Root;

/// Where the bytes are.
#[derive(Debug)]
pub(super) enum Piece {
    /// A part of a file.
    Section { file: Arc<File>, offset: u64, size: u64 },
    /// A file of a directory.
    Below { root: Arc<Root>, path: PathBuf, size: u64 },
}

impl Piece {
    pub(super) fn section(file: &Arc<File>, offset: u64, size: u64) -> Self {
        Self::Section { file: Arc::clone(file), offset, size }
    }

    /// Reads `file` from its beginning, whatever its own position is.
    pub(super) fn beginning(file: &File) -> impl Read + '_ {
        Section { file, offset: 0, left: u64::MAX }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Section { size, .. } | Self::Below { size, .. } => *size,
        }
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::Section { file, offset, size } => {
                Box::new(Section { file: Arc::clone(file), offset: *offset, left: *size })
            }
            // A file that grows gives no more than what was seen.
            Self::Below { root, path, size } => {
                let file = root.open_file(path).map_err(|error| error.source)?;
                Box::new(file.take(*size))
            }
        })
    }
}

/// Reads a part of a file without moving its position.
struct Section<F> {
    file: F,
    offset: u64,
    left: u64,
}

impl<F: std::borrow::Borrow<File>> Read for Section<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.borrow().read_at(&mut buffer[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
