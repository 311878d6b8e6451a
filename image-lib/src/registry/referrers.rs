//! What is about a manifest: signatures, attestations, lists of parts (distribution-spec "Listing Referrers").
//! A registry that has no list of its own keeps an index under a tag that is made of the digest, which its
//! clients write.

use serde::Deserialize;
use ureq::http::header::{IF_MATCH, IF_NONE_MATCH};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::RegistryError;
use super::client::Target;
use super::endpoint::Endpoint;
use super::header::media_type;
use super::listing::understood;
use super::manifests::Tagged;
use super::repository::{Asked, Repository, Selector};
use super::url::encode;
use crate::identity::Digest;
use crate::spec::{Annotations, Descriptor, Index, Raw, media_type as kinds, object};

/// How often others may change the list while it is changed here.
const ROUNDS_MAX: usize = 8;

/// What of a manifest or an index makes its entry in a list of referrers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    annotations: Option<Annotations>,
}

fn referrer(kind: &str, bytes: &[u8]) -> Option<Referrer> {
    // Docker's kinds know no such property.
    if !matches!(kind, kinds::OCI_MANIFEST | kinds::OCI_INDEX) {
        return None;
    }
    object(bytes).ok()
}

/// The manifest that the document `bytes` is about.
pub(super) fn subject_of(kind: &str, bytes: &[u8]) -> Option<Digest> {
    referrer(kind, bytes)?.subject.map(|subject| subject.digest)
}

/// The entry for a document in the list of what is about the same.
fn entry_of(descriptor: &Descriptor, bytes: &[u8]) -> Descriptor {
    let mut entry =
        Descriptor::new(&descriptor.media_type, descriptor.digest.clone(), descriptor.size);
    if let Some(Referrer { artifact_type, config, annotations, .. }) =
        referrer(&descriptor.media_type, bytes)
    {
        let own = artifact_type.filter(|kind| !kind.is_empty());
        entry.artifact_type = own.or_else(|| config.map(|config| config.media_type));
        entry.annotations = annotations.unwrap_or_default();
    }
    entry
}

/// The tag under which the list of what is about `subject` stands.
fn fallback_tag(subject: &Digest) -> String {
    // As long as the specification lets tags be.
    let algorithm: String = subject.algorithm().name().chars().take(32).collect();
    let hex: String = subject.hex().chars().take(64).collect();
    format!("{algorithm}-{hex}")
}

impl Repository {
    /// The manifests and indexes that are about `subject`; with `artifact_type` those of that kind.
    ///
    /// # Errors
    /// The registry cannot be asked, or its list is none.
    pub fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut found = self.anywhere(Asked::Tag, |endpoint| {
            match self.listed(endpoint, subject, artifact_type)? {
                Some(entries) => Ok(entries),
                None => self.under_tag(endpoint, subject).map(|(index, _)| index.manifests),
            }
        })?;
        // Registries may filter, and need not.
        if let Some(wanted) = artifact_type {
            found.retain(|entry| entry.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// The registry's own list; nothing if it keeps none.
    fn listed(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let filter = artifact_type.map(|kind| format!("?artifactType={}", encode(kind)));
        let path = endpoint.target(&format!("referrers/{subject}{}", filter.unwrap_or_default()));
        let told = self.subject(&Selector::Digest(subject.clone()));
        let mut request = Self::reading(endpoint, Method::GET, Target::Path(&path), &told);
        request.accepted = &[404, 405];
        let client = &self.client().0;
        let mut entries = Some(Vec::new());
        client.pages(&*client.host(endpoint)?, &request, |page| {
            let kind = media_type(page.header("content-type").unwrap_or_default());
            // Servers without the list also answer with a page for people.
            let is_list = page.status < 300 && kind == kinds::OCI_INDEX;
            let Some(entries) = entries.as_mut().filter(|_| is_list) else {
                entries = None;
                return Ok(());
            };
            let index: Index = understood(&told, page, "the answer is no list of referrers")?;
            entries.extend(index.manifests);
            Ok(())
        })?;
        Ok(entries)
    }

    /// The list under the tag at one place, and what the server calls this state of it.
    fn under_tag(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
    ) -> Result<(Index, Option<Option<String>>), RegistryError> {
        let selector = Selector::Tag(fallback_tag(subject));
        let Tagged { document, entity_tag } = match self.manifest_at(endpoint, &selector) {
            Err(error) if error.is_not_found() => return Ok((Index::new(Vec::new()), None)),
            found => found?,
        };
        let (digest, kind) = (document.descriptor.digest, document.descriptor.media_type);
        let refused = |digest, media_type| RegistryError::Kind {
            subject: self.subject(&selector),
            digest,
            media_type,
        };
        if kind != kinds::OCI_INDEX {
            return Err(refused(digest, kind));
        }
        match Raw::<Index>::parse_as("list of referrers", &kind, document.bytes) {
            Ok(index) => Ok((index.value().clone(), Some(entity_tag))),
            Err(_) => Err(refused(digest, kind)),
        }
    }

    /// Adds a manifest to the list under the tag.
    pub(super) fn add_referrer(
        &self,
        subject: &Digest,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let entry = entry_of(descriptor, bytes);
        self.change_list(subject, |entries| {
            let is_new = !entries.iter().any(|known| known.digest == entry.digest);
            if is_new {
                entries.push(entry.clone());
            }
            is_new
        })
    }

    /// Takes a manifest that was deleted out of the list, where that stands under the tag.
    pub(super) fn remove_referrer(
        &self,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        if self.listed(self.origin()?, subject, None)?.is_some() {
            return Ok(());
        }
        self.change_list(subject, |entries| {
            let before = entries.len();
            entries.retain(|entry| entry.digest != *digest);
            entries.len() < before
        })
    }

    /// Changes the list under the tag until it needs no change any more: others write it at the same time,
    /// and not every registry minds the condition that goes along.
    fn change_list(
        &self,
        subject: &Digest,
        change: impl Fn(&mut Vec<Descriptor>) -> bool,
    ) -> Result<(), RegistryError> {
        let selector = Selector::Tag(fallback_tag(subject));
        let endpoint = self.origin()?;
        for _ in 0..ROUNDS_MAX {
            self.client().0.check_cancelled()?;
            let (mut index, state) = self.under_tag(endpoint, subject)?;
            if !change(&mut index.manifests) {
                return Ok(());
            }
            let Ok(bytes) = serde_json::to_vec(&index) else { break };
            let descriptor =
                Descriptor::new(kinds::OCI_INDEX, Digest::of(&bytes), bytes.len() as u64);
            match self.put_only(&selector, &descriptor, &bytes, condition(state)) {
                Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 412) => {}
                put => drop(put?),
            }
        }
        Err(RegistryError::Contended { subject: self.subject(&selector), rounds: ROUNDS_MAX })
    }
}

/// That the tag is what it was, or still nothing.
fn condition(state: Option<Option<String>>) -> Vec<(HeaderName, HeaderValue)> {
    let condition = match state {
        None => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
        Some(tag) => tag.and_then(|tag| Some((IF_MATCH, HeaderValue::from_str(&tag).ok()?))),
    };
    condition.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_are_made_of_digests() {
        let digest = Digest::of(b"x");
        assert_eq!(fallback_tag(&digest), format!("sha256-{}", digest.hex()));
        let long: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(fallback_tag(&long), format!("sha512-{}", "ab".repeat(32)));
    }

    #[test]
    fn entries_say_what_kind_of_artifact_they_are() {
        let digest = Digest::of(b"");
        let about = format!(r#""subject":{{"mediaType":"x","size":2,"digest":"{digest}"}}"#);
        let config = format!(r#""config":{{"mediaType":"c","size":2,"digest":"{digest}"}}"#);
        for (kind, text, expected) in [
            (kinds::OCI_MANIFEST, format!(r#"{{{about},{config}}}"#), Some(Some("c"))),
            (
                kinds::OCI_MANIFEST,
                format!(r#"{{{about},{config},"artifactType":"a"}}"#),
                Some(Some("a")),
            ),
            (kinds::OCI_INDEX, format!(r#"{{{about},"annotations":null}}"#), Some(None)),
            (kinds::OCI_MANIFEST, format!("{{{config}}}"), None),
            (kinds::DOCKER_MANIFEST, format!(r#"{{{about}}}"#), None),
            (kinds::OCI_MANIFEST, r#"[{"mediaType":"x"}]"#.to_owned(), None),
        ] {
            let found = subject_of(kind, text.as_bytes());
            assert_eq!(found.is_some(), expected.is_some(), "{text}");
            if let Some(expected) = expected {
                let descriptor = Descriptor::new(kind, digest.clone(), text.len() as u64);
                let entry = entry_of(&descriptor, text.as_bytes());
                assert_eq!(entry.artifact_type.as_deref(), expected, "{text}");
            }
        }
    }
}
