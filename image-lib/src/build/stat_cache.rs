//! Digests of files that did not change since they were last read, so that a build of an unchanged
//! context reads directories and no file.
//!
//! A file counts as unchanged while its device, inode, size, mtime and ctime are the same. A file
//! whose ctime is younger than the clock's grain is not remembered: it could change again
//! without any of them changing.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use rustix::fs::Stat;

use crate::spec::Timestamp;

/// The first bytes of the file; another number means another format, which is thrown away.
const MAGIC: &[u8; 8] = b"keelst01";

/// The coarsest grain of file times on a kernel with 100 ticks a second, doubled.
const GRAIN_NANOSECONDS: i128 = 20_000_000;

/// More than any sane context; beyond it the oldest knowledge is dropped whole.
const RECORDS_MAX: usize = 1_000_000;

/// A SHA-256 digest as bytes.
pub type Sum = [u8; 32];

/// By what a file is recognised as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Stamp {
    /// The stamp of a file that was looked at.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        let nanoseconds = |value| u32::try_from(value).unwrap_or(0);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            ctime: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }

    fn is_settled(&self, now: Timestamp) -> bool {
        let at = |seconds: i64, nanoseconds: u32| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        at(now.seconds, now.nanoseconds) - at(self.ctime.0, self.ctime.1) > GRAIN_NANOSECONDS
    }
}

/// What is known of the files of one context.
#[derive(Debug, Default)]
pub struct StatCache {
    file: Option<PathBuf>,
    records: HashMap<Vec<u8>, (Stamp, Sum)>,
    changed: bool,
}

impl StatCache {
    /// Knows nothing and keeps nothing.
    #[must_use]
    pub fn forgetful() -> Self {
        Self::default()
    }

    /// Loads what `file` knows. An unreadable or foreign file is the same as none: all that is
    /// lost is time.
    #[must_use]
    pub fn load(file: PathBuf) -> Self {
        let records = std::fs::read(&file).ok().and_then(|bytes| decode(&bytes));
        Self { file: Some(file), records: records.unwrap_or_default(), changed: false }
    }

    /// The digest of the file at `path`, if it did not change.
    #[must_use]
    pub fn get(&self, path: &[u8], stamp: &Stamp) -> Option<Sum> {
        self.records.get(path).filter(|(known, _)| known == stamp).map(|(_, sum)| *sum)
    }

    /// Remembers a digest. `looked_at` is a time before the file was read and after `stamp` was
    /// taken.
    pub fn put(&mut self, path: &[u8], stamp: Stamp, sum: Sum, looked_at: Timestamp) {
        if self.file.is_none() || !stamp.is_settled(looked_at) {
            return;
        }
        if self.records.len() >= RECORDS_MAX {
            self.records.clear();
        }
        self.records.insert(path.to_vec(), (stamp, sum));
        self.changed = true;
    }

    /// Writes what was learned, in one step.
    ///
    /// # Errors
    /// The file cannot be written; the cache is then as it was.
    pub fn save(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| self.changed) else { return Ok(()) };
        super::cache::write_whole(file, &encode(&self.records))?;
        self.changed = false;
        Ok(())
    }
}

fn encode(records: &HashMap<Vec<u8>, (Stamp, Sum)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (path, (stamp, sum)) in records {
        let Ok(length) = u16::try_from(path.len()) else { continue };
        bytes.extend(length.to_le_bytes());
        bytes.extend(path);
        for number in [stamp.device, stamp.inode, stamp.size] {
            bytes.extend(number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [stamp.mtime, stamp.ctime] {
            bytes.extend(seconds.to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
        }
        bytes.extend(sum);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Vec<u8>, (Stamp, Sum)>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut records = HashMap::with_capacity(rest.len() / 128);
    while !rest.is_empty() {
        let length = u16::from_le_bytes(take(&mut rest)?);
        let (path, after) = rest.split_at_checked(length.into())?;
        rest = after;
        let device = u64::from_le_bytes(take(&mut rest)?);
        let inode = u64::from_le_bytes(take(&mut rest)?);
        let size = u64::from_le_bytes(take(&mut rest)?);
        let mtime = (i64::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
        let ctime = (i64::from_le_bytes(take(&mut rest)?), u32::from_le_bytes(take(&mut rest)?));
        let stamp = Stamp { device, inode, size, mtime, ctime };
        records.insert(path.to_vec(), (stamp, take(&mut rest)?));
    }
    Some(records)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::{Stamp, Timestamp, decode, encode};

    fn stamp(ctime: (i64, u32)) -> Stamp {
        Stamp { device: 1, inode: 2, size: 3, mtime: (-4, 5), ctime }
    }

    #[test]
    fn keeps_records() {
        let records = [(b"a/b".to_vec(), (stamp((6, 7)), [8; 32]))].into();
        assert_eq!(decode(&encode(&records)), Some(records));
        assert_eq!(decode(b"keelst01\x05\0ab"), None);
        assert_eq!(decode(b"other"), None);
    }

    #[test]
    fn distrusts_files_that_changed_just_now() {
        let now = Timestamp { seconds: 10, nanoseconds: 5_000_000 };
        assert!(!stamp((10, 0)).is_settled(now));
        assert!(!stamp((11, 0)).is_settled(now));
        assert!(stamp((9, 0)).is_settled(now));
    }
}
