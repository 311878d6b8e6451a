//! The read set of a `RUN`: what its command learnt of the tree that it started from. Where that has not changed, the
//! command would do the same again, and its layer is taken though other files below it are new.
//!
//! ```text
//! calls → watch (while the command runs) → tree (what was there before) → record (for the next build)
//! ```
//!
//! What counts as read: every path that is asked for, where it led, the links and directories on the way, and what was
//! there of each file that the command changed. Times and inode numbers do not count.

mod calls;
pub mod program;
mod record;
mod tree;
mod watch;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use self::record::ReadSet;
use self::tree::{Depth, Tree};
pub(super) use self::watch::Watch;
use super::cache::StepRecord;
use super::cache_key::CacheKey;
use super::dockerfile::expand::Variables as _;
use super::error::StepError;
use super::key_parts::Reason;
use super::stage::StageBuilder;
use super::workspace::Workspace;
use crate::fsroot::{FileKind, Root};

/// What a comparison with earlier runs came to.
pub(super) enum Compared {
    /// Nothing is known of what the command reads.
    Unknown,
    /// All that the command read is as it was.
    Same { record: Box<StepRecord>, paths: usize },
    /// Something that it read is not as it was the last time.
    Changed(Reason),
}

/// What the runtime looks at before the command runs.
const OF_THE_RUNTIME: [&str; 2] = ["/etc/passwd", "/etc/group"];

impl StageBuilder<'_, '_> {
    /// Looks for a run of the same command that read what there is here, too. `key` is of the command and all else
    /// but the layers that it starts from.
    pub(super) fn compare_reads(&self, key: &CacheKey) -> Result<Compared, StepError> {
        // In a dry run the layers may not be known.
        if self.is_uncached || self.state.lineage.pending.is_some() {
            return Ok(Compared::Unknown);
        }
        let sets = record::read(&self.build.cache.reads_file(key));
        if sets.is_empty() {
            return Ok(Compared::Unknown);
        }
        let workspace = Workspace::new(self.build.store, &self.state.layers)?;
        let mut first_change = None;
        for set in sets {
            let Some(record) = CacheKey::read(&set.key).and_then(|key| self.own(&key)) else {
                continue;
            };
            match set.first_change(workspace.root())? {
                None => {
                    return Ok(Compared::Same { record: Box::new(record), paths: set.paths.len() });
                }
                Some(change) => drop(first_change.get_or_insert(change)),
            }
        }
        Ok(first_change.map_or(Compared::Unknown, Compared::Changed))
    }

    /// Keeps what a command read, once it has ended well. `key` as for [`Self::compare_reads`]; `result` is what its
    /// layer will be found by. Gives why it cannot be kept.
    pub(super) fn keep_reads(
        &self,
        (key, result): (&CacheKey, &CacheKey),
        watch: Watch,
        program: &str,
        workspace: &Workspace,
    ) -> Result<Option<String>, StepError> {
        let mut observed = watch.finish();
        if let Some(gap) = observed.gap {
            return Ok(Some(gap));
        }
        let before = Workspace::new(self.build.store, &self.state.layers)?;
        let mut tree = Tree::new(before.root());
        for path in OF_THE_RUNTIME {
            tree.add(Path::new(path), Depth::Content)?;
        }
        tree.add(Path::new(self.state.working_directory()), Depth::Attributes)?;
        if !program.contains('/') {
            for folder in self.search_path() {
                tree.add(&folder.join(program), Depth::Attributes)?;
            }
        }
        for (path, depth) in observed.paths.drain() {
            tree.add(Path::new(&path), depth)?;
        }
        add_changed(&mut tree, &workspace.upper())?;
        if tree.is_open {
            return Ok(Some("it goes through links of /proc".to_owned()));
        }
        let set = ReadSet { key: result.to_string(), paths: tree.read()? };
        // Without the record the command runs again the next time, and no worse.
        let _ = record::keep(&self.build.cache.reads_file(key), set);
        Ok(None)
    }

    /// Where a program without a path is looked for.
    fn search_path(&self) -> Vec<PathBuf> {
        let path = self.state.environment.get("PATH").unwrap_or_default();
        std::env::split_paths(OsStr::new(path)).collect()
    }
}

/// Adds what was there of everything that the layer replaces: of a file that is not written whole the layer has all.
fn add_changed(tree: &mut Tree<'_>, upper: &Path) -> Result<(), StepError> {
    let upper = Root::open(upper)?;
    for entry in upper.walk(Path::new("."))? {
        let entry = entry?;
        let is_directory = entry.metadata.kind == FileKind::Directory;
        let depth = if is_directory || entry.metadata.is_whiteout() {
            Depth::Attributes
        } else {
            Depth::Content
        };
        tree.add(&entry.path, depth)?;
    }
    Ok(())
}
