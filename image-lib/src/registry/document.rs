//! What kind of document a manifest is. Server and document must not say different things: whoever
//! can make one program read an index where another reads an image chooses what each of them runs
//! (CVE-2021-41190). Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::RegistryError;
use crate::identity::Digest;
use crate::spec::media_type::{
    DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, is_index, is_manifest,
    is_schema1,
};
use crate::spec::object;

/// The properties that tell a document's kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// The media type of the document `bytes`, which the server sent as `header`.
///
/// # Errors
/// Both say different things, or the document is of two kinds at once, or no image.
pub(super) fn kind_of(
    subject: &str,
    digest: &Digest,
    header: &str,
    bytes: &[u8],
) -> Result<String, RegistryError> {
    let (subject, digest) = (|| subject.to_owned(), || digest.clone());
    let no_image = |media_type: &str| RegistryError::Kind {
        subject: subject(),
        digest: digest(),
        media_type: media_type.to_owned(),
    };
    let shape: Shape = object(bytes).map_err(|_| no_image(header))?;
    if shape.schema_version == Some(1) || shape.fs_layers.is_some() || is_schema1(header) {
        return Err(RegistryError::Schema1 { subject: subject() });
    }
    let is_generic =
        matches!(header, "" | "application/json" | "text/plain" | "application/octet-stream");
    let differs = |document: &str| RegistryError::MediaType {
        subject: subject(),
        digest: digest(),
        header: header.to_owned(),
        document: document.to_owned(),
    };
    let kind = match shape.media_type {
        Some(own) if is_generic || own == header => own,
        Some(own) => return Err(differs(&own)),
        None if is_generic && shape.manifests.is_some() => OCI_INDEX.to_owned(),
        None if is_generic => OCI_MANIFEST.to_owned(),
        None => header.to_owned(),
    };
    let looks_like_index = shape.manifests.is_some();
    let looks_like_manifest = shape.config.is_some() || shape.layers.is_some();
    match kind.as_str() {
        kind if is_index(kind) && looks_like_manifest => Err(differs(OCI_MANIFEST)),
        kind if is_manifest(kind) && looks_like_index => Err(differs(OCI_INDEX)),
        OCI_MANIFEST | OCI_INDEX | DOCKER_MANIFEST | DOCKER_MANIFEST_LIST => Ok(kind),
        other => Err(no_image(other)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn kind(header: &str, body: &str) -> Result<String, RegistryError> {
        kind_of("a:1", &Digest::of(b""), header, body.as_bytes())
    }

    #[test]
    fn server_and_document_must_agree() {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{}},"layers":[]}}"#
        );
        let bare = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(kind(OCI_MANIFEST, &manifest).unwrap(), OCI_MANIFEST);
        assert_eq!(kind("application/json", &manifest).unwrap(), OCI_MANIFEST);
        assert_eq!(kind("", bare).unwrap(), OCI_MANIFEST);
        assert_eq!(kind(DOCKER_MANIFEST, bare).unwrap(), DOCKER_MANIFEST);
        assert_eq!(kind("", r#"{"schemaVersion":2,"manifests":[]}"#).unwrap(), OCI_INDEX);
        for (header, body) in [
            (OCI_INDEX, manifest.as_str()),
            (DOCKER_MANIFEST, &manifest),
            (OCI_INDEX, bare),
            ("", r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#),
        ] {
            assert!(
                matches!(kind(header, body), Err(RegistryError::MediaType { .. })),
                "{header} {body}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_image() {
        assert!(matches!(
            kind("", r#"{"schemaVersion":1,"fsLayers":[]}"#),
            Err(RegistryError::Schema1 { .. })
        ));
        for (header, body) in [("", "no json"), ("text/html", "{}"), (OCI_MANIFEST, "[1]")] {
            assert!(
                matches!(kind(header, body), Err(RegistryError::Kind { .. })),
                "{header} {body}"
            );
        }
    }
}
