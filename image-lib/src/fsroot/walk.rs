//! All files below a directory in one fixed order.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Directory, FileKind, FsError, Metadata};

/// How many directories may lie in one another: one descriptor is open per level.
const DEPTH_MAX: usize = 900;

struct Level {
    directory: Directory,
    path: PathBuf,
    entries: std::vec::IntoIter<(OsString, FileKind)>,
}

/// A walk over a tree: parents before children, siblings sorted by the bytes of their names.
pub struct Walk {
    levels: Vec<Level>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("depth", &self.levels.len()).finish()
    }
}

/// One file of a walk.
#[derive(Debug)]
pub struct WalkEntry {
    /// The path relative to where the walk began.
    pub path: PathBuf,
    /// The last name of the path.
    pub name: OsString,
    /// The attributes of the file itself.
    pub metadata: Metadata,
    /// The directory that holds the file.
    pub parent: Directory,
}

impl Walk {
    pub(super) fn new(directory: Directory) -> Result<Self, FsError> {
        let entries = directory.entries()?.into_iter();
        Ok(Self { levels: vec![Level { directory, path: PathBuf::new(), entries }] })
    }

    fn step(&mut self) -> Result<Option<WalkEntry>, FsError> {
        loop {
            let depth = self.levels.len();
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some((name, _)) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            // Something else may remove files while the walk runs.
            let Some(metadata) = level.directory.stat(&name)? else { continue };
            let path = level.path.join(&name);
            let parent = level.directory.try_clone()?;
            if metadata.kind == FileKind::Directory {
                if depth == DEPTH_MAX {
                    let errno = rustix::io::Errno::NAMETOOLONG;
                    return Err(FsError::new("walk", &path, errno));
                }
                let directory = level.directory.open_directory(&name)?;
                let entries = directory.entries()?.into_iter();
                self.levels.push(Level { directory, path: path.clone(), entries });
            }
            return Ok(Some(WalkEntry { path, name, metadata, parent }));
        }
    }
}

impl Iterator for Walk {
    type Item = Result<WalkEntry, FsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
