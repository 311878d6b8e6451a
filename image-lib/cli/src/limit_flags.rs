//! `--limit`: how much the layers of strangers may cost.

use std::str::FromStr;

use keel_image::layer::{LayerError, Limits};
use keel_image::tar::{Problem, TarError};

use crate::units::parse_bytes;

/// What is said to whom a limit stops.
pub(crate) const HINT: &str = "the image may have been made to exhaust this machine; if you trust it, keel-image \
                               --limit KIND=N COMMAND lets it have more";

/// One bound of every layer and of every archive that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Bytes(u64),
    Entries(u64),
    Depth(usize),
    Ratio(u64),
    Layers(usize),
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once('=').ok_or("expected KIND=N")?;
        let number = || value.parse::<u64>().ok().filter(|n| *n > 0);
        let count = || number().and_then(|n| usize::try_from(n).ok());
        let limit = match kind {
            "bytes" => parse_bytes(value).ok().filter(|n| *n > 0).map(Self::Bytes),
            "entries" => number().map(Self::Entries),
            "depth" => count().map(Self::Depth),
            "ratio" => number().map(Self::Ratio),
            "layers" => count().map(Self::Layers),
            _ => return Err("the kinds are bytes, entries, depth, ratio and layers".to_owned()),
        };
        limit.ok_or_else(|| format!("{value:?} is no number above zero"))
    }
}

/// The library's limits with these in place of its own; of one kind the last holds.
pub(crate) fn limits(given: &[Limit]) -> Limits {
    let mut limits = Limits::default();
    for limit in given {
        match *limit {
            Limit::Bytes(bytes) => {
                limits.expanded_bytes_max = bytes;
                // Holes stand in no stream: what they expand to is counted here alone.
                limits.archive.content_bytes_max = bytes;
            }
            Limit::Entries(entries) => limits.archive.entries_max = entries,
            Limit::Depth(components) => limits.archive.depth_max = components,
            Limit::Ratio(times) => limits.ratio_max = times,
            Limit::Layers(layers) => limits.layers_max = layers,
        }
    }
    limits
}

/// Was it a limit that stopped a layer?
pub(crate) fn stopped(error: &LayerError) -> bool {
    match error {
        LayerError::Limit { .. } => true,
        LayerError::Archive(error) => stopped_archive(error),
        _ => false,
    }
}

/// Was it a limit that stopped an archive?
pub(crate) fn stopped_archive(error: &TarError) -> bool {
    matches!(error, TarError::Entry { problem: Problem::Limit { .. }, .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_limits() {
        let given = ["bytes=1k", "bytes=2k", "entries=3", "depth=4", "ratio=5", "layers=6"];
        let given: Vec<Limit> = given.iter().map(|text| text.parse().unwrap()).collect();
        let limits = limits(&given);
        assert_eq!((limits.expanded_bytes_max, limits.archive.content_bytes_max), (2048, 2048));
        assert_eq!((limits.archive.entries_max, limits.archive.depth_max), (3, 4));
        assert_eq!((limits.ratio_max, limits.layers_max), (5, 6));
        assert_eq!(limits.ratio_from_bytes, Limits::default().ratio_from_bytes);
        for text in
            ["", "bytes", "bytes=", "bytes=0", "bytes=x", "entries=-1", "depth=0", "inodes=4"]
        {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }
}
