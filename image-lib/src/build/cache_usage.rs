//! What the build cache of a store holds, and how it is given back: the results of steps, the directories of
//! `RUN --mount=type=cache`, and what is known of contexts.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::{BuildCache, read_record};
use super::solve::cache_directory;
use crate::identity::Digest;
use crate::store::{Garbage, Store, StoreError};

/// What an entry of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The result of a step.
    Step,
    /// A directory that commands share.
    CacheMount,
    /// What is known of the files of a context.
    Context,
    /// What a step was made of when it ran last.
    Explanation,
    /// What a command read.
    ReadSet,
    /// A file that came by its URL.
    Download,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Step,
        Self::CacheMount,
        Self::Context,
        Self::Explanation,
        Self::ReadSet,
        Self::Download,
    ];

    /// BuildKit's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Step => "regular",
            Self::CacheMount => "exec.cachemount",
            Self::Context => "source.local",
            Self::Explanation | Self::ReadSet => "internal",
            Self::Download => "source.http",
        }
    }
}

/// One entry of the cache.
#[derive(Debug, Clone)]
pub struct CacheEntry {
    /// Its name.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The bytes that it takes, those of a layer counted.
    pub bytes: u64,
    /// Whether an image has the layer too, so that nothing is given back by removing the entry.
    pub is_shared: bool,
    /// When it was written or, for a cache mount, lent last.
    pub used: SystemTime,
    /// The id of a cache mount.
    pub description: String,
    path: PathBuf,
    layer: Option<Digest>,
}

/// The entries of a store's cache, the ones that were used last first.
///
/// # Errors
/// The disk's.
pub fn entries(store: &Store) -> Result<Vec<CacheEntry>, StoreError> {
    let root = cache_directory(store);
    let needed: BTreeSet<Digest> =
        store.records()?.iter().flat_map(|record| store.reachable(&record.descriptor)).collect();
    let mut found = Vec::new();
    for (path, id, metadata) in files(&root.join("steps")) {
        let Some(record) = read_record(&path) else { continue };
        let layer = record.layer.map(|layer| layer.descriptor);
        found.push(CacheEntry {
            id,
            kind: Kind::Step,
            bytes: layer.as_ref().map_or(0, |blob| blob.size),
            is_shared: layer.as_ref().is_some_and(|blob| needed.contains(&blob.digest)),
            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            description: String::new(),
            path,
            layer: layer.map(|blob| blob.digest),
        });
    }
    for (path, id, metadata) in files(&root.join("mounts")).filter(|(_, _, m)| m.is_dir()) {
        let description =
            fs::read_to_string(BuildCache::mount_name_file(&path)).unwrap_or_default();
        found.push(CacheEntry {
            id,
            kind: Kind::CacheMount,
            bytes: tree_bytes(&path),
            is_shared: false,
            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            description,
            path,
            layer: None,
        });
    }
    let plain = [
        ("contexts", Kind::Context),
        ("explained", Kind::Explanation),
        ("reads", Kind::ReadSet),
        ("downloads", Kind::Download),
    ];
    let plain = plain.into_iter().flat_map(|(folder, kind)| {
        files(&root.join(folder)).map(move |found| (kind, found)).collect::<Vec<_>>()
    });
    for (kind, (path, id, metadata)) in plain {
        found.push(CacheEntry {
            id,
            kind,
            bytes: metadata.len(),
            is_shared: false,
            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            description: String::new(),
            path,
            layer: None,
        });
    }
    found.sort_by(|one, other| other.used.cmp(&one.used).then(one.id.cmp(&other.id)));
    Ok(found)
}

/// Removes entries, and the layers that nothing needs then; returns the bytes that were given back, or nothing
/// if the store is in use: a cache mount may be lent just now.
///
/// # Errors
/// The disk's.
pub fn remove(store: &Store, entries: &[CacheEntry]) -> Result<Option<u64>, StoreError> {
    if store.collect_garbage(&Garbage::older_than(Garbage::GRACE))?.is_none() {
        return Ok(None);
    }
    let mut bytes = 0;
    let mut layers = BTreeSet::new();
    for entry in entries {
        let removed = match entry.kind {
            Kind::CacheMount => remove_mount(&entry.path),
            _ => fs::remove_file(&entry.path),
        };
        match removed {
            Ok(()) if entry.kind != Kind::Step => bytes += entry.bytes,
            Ok(()) => layers.extend(entry.layer.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Somebody uses it just now.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(source) => {
                let path = entry.path.clone();
                return Err(StoreError::Io { operation: "remove", path, source });
            }
        }
    }
    // What other records rely on stays protected by the builds that made them.
    let kept: BTreeSet<Digest> =
        self::entries(store)?.into_iter().filter_map(|e| e.layer).collect();
    for (name, mut lease) in store.leases()? {
        if !name.starts_with("build-") {
            continue;
        }
        let before = lease.digests.len();
        lease.digests.retain(|digest| !layers.contains(digest) || kept.contains(digest));
        if lease.digests.len() != before {
            store.lease(&name, &lease)?;
        }
    }
    let gone: BTreeSet<Digest> = layers.difference(&kept).cloned().collect();
    if let Some(collected) =
        store.collect_garbage(&Garbage::older_than(Garbage::GRACE).and(gone))?
    {
        bytes += collected.blobs.iter().map(|(_, size)| size).sum::<u64>();
    }
    Ok(Some(bytes))
}

fn remove_mount(path: &Path) -> io::Result<()> {
    let lock = BuildCache::open_mount_lock(path)?;
    if lock.try_lock().is_err() {
        return Err(io::Error::from(io::ErrorKind::ResourceBusy));
    }
    fs::remove_dir_all(path)?;
    // Whoever waits for the lock makes the directory anew.
    let _ = fs::remove_file(BuildCache::mount_name_file(path));
    Ok(())
}

/// The files of a folder of the cache that have names of their own; none if there is no such folder.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, String, fs::Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let id = entry.file_name().to_string_lossy().into_owned();
        let is_own = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let metadata = entry.metadata().ok()?;
        is_own.then(|| (entry.path(), id, metadata))
    })
}

fn tree_bytes(path: &Path) -> u64 {
    let Ok(root) = crate::fsroot::Root::open(path) else { return 0 };
    let Ok(walk) = root.walk(Path::new("")) else { return 0 };
    walk.flatten().map(|entry| entry.metadata.size).sum()
}
