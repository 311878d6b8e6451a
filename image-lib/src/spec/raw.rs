//! A document with the bytes it was read from.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::media_type;
use crate::identity::Digest;

/// The most bytes of a manifest or an index that are read: the registries' own limit.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of an image configuration that are read: twice the largest seen in the field.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Why some bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The bytes are no JSON of this shape.
    #[error("{what} {digest} cannot be read")]
    Json {
        /// The kind of document.
        what: &'static str,
        /// The digest of the bytes.
        digest: Digest,
        /// The place and the reason.
        #[source]
        source: serde_json::Error,
    },
    /// The document says of itself that it is something else than its descriptor says.
    #[error("{digest} is called {described:?} but says of itself that it is {stated:?}")]
    MediaType {
        /// The digest of the bytes.
        digest: Digest,
        /// The descriptor's media type.
        described: String,
        /// The document's.
        stated: String,
    },
    /// The document could be taken for another kind, too (CVE-2021-41190).
    #[error("{what} {digest} has {property:?}, which belongs to another kind of document")]
    Ambiguous {
        /// The kind of document.
        what: &'static str,
        /// The digest of the bytes.
        digest: Digest,
        /// What should not be there.
        property: &'static str,
    },
    /// A manifest of Docker's first kind.
    #[error("{digest} is an image of Docker's schema 1; push it again with a tool newer than 2017")]
    Schema1 {
        /// The digest of the bytes.
        digest: Digest,
    },
}

/// Reads a JSON object. The parser alone would take a list for the values of the properties in their
/// order, which nobody else does: whoever can make one program read what others refuse chooses what it does.
///
/// # Errors
/// The bytes are no JSON of this shape, or no object.
pub(crate) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(serde::de::Error::custom("a list stands where an object should"));
    }
    serde_json::from_slice(bytes)
}

/// What a document says of its own kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: Option<serde_json::Value>,
    media_type: Option<serde_json::Value>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    #[serde(default)]
    layers: Option<IgnoredAny>,
    #[serde(default)]
    manifests: Option<IgnoredAny>,
    #[serde(default)]
    fs_layers: Option<IgnoredAny>,
}

/// Checks that `bytes` are one kind of document only, the one that `described` names.
fn check_kind(
    what: &'static str,
    described: &str,
    digest: &Digest,
    bytes: &[u8],
) -> Result<(), SpecError> {
    let is_index = media_type::is_index(described);
    if !is_index && !media_type::is_manifest(described) {
        return Ok(());
    }
    let digest = || digest.clone();
    let kind: Kind =
        object(bytes).map_err(|source| SpecError::Json { what, digest: digest(), source })?;
    if kind.schema_version.as_ref().and_then(serde_json::Value::as_u64) == Some(1) {
        return Err(SpecError::Schema1 { digest: digest() });
    }
    if let Some(stated) = kind.media_type.as_ref().and_then(serde_json::Value::as_str)
        && !stated.is_empty()
        && stated != described
    {
        let (described, stated) = (described.to_owned(), stated.to_owned());
        return Err(SpecError::MediaType { digest: digest(), described, stated });
    }
    let foreign = [
        ("fsLayers", kind.fs_layers.is_some()),
        ("manifests", !is_index && kind.manifests.is_some()),
        ("config", is_index && kind.config.is_some()),
        ("layers", is_index && kind.layers.is_some()),
    ];
    match foreign.into_iter().find(|(_, is_there)| *is_there) {
        Some((property, _)) => Err(SpecError::Ambiguous { what, digest: digest(), property }),
        None => Ok(()),
    }
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
        match object(&bytes) {
            Ok(value) => Ok(Self { bytes, digest, value }),
            Err(source) => Err(SpecError::Json { what, digest, source }),
        }
    }

    /// As [`Raw::parse`], of a document that a descriptor has announced as `media_type`. A manifest
    /// or an index that says of itself that it is another kind, or could be taken for one, is
    /// refused.
    ///
    /// # Errors
    /// The bytes are no JSON of this shape, or of this kind.
    pub fn parse_as(
        what: &'static str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Self, SpecError> {
        check_kind(what, media_type, &Digest::of(&bytes), &bytes)?;
        Self::parse(what, bytes)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::{Index, Manifest};

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#;

    fn manifest(extra: &str) -> Result<Raw<Manifest>, SpecError> {
        let text = format!(r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[]{extra}}}"#);
        Raw::parse_as("manifest", media_type::OCI_MANIFEST, text.into_bytes())
    }

    fn index(extra: &str) -> Result<Raw<Index>, SpecError> {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[]{extra}}}"#);
        Raw::parse_as("index", media_type::DOCKER_MANIFEST_LIST, text.into_bytes())
    }

    #[test]
    fn a_document_is_one_kind_only() {
        assert!(manifest("").is_ok());
        assert!(manifest(r#","mediaType":"""#).is_ok());
        let own = format!(r#","mediaType":"{}""#, media_type::OCI_MANIFEST);
        assert_eq!(manifest(&own).unwrap().value().schema_version, 2);
        let other = format!(r#","mediaType":"{}""#, media_type::DOCKER_MANIFEST);
        assert!(matches!(manifest(&other), Err(SpecError::MediaType { .. })));
        for extra in [r#","manifests":[]"#, r#","fsLayers":[]"#] {
            assert!(matches!(manifest(extra), Err(SpecError::Ambiguous { .. })), "{extra}");
        }
        assert!(index("").is_ok());
        for extra in [r#","layers":[]"#, r#","config":{}"#, r#","fsLayers":[]"#] {
            assert!(matches!(index(extra), Err(SpecError::Ambiguous { .. })), "{extra}");
        }
    }

    #[test]
    fn a_list_is_no_document() {
        let config = br#"["amd64","linux"]"#.to_vec();
        assert!(Raw::<crate::spec::ImageConfig>::parse("configuration", config).is_err());
        for text in [r#"[2,"application/vnd.oci.image.manifest.v1+json",{},[]]"#, " \n[]", "", "3"]
        {
            let bytes = text.as_bytes().to_vec();
            let read = Raw::<Manifest>::parse_as("manifest", media_type::OCI_MANIFEST, bytes);
            assert!(matches!(read, Err(SpecError::Json { .. })), "{text}");
        }
    }

    #[test]
    fn schema_1_is_told_by_its_name() {
        let text = br#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#.to_vec();
        let error = Raw::<Manifest>::parse_as("manifest", media_type::OCI_MANIFEST, text);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("schema 1; push it again with a tool newer than 2017"), "{text}");
    }

    #[test]
    fn what_oci_1_1_adds_is_read_and_kept() {
        let extra = format!(
            r#","artifactType":"text/x","subject":{CONFIG},"annotations":null,"odd":{{"a":1}}"#
        );
        let manifest = manifest(&extra).unwrap();
        assert_eq!(manifest.value().artifact_type.as_deref(), Some("text/x"));
        assert_eq!(manifest.value().subject.as_ref().unwrap().size, 2);
        let written = serde_json::to_value(manifest.value()).unwrap();
        assert_eq!(written["odd"]["a"], 1);
    }
}
