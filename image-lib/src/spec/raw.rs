//! A document with the bytes it was read from.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identity::Digest;

/// The most bytes of a manifest or an index that are read: the registries' own limit.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of an image configuration that are read: twice the largest seen in the field.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Why some bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
#[error("{what} {digest} cannot be read")]
pub struct SpecError {
    /// The kind of document.
    pub what: &'static str,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The place and the reason.
    #[source]
    pub source: serde_json::Error,
}

/// A value together with the bytes that it was read from. The bytes are what is stored, sent and
/// digested; the value is only looked at.
#[derive(Debug, Clone)]
pub struct Raw<T> {
    bytes: Vec<u8>,
    digest: Digest,
    value: T,
}

impl<T: DeserializeOwned> Raw<T> {
    /// Reads `bytes` as a document; `what` names its kind in errors.
    ///
    /// # Errors
    /// The bytes are no JSON of this shape.
    pub fn parse(what: &'static str, bytes: Vec<u8>) -> Result<Self, SpecError> {
        let digest = Digest::of(&bytes);
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self { bytes, digest, value }),
            Err(source) => Err(SpecError { what, digest, source }),
        }
    }
}

impl<T> Raw<T> {
    /// The document's own bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What the bytes say.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }
}

/// Go's encoder writes `null` for an empty list or map; both mean the same.
pub(super) mod nullable {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::spec) fn serialize<S: Serializer, T: Serialize>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub(in crate::spec) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: Default + Deserialize<'de>,
    {
        Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}
