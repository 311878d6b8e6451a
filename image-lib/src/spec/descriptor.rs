//! Descriptors (image-spec descriptor.md).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Annotations, Platform};
use crate::identity::Digest;

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
}
