//! `ADD` of a local archive: its contents go into the destination, as `tar -x` would put them.
//!
//! An archive is known by what is in it, never by its name. Names that mean a deletion in a layer
//! are ordinary names here.

use std::ffi::OsStr;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::StepError;
use super::source_tree::{Selected, SourceTree};
use super::transfer::{Copier, Destination};
use crate::blob::Decoder;
use crate::fsroot::{FileKind, Metadata};
use crate::tar::{Entry, EntryKind, Limits, Reader};

/// The size of a tar header.
const HEADER_BYTES: usize = 512;

/// Whether the source is a file that holds an archive.
///
/// # Errors
/// The file cannot be read.
pub fn is_archive(tree: &SourceTree, selected: &Selected) -> Result<bool, StepError> {
    let is_file =
        selected.entries.first().is_some_and(|entry| entry.metadata.kind == FileKind::File);
    if !is_file {
        return Ok(false);
    }
    let file = tree.root().open_file(&selected.path)?;
    // What cannot be decompressed is no archive: it is copied as it is.
    let Ok(decoder) = Decoder::new(file) else { return Ok(false) };
    let mut header = Vec::new();
    let read = decoder.take(HEADER_BYTES as u64).read_to_end(&mut header);
    Ok(read.is_ok() && is_tar_header(&header))
}

/// A header block whose checksum is right.
pub(super) fn is_tar_header(header: &[u8]) -> bool {
    if header.len() != HEADER_BYTES || header.iter().all(|byte| *byte == 0) {
        return false;
    }
    let field = &header[148..156];
    let digits: String = field
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    let Ok(expected) = u32::from_str_radix(&digits, 8) else { return false };
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    sum == expected
}

/// Extracts the archive into the destination, which is a directory however it is written.
///
/// # Errors
/// The archive is broken, or something in it does not fit into the rootfs.
pub fn extract(
    copier: &mut Copier<'_>,
    tree: &SourceTree,
    selected: &Selected,
    destination: &Destination,
) -> Result<(), StepError> {
    let file = tree.root().open_file(&selected.path)?;
    let broken = |reason: String| refuse(selected, reason);
    let decoder = Decoder::new(file).map_err(|error| broken(error.to_string()))?;
    let mut reader = Reader::new(BufReader::with_capacity(128 << 10, decoder), Limits::default());
    let time = selected.entries.first().map(|entry| entry.metadata.mtime).unwrap_or_default();
    let base = copier.enter(&destination.path, time)?;
    while let Some(entry) = reader.next_entry().map_err(|error| broken(error.to_string()))? {
        let path = entry.relative_path().map_err(|error| broken(error.to_string()))?;
        if path.as_os_str().is_empty() {
            continue;
        }
        copier.make_directories(&above(&base.join(&path)), entry.mtime)?;
        let target = copier.place(&base, &path)?;
        if entry.kind == EntryKind::HardLink {
            let link = entry.relative_link().map_err(|error| broken(error.to_string()))?;
            let first = copier.place(&base, &link)?;
            copier.link(&first, &target)?;
            continue;
        }
        let Some(metadata) = metadata(&entry) else { continue };
        let link = OsStr::from_bytes(&entry.link);
        copier.put(&target, &metadata, link, &entry.xattrs, &mut reader)?;
    }
    Ok(())
}

fn above(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// The attributes of an entry; `None` for a hard link, which is no file of its own.
fn metadata(entry: &Entry) -> Option<Metadata> {
    let kind = match entry.kind {
        EntryKind::File => FileKind::File,
        EntryKind::Directory => FileKind::Directory,
        EntryKind::Symlink => FileKind::Symlink,
        EntryKind::CharacterDevice => FileKind::CharacterDevice,
        EntryKind::BlockDevice => FileKind::BlockDevice,
        EntryKind::Fifo => FileKind::Fifo,
        EntryKind::HardLink => return None,
    };
    Some(Metadata {
        kind,
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        size: entry.size,
        mtime: entry.mtime,
        device: entry.device,
        inode: (0, 0),
        links: 1,
    })
}

fn refuse(selected: &Selected, reason: String) -> StepError {
    StepError::Archive { path: selected.written.to_string_lossy().into_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, is_tar_header};

    #[test]
    fn knows_a_header_by_its_checksum() {
        let mut header = [0; HEADER_BYTES];
        assert!(!is_tar_header(&header));
        header[0] = b'a';
        header[148..156].copy_from_slice(b"000541\0 ");
        assert!(is_tar_header(&header));
        header[1] = b'b';
        assert!(!is_tar_header(&header) && !is_tar_header(b"short"));
    }
}
