//! Descriptors (image-spec descriptor.md).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Annotations, Platform};
use crate::identity::{Digest, Hasher};
use crate::tar::base64_decoded;

/// What a blob is, how many bytes it has and what their digest is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of the blob.
    pub media_type: String,
    /// The digest of the blob's bytes.
    pub digest: Digest,
    /// The number of bytes. A negative size does not parse.
    pub size: u64,
    /// Other places to fetch the blob from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free texts about the blob.
    #[serde(default, skip_serializing_if = "Annotations::is_empty", with = "super::raw::nullable")]
    pub annotations: Annotations,
    /// The platform of a manifest inside an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What else was written here; it is kept on a round trip.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor with nothing but the three required properties.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }

    /// The blob's own bytes, where the descriptor carries them (`data`, in base 64), provided that
    /// they are those that digest and size announce.
    #[must_use]
    pub fn inline(&self) -> Option<Vec<u8>> {
        let text = self.extra.get("data")?.as_str()?;
        let bytes = base64_decoded(text.as_bytes())?;
        let mut hasher = Hasher::new(self.digest.algorithm());
        hasher.update(&bytes);
        (bytes.len() as u64 == self.size && hasher.finish() == self.digest).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn carries_its_bytes_if_they_are_the_right_ones() {
        let descriptor = |data: &str, size: u64| {
            let mut descriptor = Descriptor::new("text/plain", Digest::of(b"{}"), size);
            descriptor.extra.insert("data".to_owned(), data.into());
            descriptor
        };
        assert_eq!(descriptor("e30=", 2).inline().unwrap(), b"{}");
        for (data, size) in [("e30=", 3), ("e3w=", 2), ("", 2), ("?", 2)] {
            assert_eq!(descriptor(data, size).inline(), None, "{data} {size}");
        }
    }
}
