//! A layer as a tree, and what is known of it besides.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::LayerError;
use crate::fsroot::{Directory, FsError, Root, Times};
use crate::spec::Timestamp;

/// The name of the tree inside the directory that an extraction is given.
pub(super) const TREE: &str = "fs";

/// A layer's tree, and what it needs from the layers below it.
#[derive(Debug)]
pub struct Extracted {
    /// The directory that holds the tree.
    pub(super) container: Directory,
    pub(super) root: Root,
    /// Directories that have no entry of their own: they only lead to one.
    pub(super) implicit: BTreeSet<PathBuf>,
    /// Hard links whose targets this layer does not have.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// The times of directories, which are set last.
    pub(super) times: BTreeMap<PathBuf, Timestamp>,
    pub(super) has_root_entry: bool,
    pub(super) entries: u64,
    pub(super) content_bytes: u64,
    pub(super) warnings: Vec<String>,
}

impl Extracted {
    pub(super) fn new(container: Directory, root: Root) -> Self {
        Self {
            container,
            root,
            implicit: BTreeSet::new(),
            links: BTreeMap::new(),
            times: BTreeMap::from([(PathBuf::new(), Timestamp::default())]),
            has_root_entry: false,
            entries: 0,
            content_bytes: 0,
            warnings: Vec::new(),
        }
    }

    /// Forgets what lay at `path` and below it.
    pub(super) fn forget_below(&mut self, path: &Path) {
        for implicit in below(self.implicit.range::<Path, _>(from(path)), path) {
            self.implicit.remove(&implicit);
        }
        forget_below(&mut self.links, path);
        forget_below(&mut self.times, path);
    }

    /// Is the tree the same whatever lies below it?
    #[must_use]
    pub fn is_independent(&self) -> bool {
        self.implicit.is_empty() && self.links.is_empty()
    }

    /// Does the layer say what the root directory's attributes are?
    #[must_use]
    pub fn has_root_entry(&self) -> bool {
        self.has_root_entry
    }

    /// The number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The bytes of all files, which is what the layer is said to add to an image's size.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// What could not be kept, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn set_directory_times(&self) -> Result<(), LayerError> {
        let mut last: Option<(&Path, Directory)> = None;
        for (path, time) in &self.times {
            let set = match (path.parent(), path.file_name()) {
                (Some(above), Some(name)) => {
                    let parent = match last.take() {
                        // Neighbours stand together in this order.
                        Some((known, parent)) if known == above => parent,
                        _ => self
                            .root
                            .open_directory_without_links(above)
                            .map_err(LayerError::Finish)?,
                    };
                    let set = parent.set_times(name, Times::both(*time));
                    last = Some((above, parent));
                    set
                }
                _ => self.container.set_times(OsStr::new(TREE), Times::both(*time)),
            };
            set.map_err(LayerError::Finish)?;
        }
        Ok(())
    }
}

/// Removes `top` and what is below it.
pub(super) fn forget_below<K>(known: &mut BTreeMap<PathBuf, K>, top: &Path) {
    for path in below(known.range::<Path, _>(from(top)).map(|(path, _)| path), top) {
        known.remove(&path);
    }
}

fn from(top: &Path) -> (Bound<&Path>, Bound<&Path>) {
    (Bound::Included(top), Bound::Unbounded)
}

/// Those that begin with `top`. They stand in the order of their components, so that these are the
/// first: an archive that replaces many directories does not make all others be looked at each time.
fn below<'a>(sorted: impl Iterator<Item = &'a PathBuf>, top: &Path) -> Vec<PathBuf> {
    sorted.take_while(|path| path.starts_with(top)).cloned().collect()
}

/// Links `target` of the same tree to `name`; false if the tree does not have it.
pub(super) fn link_within(
    root: &Root,
    target: &Path,
    parent: &Directory,
    name: &OsStr,
) -> Result<bool, FsError> {
    let (target_parent, target_name) = match root.parent(target) {
        Ok(found) => found,
        Err(error) if error.is_not_found() || error.is(Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error),
    };
    match target_parent.stat(target_name)? {
        Some(found) if !found.is_whiteout() => {
            parent.hard_link(&target_parent, target_name, name)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
