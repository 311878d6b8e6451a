//! All that an archive or a layout directory holds, before it is understood. Of what can be read at any
//! place, only the names are read at first; what comes as a stream is set aside as it comes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::ArchiveError;
use super::piece::Piece;
use super::spool::{Spool, Spooled};
use crate::blob::{Compression, VerifiedReader, peek};
use crate::identity::{Digest, Hasher};
use crate::layer::Bounded;
use crate::spec::Descriptor;
use crate::store::{Documents, Staged, Store, StoreError};
use crate::tar::{EntryKind, Problem, Reader};

/// How many links may lead from one entry to the next.
const LINKS_MAX: usize = 8;
/// The buffer where one header after the other is read and what is between them is not.
const HEADERS_BUFFER: usize = 4 << 10;
const BUFFER: usize = 128 << 10;
/// Tar's.
const BLOCK: u64 = 512;

/// The files of an archive.
#[derive(Debug)]
pub(super) struct Contents<'s> {
    store: &'s Store,
    spool: Spool<'s>,
    entries: HashMap<PathBuf, Member>,
}

#[derive(Debug)]
enum Member {
    /// It has been read.
    File(Spooled),
    /// It has not.
    Piece(Piece),
    /// Old archives store a layer once and link to it.
    Link(PathBuf),
}

impl<'s> Contents<'s> {
    pub(super) fn new(store: &'s Store) -> Result<Self, ArchiveError> {
        Ok(Self { store, spool: Spool::new(store)?, entries: HashMap::new() })
    }

    /// The archive that `stream` gives, compressed or not, read to its end.
    pub(super) fn of_stream(store: &'s Store, stream: impl Read) -> Result<Self, ArchiveError> {
        let mut contents = Self::new(store)?;
        let archive = BufReader::with_capacity(BUFFER, Bounded::new(stream, store.limits())?);
        let mut reader = Reader::new(archive, store.limits().archive);
        contents.entries(&mut reader, |contents, path, size, reader| {
            let name = path.to_string_lossy();
            let known = layer_name(path).and_then(|digest| contents.spool.known(&digest, size));
            let file = match known {
                Some(known) => known,
                None => contents.spool.add(&name, reader, size, blob_name(path).as_ref())?,
            };
            Ok(Member::File(file))
        })?;
        // What stands behind the archive's end is read, so that whoever writes to a pipe is not
        // cut off.
        let mut rest = reader.into_inner();
        io::copy(&mut rest, &mut io::sink())
            .map_err(|source| ArchiveError::Entry { entry: "the end".to_owned(), source })?;
        Ok(contents)
    }

    /// The archive in `file`. Of a plain one in a regular file that is at its beginning only the headers are
    /// read.
    pub(super) fn of_file(store: &'s Store, mut file: File) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Entry { entry: "the beginning".to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        let is_whole = metadata.is_file() && file.stream_position().map_err(failed)? == 0;
        if !is_whole || !is_plain(&file).map_err(failed)? {
            return Self::of_stream(store, file);
        }
        let (file, length) = (Arc::new(file), metadata.len());
        let mut contents = Self::new(store)?;
        let headers = BufReader::with_capacity(HEADERS_BUFFER, Arc::clone(&file));
        let mut reader = Reader::new(headers, store.limits().archive);
        contents.entries(&mut reader, |contents, path, size, reader| {
            let Some(offset) = reader.pass_over()? else {
                let file = contents.spool.add(&path.to_string_lossy(), reader, size, None)?;
                return Ok(Member::File(file));
            };
            let end =
                size.checked_next_multiple_of(BLOCK).and_then(|size| offset.checked_add(size));
            if end.is_none_or(|end| end > length) {
                return Err(reader.refuse(Problem::Truncated).into());
            }
            Ok(Member::Piece(Piece::section(&file, offset, size)))
        })?;
        Ok(contents)
    }

    /// Takes note of all entries of a tar; `take` does with the files.
    fn entries<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        mut take: impl FnMut(&mut Self, &Path, u64, &mut Reader<R>) -> Result<Member, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        while let Some(entry) = reader.next_entry()? {
            let path = entry.relative_path().map_err(|problem| reader.refuse(problem))?;
            match entry.kind {
                EntryKind::File => {
                    let member = take(self, &path, entry.size, reader)?;
                    self.entries.insert(path, member);
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    use std::os::unix::ffi::OsStrExt;
                    let target = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
                    let from = match entry.kind {
                        EntryKind::Symlink => path.parent().unwrap_or_else(|| Path::new("")),
                        _ => Path::new(""),
                    };
                    if let Some(target) = resolve(from, target) {
                        self.entries.insert(path, Member::Link(target));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds a file that is read when it is needed.
    pub(super) fn add(&mut self, path: PathBuf, piece: Piece) {
        self.entries.insert(path, Member::Piece(piece));
    }

    /// The store to which blobs are compared.
    pub(super) fn store(&self) -> &'s Store {
        self.store
    }

    /// Where the file called `path` is, through links, and what is known of it.
    fn find(&self, path: &str) -> Option<(PathBuf, &Member)> {
        let mut path = resolve(Path::new(""), Path::new(path))?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&path)? {
                Member::Link(target) => path.clone_from(target),
                member => return Some((path, member)),
            }
        }
        None
    }

    /// The size of the file at `path`, through links; nothing if there is none.
    pub(super) fn size(&self, path: &str) -> Option<u64> {
        self.find(path).and_then(|(_, member)| member.size())
    }

    /// The file at `path`, through links, with the digest of its bytes, which are read now if they have
    /// not been.
    pub(super) fn file(&mut self, path: &str) -> Result<Option<Spooled>, ArchiveError> {
        let Some((path, member)) = self.find(path) else { return Ok(None) };
        let piece = match member {
            Member::File(file) => return Ok(Some(file.clone())),
            Member::Piece(piece) => piece,
            Member::Link(_) => return Ok(None),
        };
        let name = path.to_string_lossy();
        let mut content = BufReader::with_capacity(BUFFER, opened(&name, piece)?);
        let named = blob_name(&path);
        let file = self.spool.add(&name, &mut content, piece.size(), named.as_ref())?;
        self.entries.insert(path, Member::File(file.clone()));
        Ok(Some(file))
    }

    /// The bytes of a small file.
    pub(super) fn bytes(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some((found, member)) = self.find(path) else { return Ok(None) };
        if member.size().is_some_and(|size| size > limit) {
            return Err(ArchiveError::Large { entry: path.to_owned(), limit });
        }
        let piece = match member {
            Member::File(file) => {
                let descriptor = Descriptor::new("", file.digest.clone(), file.size);
                return Ok(Some(self.document(&descriptor, limit)?));
            }
            Member::Piece(piece) => piece,
            Member::Link(_) => return Ok(None),
        };
        let failed = |source| ArchiveError::Entry { entry: path.to_owned(), source };
        let mut bytes = Vec::new();
        opened(path, piece)?.read_to_end(&mut bytes).map_err(failed)?;
        if let Some(digest) = blob_name(&found) {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(&bytes);
            let actual = hasher.finish();
            if actual != digest {
                return Err(ArchiveError::Damaged { entry: path.to_owned(), actual });
            }
        }
        Ok(Some(bytes))
    }

    /// The digest of a small file: by its name, if it is called as a blob.
    pub(super) fn digest(&self, path: &str, limit: u64) -> Result<Option<Digest>, ArchiveError> {
        if let Some((Some(digest), _)) = self.find(path).map(|(path, m)| (blob_name(&path), m)) {
            return Ok(Some(digest));
        }
        Ok(self.bytes(path, limit)?.map(|bytes| Digest::of(&bytes)))
    }

    /// What the archive has by this digest.
    fn blob(&self, digest: &Digest) -> Option<&Member> {
        match self.entries.get(&blob_path(digest)) {
            Some(member @ (Member::File(_) | Member::Piece(_))) => Some(member),
            _ => None,
        }
    }

    /// The size of what the archive calls by this digest.
    pub(super) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let spooled = || self.spool.get(digest).map(|file| file.size);
        self.blob(digest).and_then(Member::size).or_else(spooled)
    }

    /// Sets the blob aside, verified, unless the store has it.
    pub(super) fn take(&mut self, blob: &Descriptor) -> Result<(), ArchiveError> {
        if self.store.keep_blob(&blob.digest, blob.size) {
            return Ok(());
        }
        if matches!(self.blob(&blob.digest), Some(Member::Piece(_))) {
            self.file(&blob_path(&blob.digest).to_string_lossy())?;
        }
        Ok(())
    }

    pub(super) fn staged(&self) -> Staged {
        self.spool.staged()
    }

    /// Opens a file that was set aside, or is in the store already.
    pub(super) fn open(&self, file: &Spooled) -> Result<File, ArchiveError> {
        let path = match &file.path {
            Some(path) => path.clone(),
            None => self.store.blob_file(&file.digest),
        };
        File::open(&path).map_err(|source| ArchiveError::Entry {
            entry: path.to_string_lossy().into_owned(),
            source,
        })
    }

    /// Opens a blob that the archive has; its bytes are not verified.
    pub(super) fn open_blob(
        &self,
        digest: &Digest,
    ) -> Result<Option<Box<dyn Read + '_>>, ArchiveError> {
        match self.blob(digest) {
            Some(Member::Piece(piece)) => {
                let name = blob_path(digest);
                Ok(Some(Box::new(opened(&name.to_string_lossy(), piece)?)))
            }
            Some(Member::File(file)) => Ok(Some(Box::new(self.open(file)?))),
            _ => match self.spool.get(digest) {
                Some(file) => Ok(Some(Box::new(self.open(file)?))),
                None => Ok(None),
            },
        }
    }
}

impl Member {
    fn size(&self) -> Option<u64> {
        match self {
            Self::File(file) => Some(file.size),
            Self::Piece(piece) => Some(piece.size()),
            Self::Link(_) => None,
        }
    }
}

fn opened(name: &str, piece: &Piece) -> Result<Box<dyn Read>, ArchiveError> {
    piece.open().map_err(|source| ArchiveError::Entry { entry: name.to_owned(), source })
}

/// Is the file no compressed one? It stays at its beginning.
fn is_plain(file: &File) -> io::Result<bool> {
    let (compression, _) = peek(Piece::beginning(file))?;
    Ok(compression == Compression::None)
}

/// An archive's documents, and those of the store that it leaves out.
impl Documents for Contents<'_> {
    fn document(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let is_stored = self.store.has_blob(&descriptor.digest, descriptor.size);
        let piece = match self.blob(&descriptor.digest) {
            Some(Member::Piece(piece)) if !is_stored => piece,
            _ => return self.store.read_staged(descriptor, &self.staged(), bytes_max),
        };
        let digest = &descriptor.digest;
        if descriptor.size > bytes_max {
            let (digest, size) = (digest.clone(), descriptor.size);
            return Err(StoreError::Large { digest, size, limit: bytes_max });
        }
        let read = || {
            let mut bytes = Vec::new();
            VerifiedReader::new(piece.open()?, digest.clone(), descriptor.size)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| self.store.reading(digest, error))
    }

    fn is_present(&self, descriptor: &Descriptor) -> bool {
        self.blob_size(&descriptor.digest).is_some()
            || self.store.has_blob(&descriptor.digest, descriptor.size)
    }
}

/// The digest that a path below `blobs/` names.
fn blob_name(path: &Path) -> Option<Digest> {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    match parts[..] {
        ["blobs", algorithm, hex] => format!("{algorithm}:{hex}").parse().ok(),
        _ => None,
    }
}

/// The digest that podman and skopeo name a layer of Docker's form by: that of its bytes, as `DIGITS.tar`.
/// It is their habit and no rule, so that it says only which blob of the store may be the same. If it is
/// not, its diff id shows that.
fn layer_name(path: &Path) -> Option<Digest> {
    let hex = path.to_str()?.strip_suffix(".tar")?;
    if hex.contains('/') { None } else { format!("sha256:{hex}").parse().ok() }
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm().name()).join(digest.hex())
}

/// `path` as seen from `from`, by names alone: an archive has no directories to follow. Nothing if
/// it leaves the archive.
fn resolve(from: &Path, path: &Path) -> Option<PathBuf> {
    let mut resolved = if path.has_root() { PathBuf::new() } else { from.to_owned() };
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir if !resolved.pop() => return None,
            _ => {}
        }
    }
    Some(resolved)
}
