//! Read sets on disk: one JSON file for each command, `cache/reads/<key>`, the last run first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tree::{self, Depth, from_text, to_text};
use crate::build::cache::write_whole;
use crate::build::key_parts::Reason;
use crate::fsroot::{FsError, Root};

/// Raised when a read set comes to mean something else.
const VERSION: u64 = 1;
/// So many runs of a command are kept: builds of several branches of a project take turns.
const RUNS_MAX: usize = 4;

/// What one run of a command read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadSet {
    /// The key of the step's result.
    pub(super) key: String,
    /// Paths without links, how much was learnt of each, and what was there; directories before what is in them.
    pub(super) paths: Vec<(PathBuf, Depth, String)>,
}

impl ReadSet {
    /// The first path at which there is something else.
    pub(super) fn first_change(&self, root: &Root) -> Result<Option<Reason>, FsError> {
        for (path, depth, before) in &self.paths {
            let after = tree::print(root, path, *depth)?;
            if after != *before {
                let name = format!("/{}", path.display());
                return Ok(Some(Reason::new("file read", &name, tree::change(before, &after))));
            }
        }
        Ok(None)
    }
}

/// The read sets in the file `path`; none where it cannot be read.
pub(super) fn read(path: &Path) -> Vec<ReadSet> {
    fs::read(path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default()
}

/// Adds a read set to the file `path`, and takes the oldest out where there are too many.
pub(super) fn keep(path: &Path, set: ReadSet) -> io::Result<()> {
    let mut sets = read(path);
    sets.retain(|other| other.key != set.key);
    sets.insert(0, set);
    sets.truncate(RUNS_MAX);
    write_whole(path, &encode(&sets))
}

fn encode(sets: &[ReadSet]) -> Vec<u8> {
    let runs = sets.iter().map(|set| {
        let paths = set.paths.iter().map(|(path, depth, print)| {
            json!([to_text(path), u8::from(*depth == Depth::Content), print])
        });
        json!({ "key": set.key, "paths": paths.collect::<Vec<_>>() })
    });
    json!({ "version": VERSION, "runs": runs.collect::<Vec<_>>() }).to_string().into_bytes()
}

fn decode(bytes: &[u8]) -> Option<Vec<ReadSet>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value.get("version")?.as_u64()? != VERSION {
        return None;
    }
    let path = |entry: &Value| {
        let depth = if entry.get(1)?.as_u64()? == 0 { Depth::Attributes } else { Depth::Content };
        Some((from_text(entry.get(0)?.as_str()?)?, depth, entry.get(2)?.as_str()?.to_owned()))
    };
    let run = |value: &Value| {
        let key = value.get("key")?.as_str()?.to_owned();
        let paths = value.get("paths")?.as_array()?.iter().map(path).collect::<Option<_>>()?;
        Some(ReadSet { key, paths })
    };
    value.get("runs")?.as_array()?.iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::path::PathBuf;

    use super::{Depth, ReadSet, decode, encode};

    #[test]
    fn keeps_paths_of_any_bytes() {
        let odd = PathBuf::from(OsString::from_vec(b"a\xff\n\"\xc3\xa4".to_vec()));
        let paths = vec![
            (odd, Depth::Content, "file 644 0:0 x".to_owned()),
            (PathBuf::new(), Depth::Attributes, "-".to_owned()),
        ];
        let sets = [ReadSet { key: "k".to_owned(), paths }];
        assert_eq!(decode(&encode(&sets)).unwrap(), sets);
    }

    #[test]
    fn refuses_garbage() {
        for bytes in [&b""[..], b"{}", b"{\"version\":2,\"runs\":[]}"] {
            assert_eq!(decode(bytes), None);
        }
        let strange = r#"{"version":1,"runs":[{"key":"k","paths":[["\u0141",0,"-"]]}]}"#;
        assert_eq!(decode(strange.as_bytes()), None);
    }
}
