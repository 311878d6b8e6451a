//! The files that `COPY` and `ADD` take from: the build context, or the rootfs of a stage or an
//! image. Sources are patterns; what they select is scanned once, and the scan is both what the
//! cache key is made of and the list of what is copied.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::AtFlags;
use sha2::{Digest as _, Sha256};

use super::dockerfile::word::did_you_mean;
use super::error::StepError;
use super::glob::{Glob, Stars, has_wildcards};
use super::ignore::{Ignore, Verdict};
use super::stat_cache::{Stamp, StatCache, Sum};
use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, with_path};
use crate::spec::Timestamp;

/// How deep directories of a source may lie in one another: one descriptor is open per level.
const DEPTH_MAX: usize = 900;

/// Whom copied files belong to when nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Root, as for all files of the context.
    Root,
    /// Whom they belong to in their stage or image.
    Kept,
}

/// A tree that files are copied from.
#[derive(Debug)]
pub struct SourceTree {
    root: Root,
    ignore: Ignore,
    ownership: Ownership,
    stat_cache: Mutex<StatCache>,
}

/// One selected source with all that is below it.
#[derive(Debug)]
pub struct Selected {
    /// Where it is, links followed.
    pub path: PathBuf,
    /// The path that selected it, relative to the root, as it was written or matched.
    pub written: PathBuf,
    /// Itself, with an empty path, and everything below it; parents before children.
    pub entries: Vec<Entry>,
}

impl Selected {
    /// The name under which it goes into a directory.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.written.file_name().unwrap_or_default()
    }

    /// Whether it is a directory, whose contents are copied.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.metadata.kind == FileKind::Directory)
    }
}

/// A source of `COPY --parents`.
#[derive(Debug)]
pub struct Kept {
    /// The files.
    pub selected: Selected,
    /// The part of the path that is kept.
    pub path: PathBuf,
    /// The directories above it that are kept too, highest first.
    pub parents: Vec<(PathBuf, Metadata)>,
}

/// One file of a selection.
#[derive(Debug)]
pub struct Entry {
    /// The path relative to the selected source.
    pub path: PathBuf,
    /// Its attributes, owner already as [`Ownership`] says.
    pub metadata: Metadata,
    /// The digest of content, link target and extended attributes.
    pub sum: Sum,
}

impl SourceTree {
    /// The build context in `root`, without what `ignore` leaves out.
    #[must_use]
    pub fn context(root: Root, ignore: Ignore, stat_cache: StatCache) -> Self {
        let stat_cache = Mutex::new(stat_cache);
        Self { root, ignore, ownership: Ownership::Root, stat_cache }
    }

    /// A rootfs.
    #[must_use]
    pub fn rootfs(root: Root) -> Self {
        let stat_cache = Mutex::new(StatCache::forgetful());
        Self { root, ignore: Ignore::default(), ownership: Ownership::Kept, stat_cache }
    }

    /// The tree itself.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// As [`SourceTree::select`] for `--parents`: in the pattern `**` is any number of directories,
    /// and every selected file knows which part of its path is kept. A `/./` in the source stands
    /// before that part; without one all of it is kept.
    ///
    /// # Errors
    /// The path does not exist or cannot be read, or the pattern is none.
    pub fn select_with_parents(
        &self,
        source: &str,
        exclude: &Ignore,
    ) -> Result<Vec<Kept>, StepError> {
        let (base, pattern) = source.split_once("/./").unwrap_or(("", source));
        let base = PathBuf::from(clean_source(base));
        let pattern = clean_source(pattern);
        if !has_wildcards(&pattern) {
            let joined = base.join(&pattern).to_string_lossy().into_owned();
            let selected = self.select(&joined, exclude)?;
            return selected.into_iter().map(|selected| self.kept(&base, selected)).collect();
        }
        let mut paths = vec![base.clone()];
        for part in pattern.split('/') {
            if part == "**" {
                paths = self.directories_below(&paths)?;
                continue;
            }
            let glob = Glob::compile(part, Stars::Component)
                .map_err(|message| StepError::Pattern { message })?;
            paths = self.matching(&paths, part, &glob)?;
        }
        let mut kept = Vec::new();
        for path in paths {
            if let Some(selected) = self.select_path(&path, exclude)? {
                kept.push(self.kept(&base, selected)?);
            }
        }
        Ok(kept)
    }

    fn kept(&self, base: &Path, selected: Selected) -> Result<Kept, StepError> {
        let path = selected.written.strip_prefix(base).unwrap_or(&selected.written).to_owned();
        let mut parents = Vec::new();
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for parent in above.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            let found = self.root.metadata(&base.join(parent))?;
            let metadata = found.map(|found| owned(self.ownership, found));
            parents.extend(metadata.map(|metadata| (parent.to_owned(), metadata)));
        }
        Ok(Kept { selected, path, parents })
    }

    /// The directories of `paths` and all below them. Links are not entered.
    fn directories_below(&self, paths: &[PathBuf]) -> Result<Vec<PathBuf>, FsError> {
        let mut found = Vec::new();
        for path in paths {
            let is_directory =
                self.root.metadata(path)?.is_some_and(|m| m.kind == FileKind::Directory);
            if !is_directory || found.contains(path) {
                continue;
            }
            found.push(path.clone());
            for entry in self.root.walk(path)? {
                let entry = entry?;
                if entry.metadata.kind == FileKind::Directory {
                    found.push(path.join(&entry.path));
                }
            }
        }
        Ok(found)
    }

    /// Whether `.dockerignore` leaves out the path `source`, which is no pattern, with all below it.
    #[must_use]
    pub fn leaves_out(&self, source: &str) -> bool {
        let path = clean_source(source);
        !path.is_empty()
            && !has_wildcards(&path)
            && !path.contains('$')
            && self.ignore.judge_path(&path).ignored
            && !self.ignore.may_admit_below(&path)
    }

    /// Keeps what was learned of unchanged files. Losing it costs time only, so that a failure to
    /// write is no error of the build.
    pub fn save_stat_cache(&self) {
        let mut cache = self.stat_cache.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = cache.save();
    }

    /// The files that `source` selects, `exclude` left out. A pattern may select nothing; a plain
    /// path that does not exist is an error.
    ///
    /// # Errors
    /// The path does not exist or cannot be read, or the pattern is none.
    pub fn select(&self, source: &str, exclude: &Ignore) -> Result<Vec<Selected>, StepError> {
        let cleaned = clean_source(source);
        let mut selected = Vec::new();
        if !has_wildcards(&cleaned) {
            let found = self.select_path(Path::new(&cleaned), exclude)?;
            // Excluding the only source is not the same as its absence.
            if found.is_none() && exclude.is_empty() {
                return Err(StepError::SourceMissing {
                    path: format!("/{cleaned}"),
                    ignored: self.root.symlink_metadata(Path::new(&cleaned))?.is_some(),
                    near: self.near(Path::new(&cleaned)),
                });
            }
            selected.extend(found);
            return Ok(selected);
        }
        let mut paths = vec![PathBuf::new()];
        for part in cleaned.split('/') {
            let glob = Glob::compile(part, Stars::Component)
                .map_err(|message| StepError::Pattern { message })?;
            paths = self.matching(&paths, part, &glob)?;
        }
        for path in paths {
            selected.extend(self.select_path(&path, exclude)?);
        }
        Ok(selected)
    }

    /// A path that is there and whose last name is nearly that of `path`.
    fn near(&self, path: &Path) -> Option<String> {
        const ENTRIES_MAX: usize = 1000;
        let parent = path.parent()?;
        let entries = self.root.entries(parent).ok()?;
        let names = entries.iter().take(ENTRIES_MAX).filter_map(|(name, _)| name.to_str());
        let is_kept = |name: &&str| {
            let path = parent.join(name);
            !self.ignore.judge_path(&path.to_string_lossy()).ignored
        };
        let name = did_you_mean(path.file_name()?.to_str()?, names.filter(is_kept))?;
        Some(parent.join(name).to_string_lossy().into_owned())
    }

    fn matching(
        &self,
        parents: &[PathBuf],
        part: &str,
        glob: &Glob,
    ) -> Result<Vec<PathBuf>, FsError> {
        let mut paths = Vec::new();
        for parent in parents {
            if !has_wildcards(part) {
                let path = parent.join(part);
                if self.root.metadata(&path)?.is_some() {
                    paths.push(path);
                }
                continue;
            }
            let is_directory =
                self.root.metadata(parent)?.is_some_and(|m| m.kind == FileKind::Directory);
            if !is_directory {
                continue;
            }
            let names = self.root.entries(parent)?;
            let fitting = names.iter().filter(|(name, _)| glob.matches(&name.to_string_lossy()));
            paths.extend(fitting.map(|(name, _)| parent.join(name)));
        }
        Ok(paths)
    }

    /// The file at `path` and all below it; `None` if there is none, or if it is left out.
    fn select_path(&self, written: &Path, exclude: &Ignore) -> Result<Option<Selected>, FsError> {
        let text = written.to_string_lossy();
        let is_out = !text.is_empty() && self.ignore.judge_path(&text).ignored;
        if is_out && !self.ignore.may_admit_below(&text) {
            return Ok(None);
        }
        let path = self.root.real_path(written)?;
        let verdict = if path.as_os_str().is_empty() {
            self.ignore.root()
        } else {
            self.ignore.judge_path(&path.to_string_lossy())
        };
        let mut scan = Scan { tree: self, exclude, entries: Vec::new() };
        if path.as_os_str().is_empty() {
            let directory = self.root.directory().try_clone()?;
            scan.root_directory(&directory)?;
        } else {
            let (parent, name) = match self.root.parent(&path) {
                Ok(found) => found,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            // The patterns of --exclude see a single file by its name and what is below a
            // directory by its path in there.
            let found = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let Ok(stat) = found else { return Ok(None) };
            let is_directory = Metadata::from(&stat).kind == FileKind::Directory;
            let excluded = exclude.judge_path(&name.to_string_lossy()).ignored;
            if excluded && !is_directory {
                return Ok(None);
            }
            let at = At { path: &path, below: Path::new(""), depth: 0 };
            scan.file(&parent, name, &at, &verdict, &exclude.root())?;
        }
        let entries = scan.entries;
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(Selected { path, written: written.to_owned(), entries }))
    }

    fn sum(
        &self,
        at: &At<'_>,
        parent: &Directory,
        name: &OsStr,
        stamp: Stamp,
        kind: FileKind,
    ) -> Result<Sum, FsError> {
        let key = at.path.as_os_str().as_bytes();
        let lock = || self.stat_cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sum) = lock().get(key, &stamp) {
            return Ok(sum);
        }
        let looked_at = Timestamp::now();
        let sum = digest_file(parent, name, kind).map_err(|e| with_path(e, at.path))?;
        lock().put(key, stamp, sum, looked_at);
        Ok(sum)
    }
}

/// Where a scan is: in the tree, and below the selected source.
struct At<'a> {
    path: &'a Path,
    below: &'a Path,
    depth: usize,
}

struct Scan<'a> {
    tree: &'a SourceTree,
    exclude: &'a Ignore,
    entries: Vec<Entry>,
}

impl Scan<'_> {
    /// The whole tree, which has no name and no parent.
    fn root_directory(&mut self, directory: &Directory) -> Result<(), FsError> {
        let metadata = self.owned(directory.stat_self()?);
        self.entries.push(Entry { path: PathBuf::new(), metadata, sum: [0; 32] });
        let at = At { path: Path::new(""), below: Path::new(""), depth: 0 };
        self.children(directory, &at, &self.tree.ignore.root(), &self.exclude.root())?;
        Ok(())
    }

    fn owned(&self, metadata: Metadata) -> Metadata {
        owned(self.tree.ownership, metadata)
    }

    fn children(
        &mut self,
        directory: &Directory,
        at: &At<'_>,
        verdict: &Verdict,
        excluded: &Verdict,
    ) -> Result<(), FsError> {
        for (name, _) in directory.entries().map_err(|e| with_path(e, at.path))? {
            let path = at.path.join(&name);
            let below = at.below.join(&name);
            let verdict = self.tree.ignore.judge(verdict, &path.to_string_lossy());
            let excluded = self.exclude.judge(excluded, &below.to_string_lossy());
            let at = At { path: &path, below: &below, depth: at.depth + 1 };
            self.file(directory, &name, &at, &verdict, &excluded)?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        at: &At<'_>,
        verdict: &Verdict,
        excluded: &Verdict,
    ) -> Result<(), FsError> {
        let left_out = verdict.ignored || excluded.ignored;
        let admits = |ignore: &Ignore, verdict: &Verdict, path: &Path| {
            !verdict.ignored || ignore.may_admit_below(&path.to_string_lossy())
        };
        if left_out
            && !(admits(&self.tree.ignore, verdict, at.path)
                && admits(self.exclude, excluded, at.below))
        {
            return Ok(());
        }
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(errno) => return Err(FsError::new("stat", at.path, errno)),
        };
        let metadata = Metadata::from(&stat);
        if metadata.kind == FileKind::Socket {
            // No layer can hold it. Who asks for this one is told so.
            return match at.depth {
                0 => Err(FsError::new("copy the socket", at.path, rustix::io::Errno::OPNOTSUPP)),
                _ => Ok(()),
            };
        }
        if metadata.kind != FileKind::Directory {
            if !left_out {
                let sum = self.tree.sum(at, parent, name, Stamp::of(&stat), metadata.kind)?;
                let metadata = self.owned(metadata);
                self.entries.push(Entry { path: at.below.to_owned(), metadata, sum });
            }
            return Ok(());
        }
        if at.depth == DEPTH_MAX {
            return Err(FsError::new("scan", at.path, rustix::io::Errno::NAMETOOLONG));
        }
        let metadata = self.owned(metadata);
        let sum = match self.tree.ownership {
            // Extended attributes of directories of a context are not looked at: reading them
            // would cost a call for each directory of an unchanged context.
            Ownership::Root => [0; 32],
            Ownership::Kept => digest_file(parent, name, FileKind::Directory)
                .map_err(|error| with_path(error, at.path))?,
        };
        self.entries.push(Entry { path: at.below.to_owned(), metadata, sum });
        let without_children = self.entries.len();
        let directory = parent.open_directory(name).map_err(|e| with_path(e, at.path))?;
        self.children(&directory, at, verdict, excluded)?;
        // A directory that is left out is there only for the sake of what was let in below it.
        if left_out && self.entries.len() == without_children {
            self.entries.pop();
        }
        Ok(())
    }
}

fn owned(ownership: Ownership, metadata: Metadata) -> Metadata {
    match ownership {
        Ownership::Root => Metadata { uid: 0, gid: 0, ..metadata },
        Ownership::Kept => metadata,
    }
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether an attribute belongs to the file and not to the host that it lies on.
#[must_use]
pub fn is_copied_xattr(name: &[u8]) -> bool {
    if name == b"security.capability" {
        return true;
    }
    let private: [&[u8]; 4] = [b"security.", b"system.", b"trusted.overlay.", b"user.overlay."];
    !private.iter().any(|prefix| name.starts_with(prefix))
}

fn digest_file(parent: &Directory, name: &OsStr, kind: FileKind) -> Result<Sum, FsError> {
    let mut hasher = Sha256::new();
    let attributes = parent.xattrs(name)?;
    for (attribute, value) in attributes.iter().filter(|(name, _)| is_copied_xattr(name)) {
        for part in [attribute, value] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.update(u64::MAX.to_le_bytes());
    match kind {
        FileKind::File => {
            let mut file = parent.open_file(name)?;
            let mut buffer = vec![0; 128 << 10];
            loop {
                let read = file
                    .read(&mut buffer)
                    .map_err(|error| FsError::new("read", Path::new(name), error))?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
            }
        }
        FileKind::Symlink => hasher.update(parent.read_link(name)?.as_bytes()),
        _ => {}
    }
    Ok(hasher.finalize().into())
}

/// A source relative to the root of its tree: neither a leading `/` nor `..` leads out of it, and
/// a `/` at the end means nothing.
fn clean_source(source: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in source.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::{clean_source, is_copied_xattr};

    #[test]
    fn keeps_sources_inside() {
        for (source, expected) in
            [("a/b", "a/b"), ("/a/", "a"), ("../../a", "a"), (".", ""), ("a/../..//b/.", "b")]
        {
            assert_eq!(clean_source(source), expected, "{source}");
        }
    }

    #[test]
    fn copies_attributes_of_the_file_only() {
        assert!(is_copied_xattr(b"user.x") && is_copied_xattr(b"security.capability"));
        assert!(!is_copied_xattr(b"security.selinux") && !is_copied_xattr(b"user.overlay.opaque"));
    }
}
