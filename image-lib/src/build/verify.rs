//! Is a build reproducible? Two results of the same instructions are compared to the entry: which file of
//! which layer differs first, and in what.

use std::fmt;
use std::io::{self, BufReader, Read};

use super::output::Built;
use crate::blob::Decoder;
use crate::identity::{Algorithm, Hasher};
use crate::store::{Layer, Store, StoreError};
use crate::tar::{Entry, Limits, Reader, TarError};

/// The first thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The images have not as many layers.
    Layers(usize, usize),
    /// An entry of a layer.
    Entry {
        /// The number of the layer from 1.
        layer: usize,
        /// The instruction that made it.
        instruction: String,
        /// The path.
        path: String,
        /// What differs, with both values.
        what: String,
    },
    /// The configurations, with what is said where.
    Config(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layers(one, other) => write!(f, "one build has {one} layers, the other {other}"),
            Self::Entry { layer, instruction, path, what } => {
                write!(f, "layer {layer} ({instruction}): {path:?}: {what}")
            }
            Self::Config(what) => write!(f, "configuration: {what}"),
        }
    }
}

/// Why two results cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A layer cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer cannot be read.
    #[error("cannot read a layer")]
    Read(#[from] io::Error),
    /// A layer is no tar.
    #[error("cannot read a layer")]
    Archive(#[from] TarError),
}

/// The first difference of two results; nothing if they are the same.
///
/// # Errors
/// A layer cannot be read.
pub fn first_difference(
    store: &Store,
    one: &Built,
    other: &Built,
) -> Result<Option<Difference>, VerifyError> {
    let made = one.config.history.iter().filter(|entry| !entry.empty_layer);
    let made: Vec<&str> = made.filter_map(|entry| entry.created_by.as_deref()).collect();
    // A base may have layers without a history; what was built has one.
    let without = one.layers.len().saturating_sub(made.len());
    for (index, (left, right)) in one.layers.iter().zip(&other.layers).enumerate() {
        if left.diff_id == right.diff_id {
            continue;
        }
        let instruction = index.checked_sub(without).and_then(|at| made.get(at));
        let instruction = instruction.map_or("base", |text| text).to_owned();
        let (path, what) = differing_entry(store, left, right)?;
        return Ok(Some(Difference::Entry { layer: index + 1, instruction, path, what }));
    }
    if one.layers.len() != other.layers.len() {
        return Ok(Some(Difference::Layers(one.layers.len(), other.layers.len())));
    }
    let json = |built: &Built| serde_json::to_value(&built.config).unwrap_or_default();
    Ok(differing_value("", &json(one), &json(other)).map(Difference::Config))
}

type LayerReader = Reader<BufReader<Decoder<crate::blob::VerifiedReader<std::fs::File>>>>;

fn open(store: &Store, layer: &Layer) -> Result<LayerReader, VerifyError> {
    let blob = store.open_blob(&layer.descriptor)?;
    let decoder = Decoder::new(blob).map_err(|error| error.0)?;
    Ok(Reader::new(BufReader::with_capacity(128 << 10, decoder), Limits::default()))
}

/// The path of the first entry that is not the same, and what is not.
fn differing_entry(
    store: &Store,
    one: &Layer,
    other: &Layer,
) -> Result<(String, String), VerifyError> {
    let (mut left, mut right) = (open(store, one)?, open(store, other)?);
    loop {
        let (a, b) = (left.next_entry()?, right.next_entry()?);
        let shown = |entry: &Entry| String::from_utf8_lossy(&entry.path).into_owned();
        match (a, b) {
            (None, None) => {
                return Ok((String::new(), "the archives are written otherwise".to_owned()));
            }
            (Some(a), None) => return Ok((shown(&a), "it is there only once".to_owned())),
            (None, Some(b)) => {
                return Ok((shown(&b), "it is there only the second time".to_owned()));
            }
            (Some(a), Some(b)) => {
                let path = shown(&a);
                if a.path != b.path {
                    return Ok((
                        path,
                        format!("the second time {:?} stands in its place", shown(&b)),
                    ));
                }
                if let Some(what) = differing_field(&a, &b) {
                    return Ok((path, what));
                }
                let (one, other) = (digest(&mut left)?, digest(&mut right)?);
                if one != other {
                    return Ok((path, format!("content {one}, then {other}")));
                }
            }
        }
    }
}

fn digest(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish().to_string()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn differing_field(one: &Entry, other: &Entry) -> Option<String> {
    let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
    let fields = |entry: &Entry| {
        [
            ("kind", format!("{:?}", entry.kind)),
            ("mode", format!("{:o}", entry.mode)),
            ("owner", format!("{}:{}", entry.uid, entry.gid)),
            ("size", entry.size.to_string()),
            ("time", entry.mtime.to_string()),
            ("link", text(&entry.link)),
            ("device", format!("{:?}", entry.device)),
            ("extended attributes", format!("{:?}", entry.xattrs)),
        ]
    };
    let pairs = fields(one).into_iter().zip(fields(other));
    let mut different = pairs.filter(|(one, other)| one != other);
    different.next().map(|((name, one), (_, other))| format!("{name} {one}, then {other}"))
}

/// The path of the first value that is not the same.
fn differing_value(
    path: &str,
    one: &serde_json::Value,
    other: &serde_json::Value,
) -> Option<String> {
    use serde_json::Value::{Array, Object};
    match (one, other) {
        (Object(a), Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = serde_json::Value::Null;
            keys.into_iter().find_map(|key| {
                let (one, other) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                differing_value(&format!("{path}.{key}"), one, other)
            })
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (one, other))| {
                differing_value(&format!("{path}[{at}]"), one, other)
            })
        }
        _ if one == other => None,
        _ => Some(format!("{} {one}, then {other}", path.trim_start_matches('.'))),
    }
}

#[cfg(test)]
mod tests {
    use super::differing_value;
    use serde_json::json;

    #[test]
    fn names_the_first_value() {
        let one = json!({ "a": [1, { "b": 2 }], "c": 3 });
        let other = json!({ "a": [1, { "b": 4 }], "c": 5 });
        assert_eq!(differing_value("", &one, &one), None);
        assert_eq!(differing_value("", &one, &other).unwrap(), "a[1].b 2, then 4");
        assert_eq!(differing_value("", &json!({}), &other).unwrap(), "a null, then [1,{\"b\":4}]");
    }
}
