//! Files by their URLs. One that its server has given an `ETag` is kept in the cache, and the next time the server is
//! asked whether it is still that; then no bytes come.
//!
//! ```text
//! cache/downloads/<digest of the URL>  a line of JSON: tag, time, digest, size; then the bytes
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::RemoteError;
use super::credentials::http_authorization;
use crate::build::cache::{BuildCache, make_private};
use crate::build::options::BuildOptions;
use crate::build::solve::cache_directory;
use crate::identity::{Algorithm, Digest, Hasher};
use crate::registry::{Ask, Client, Download};
use crate::store::Store;

/// Raised when old files can no longer be read.
const VERSION: u64 = 1;
/// The most bytes of a file that is kept.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// The most bytes of all that are kept; the ones that were used longest ago go.
const ALL_BYTES_MAX: u64 = 4 << 30;
/// The most files that are kept.
const FILES_MAX: usize = 1024;
/// Where the content begins.
const HEAD_BYTES: u64 = 4 << 10;
/// How much is read at a time.
const PIECE_BYTES: usize = 128 << 10;

/// A file that comes by its URL.
pub(in crate::build) struct WebFile {
    /// `Last-Modified`, as the server writes it.
    pub(in crate::build) last_modified: Option<String>,
    reader: Box<dyn Read>,
}

impl Read for WebFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Fetches the file at `url`, with what `options` say of registries and secrets; from the cache where the server says
/// that it is still what was kept. Gives nothing where `options` have no client.
///
/// # Errors
/// The server's; a secret for it that cannot be read; the build is over.
pub(in crate::build) fn open(
    store: &Store,
    url: &str,
    options: &BuildOptions,
) -> Result<Option<WebFile>, RemoteError> {
    let Some(client) = &options.registry else { return Ok(None) };
    let authorization = http_authorization(&options.secrets, url)?;
    let ask = Ask { authorization: authorization.as_deref(), known: None };
    let path = BuildCache::new(cache_directory(store)).download_file(url);
    if let Some(kept) = Kept::open(&path) {
        let download = begin(client, url, Ask { known: Some(&kept.head.tag), ..ask })?;
        if !download.is_unchanged {
            return receive(store, &path, download, options).map(Some);
        }
        let last_modified = kept.head.last_modified.clone();
        if let Some(file) = kept.checked() {
            // Those that were used last are kept longest; without the new time it goes earlier.
            let _ = file.set_modified(SystemTime::now());
            return Ok(Some(WebFile { last_modified, reader: Box::new(file) }));
        }
        // It was damaged on the disk.
        let _ = fs::remove_file(&path);
    }
    receive(store, &path, begin(client, url, ask)?, options).map(Some)
}

fn begin(client: &Client, url: &str, ask: Ask<'_>) -> Result<Download, RemoteError> {
    client.download(url, ask).map_err(|error| RemoteError::Registry(Box::new(error)))
}

/// Takes what the server sends, and keeps it if it has a tag.
fn receive(
    store: &Store,
    path: &Path,
    mut download: Download,
    options: &BuildOptions,
) -> Result<WebFile, RemoteError> {
    let last_modified = download.last_modified.clone();
    let is_large = download.bytes.is_some_and(|bytes| bytes > FILE_BYTES_MAX);
    let tag = download.entity_tag.clone().filter(|_| !is_large && !options.dry_run);
    let Some(tag) = tag.filter(|tag| !tag.is_empty()) else {
        return Ok(WebFile { last_modified, reader: Box::new(download) });
    };
    let scratch = store.scratch()?;
    let temporary = scratch.path().join("download");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(RemoteError::Read)?;
    file.seek(SeekFrom::Start(HEAD_BYTES)).map_err(RemoteError::Read)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let (mut size, mut buffer) = (0, vec![0; PIECE_BYTES]);
    let is_whole = loop {
        let read = download.read(&mut buffer).map_err(RemoteError::Read)?;
        if options.cancelled.load(Ordering::Relaxed) {
            return Err(RemoteError::Cancelled);
        }
        if read == 0 {
            break true;
        }
        size += read as u64;
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(RemoteError::Read)?;
        if size > FILE_BYTES_MAX {
            break false;
        }
    };
    if is_whole {
        let digest = hasher.finish();
        let head = Head { tag, last_modified: last_modified.clone(), digest, size };
        // Without the file in the cache it comes again the next time, and no worse.
        let _ = keep(path, &temporary, &mut file, &head);
    }
    file.seek(SeekFrom::Start(HEAD_BYTES)).map_err(RemoteError::Read)?;
    // What is too large to be kept goes on to whoever wants it.
    Ok(WebFile { last_modified, reader: Box::new(file.chain(download)) })
}

/// What is known of a file that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    tag: String,
    last_modified: Option<String>,
    digest: Digest,
    size: u64,
}

impl Head {
    /// The beginning of the file; nothing if it does not fit, as with a tag of many kilobytes.
    fn encode(&self) -> Option<Vec<u8>> {
        let (tag, modified) = (&self.tag, &self.last_modified);
        let head = json!({
            "version": VERSION, "tag": tag, "modified": modified, "digest": self.digest.to_string(), "size": self.size,
        });
        let mut bytes = head.to_string().into_bytes();
        let length = usize::try_from(HEAD_BYTES).ok()?;
        (bytes.len() < length).then(|| {
            bytes.resize(length, b' ');
            bytes
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        (value.get("version")?.as_u64()? == VERSION).then_some(())?;
        Some(Self {
            tag: value.get("tag")?.as_str()?.to_owned(),
            last_modified: value.get("modified")?.as_str().map(str::to_owned),
            digest: value.get("digest")?.as_str()?.parse().ok()?,
            size: value.get("size")?.as_u64()?,
        })
    }
}

/// A file of the cache.
struct Kept {
    head: Head,
    file: File,
}

impl Kept {
    fn open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let mut head = Vec::new();
        (&mut file).take(HEAD_BYTES).read_to_end(&mut head).ok()?;
        let head = Head::decode(&head)?;
        let is_whole = file.metadata().ok()?.len().checked_sub(HEAD_BYTES) == Some(head.size);
        is_whole.then_some(Self { head, file })
    }

    /// The content, from its beginning, if it is what was kept.
    fn checked(mut self) -> Option<File> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            match self.file.read(&mut buffer).ok()? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        self.file.seek(SeekFrom::Start(HEAD_BYTES)).ok()?;
        (hasher.finish() == self.head.digest).then_some(self.file)
    }
}

/// Makes a file, whose content is written, one of the cache.
fn keep(path: &Path, temporary: &Path, file: &mut File, head: &Head) -> io::Result<()> {
    let refused = || io::Error::from(io::ErrorKind::InvalidInput);
    let bytes = head.encode().ok_or_else(refused)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)?;
    let folder = path.parent().ok_or_else(refused)?;
    make_private(folder)?;
    make_room(folder, head.size)?;
    fs::rename(temporary, path)
}

/// Removes the files that were used longest ago until one of `bytes` has room.
fn make_room(folder: &Path, bytes: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that another build has just removed is no more to be counted.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort();
    let mut all = bytes + files.iter().map(|(_, size, _)| size).sum::<u64>();
    let mut count = files.len() + 1;
    for (_, size, path) in files {
        if all <= ALL_BYTES_MAX && count <= FILES_MAX {
            break;
        }
        let _ = fs::remove_file(path);
        (all, count) = (all - size, count - 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Digest, HEAD_BYTES, Head};

    #[test]
    fn keeps_what_is_known() {
        let digest = Digest::of(b"a");
        let head = Head { tag: "\"x\"".to_owned(), last_modified: None, digest, size: 1 };
        let bytes = head.encode().unwrap();
        assert_eq!(bytes.len() as u64, HEAD_BYTES);
        assert_eq!(Head::decode(&bytes), Some(head.clone()));
        let other = Head { last_modified: Some("then".to_owned()), ..head.clone() };
        assert_eq!(Head::decode(&other.encode().unwrap()), Some(other));
        assert_eq!(Head { tag: "x".repeat(5000), ..head }.encode(), None);
        assert!(Head::decode(b"").is_none() && Head::decode(b"{\"version\":2}").is_none());
    }
}
