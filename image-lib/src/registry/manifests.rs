//! The manifests and indexes of a repository: found, fetched, put and deleted.

use std::cmp::Ordering;

use ureq::http::header::{ACCEPT, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::client::{Request, Target};
use super::endpoint::Endpoint;
use super::header::media_type;
use super::host::{Payload, Response};
use super::referrers::subject_of;
use super::repository::{Repository, Selector};
use super::scope::Scopes;
use super::{RegistryError, document};
use crate::blob::Mismatch;
use crate::identity::{Digest, Hasher};
use crate::spec::{Descriptor, MANIFEST_BYTES_MAX, media_type as kinds};

/// All kinds of manifests that are understood, or refused with a sentence.
const MANIFEST_KINDS: [&str; 6] = [
    kinds::OCI_MANIFEST,
    kinds::OCI_INDEX,
    kinds::DOCKER_MANIFEST,
    kinds::DOCKER_MANIFEST_LIST,
    kinds::DOCKER_SCHEMA1_SIGNED,
    kinds::DOCKER_SCHEMA1,
];

/// A manifest or an index: its own bytes and what they are.
#[derive(Debug, Clone)]
pub struct Document {
    /// Media type, digest and size of the bytes.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A document with what the server called this state of its tag.
pub(super) struct Tagged {
    pub(super) document: Document,
    pub(super) entity_tag: Option<String>,
}

impl Repository {
    /// The digest that the registry says a manifest has; nothing if it does not say. Its word is good
    /// for finding what is already there, and for nothing else.
    ///
    /// # Errors
    /// There is no such manifest; the registry cannot be asked.
    pub fn head(&self, selector: &Selector) -> Result<Option<Digest>, RegistryError> {
        let subject = self.subject(selector);
        let rest = format!("manifests/{}", selector.word());
        self.anywhere(selector.asked(), |endpoint| {
            let path = endpoint.target(&rest);
            let mut request = Self::reading(endpoint, Method::HEAD, Target::Path(&path), &subject);
            request.headers.push(accept());
            Ok(said_digest(&self.ask(endpoint, &request)?))
        })
    }

    /// A manifest or an index with its own bytes, whose digest has been checked.
    ///
    /// # Errors
    /// There is none; it is not what its digest or media type says; the registry cannot be asked.
    pub fn manifest(&self, selector: &Selector) -> Result<Document, RegistryError> {
        self.anywhere(selector.asked(), |endpoint| self.manifest_at(endpoint, selector))
            .map(|tagged| tagged.document)
    }

    /// A manifest as one place has it.
    pub(super) fn manifest_at(
        &self,
        endpoint: &Endpoint,
        selector: &Selector,
    ) -> Result<Tagged, RegistryError> {
        let subject = self.subject(selector);
        let path = endpoint.target(&format!("manifests/{}", selector.word()));
        let mut request = Self::reading(endpoint, Method::GET, Target::Path(&path), &subject);
        request.headers.push(accept());
        let answer = self.ask_whole(endpoint, &request, MANIFEST_BYTES_MAX)?;
        let kind = media_type(answer.header("content-type").unwrap_or_default()).to_owned();
        let said = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let entity_tag = answer.header("etag").map(str::to_owned);
        let bytes = answer.bytes;
        let digest = match (selector, said) {
            (Selector::Digest(wanted), _) => checked(&subject, wanted, &bytes)?,
            // A header that does not fit tells that something on the way has changed the bytes.
            (Selector::Tag(_), Some(said)) => checked(&subject, &said, &bytes)?,
            (Selector::Tag(_), None) => Digest::of(&bytes),
        };
        let kind = document::kind_of(&subject, &digest, &kind, &bytes)?;
        let descriptor = Descriptor::new(&kind, digest, bytes.len() as u64);
        Ok(Tagged { document: Document { descriptor, bytes }, entity_tag })
    }

    /// Puts a manifest or an index, after all that it names. If it is about another one (`subject`) and
    /// the registry has no list of referrers, it is added to the one that stands under a tag.
    ///
    /// # Errors
    /// The registry refuses it, or has understood other bytes.
    pub fn put_manifest(
        &self,
        selector: &Selector,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let answer = self.put_only(selector, descriptor, bytes, Vec::new())?;
        let Some(about) = subject_of(&descriptor.media_type, bytes) else { return Ok(()) };
        let noted = answer.header("oci-subject").and_then(|digest| digest.parse::<Digest>().ok());
        // Registries that keep such lists say that they have taken note.
        if noted.is_some_and(|noted| noted == about) {
            return Ok(());
        }
        self.add_referrer(&about, descriptor, bytes)
    }

    /// Puts a manifest, and looks at nothing that it is about.
    pub(super) fn put_only(
        &self,
        selector: &Selector,
        descriptor: &Descriptor,
        bytes: &[u8],
        conditions: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Response, RegistryError> {
        let endpoint = self.origin()?;
        let subject = self.subject(selector);
        let path = endpoint.target(&format!("manifests/{}", selector.word()));
        let kind = HeaderValue::from_str(&descriptor.media_type).ok();
        let mut headers = conditions;
        headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        let request = Request {
            headers,
            payload: Payload::Bytes(bytes),
            scopes: Scopes::push(&endpoint.repository),
            ..Self::reading(endpoint, Method::PUT, Target::Path(&path), &subject)
        };
        let answer = self.ask(endpoint, &request)?;
        if !(200..300).contains(&answer.status) {
            let (method, url, status) = ("PUT".to_owned(), answer.url, answer.status);
            return Err(RegistryError::Unexpected { subject, method, url, status });
        }
        let same_kind = |said: &Digest| said.algorithm() == descriptor.digest.algorithm();
        match said_digest(&answer).filter(same_kind) {
            Some(actual) if actual != descriptor.digest => {
                let mismatch = Mismatch::Digest { digest: descriptor.digest.clone(), actual };
                Err(RegistryError::Mismatch { subject, mismatch })
            }
            _ => Ok(answer),
        }
    }

    /// Deletes a tag, or a manifest with all tags that it has. A manifest that was about another one
    /// leaves the list of referrers, where that stands under a tag.
    ///
    /// # Errors
    /// There is no such thing; the registry refuses it, as many do for tags and some for all.
    pub fn delete(&self, selector: &Selector) -> Result<(), RegistryError> {
        let endpoint = self.origin()?;
        let about = match selector {
            Selector::Tag(_) => None,
            Selector::Digest(digest) => {
                let document = self.manifest_at(endpoint, selector)?.document;
                subject_of(&document.descriptor.media_type, &document.bytes)
                    .map(|about| (about, digest))
            }
        };
        let subject = self.subject(selector);
        let path = endpoint.target(&format!("manifests/{}", selector.word()));
        let scopes = Scopes::pull(&endpoint.repository);
        let request = Request {
            scopes: scopes.and(&format!("repository:{}", endpoint.repository), &["delete"]),
            ..Self::reading(endpoint, Method::DELETE, Target::Path(&path), &subject)
        };
        let answer = self.ask(endpoint, &request)?;
        if !(200..300).contains(&answer.status) {
            let (method, url, status) = ("DELETE".to_owned(), answer.url, answer.status);
            return Err(RegistryError::Unexpected { subject, method, url, status });
        }
        match about {
            Some((about, digest)) => self.remove_referrer(&about, digest),
            None => Ok(()),
        }
    }

    /// Does the registry have a manifest of this digest?
    pub(super) fn has_manifest(
        &self,
        digest: &Digest,
        scopes: &Scopes,
    ) -> Result<bool, RegistryError> {
        let endpoint = self.origin()?;
        let path = endpoint.target(&format!("manifests/{digest}"));
        let subject = self.subject(&Selector::Digest(digest.clone()));
        let request = Request {
            headers: vec![accept()],
            scopes: scopes.clone(),
            accepted: &[404],
            ..Self::reading(endpoint, Method::HEAD, Target::Path(&path), &subject)
        };
        Ok(self.ask(endpoint, &request)?.status < 300)
    }

    /// A manifest that an index or another manifest names: also its size must be the one that is said
    /// there.
    pub(crate) fn child(&self, descriptor: &Descriptor) -> Result<Document, RegistryError> {
        let selector = Selector::Digest(descriptor.digest.clone());
        let document = self.manifest(&selector)?;
        check_size(&self.subject(&selector), descriptor, &document.bytes)?;
        Ok(document)
    }
}

fn accept() -> (HeaderName, HeaderValue) {
    let kinds = HeaderValue::from_str(&MANIFEST_KINDS.join(", "));
    (ACCEPT, kinds.unwrap_or_else(|_| HeaderValue::from_static("*/*")))
}

fn said_digest(answer: &Response) -> Option<Digest> {
    answer.header("docker-content-digest").and_then(|digest| digest.parse().ok())
}

/// Has a small blob or document the size that its descriptor says?
pub(super) fn check_size(
    subject: &str,
    descriptor: &Descriptor,
    bytes: &[u8],
) -> Result<(), RegistryError> {
    let size = bytes.len() as u64;
    let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
    let mismatch = match size.cmp(&expected) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => Mismatch::Short { digest, expected, actual: size },
        Ordering::Greater => Mismatch::Long { digest, expected },
    };
    Err(RegistryError::Mismatch { subject: subject.to_owned(), mismatch })
}

/// The digest of `bytes`, if it is the wanted one.
pub(super) fn checked(
    subject: &str,
    wanted: &Digest,
    bytes: &[u8],
) -> Result<Digest, RegistryError> {
    let mut hasher = Hasher::new(wanted.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == *wanted {
        return Ok(actual);
    }
    let mismatch = Mismatch::Digest { digest: wanted.clone(), actual };
    Err(RegistryError::Mismatch { subject: subject.to_owned(), mismatch })
}
