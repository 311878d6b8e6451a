//! A repository at a registry: its manifests and blobs.

use std::cmp::Ordering;
use std::io::Read;
use std::sync::Arc;

use ureq::http::header::{ACCEPT, CONTENT_TYPE, IF_RANGE, RANGE};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::client::{Client, Request, Target};
use super::endpoint::Endpoint;
use super::header::{content_range, media_type, next_link};
use super::host::{self, Host, Payload, Response, Slot};
use super::scope::Scopes;
use super::url::Url;
use super::{RegistryError, document};
use crate::blob::Mismatch;
use crate::identity::{Digest, Hasher};
use crate::reference::Reference;
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

/// The most pages of a list: a registry that never ends is not listened to for ever.
const PAGES_MAX: usize = 10_000;

/// A repository at a registry. Clones share the client.
#[derive(Debug, Clone)]
pub struct Repository {
    client: Client,
    name: String,
    familiar: String,
    endpoints: Vec<Endpoint>,
}

/// Which manifest of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose bytes have this digest.
    Digest(Digest),
}

impl Selector {
    /// What `reference` selects: its digest, else its tag, else `latest`.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest.clone()),
            (None, tag) => Self::Tag(tag.unwrap_or("latest").to_owned()),
        }
    }

    fn asked(&self) -> Asked {
        match self {
            Self::Tag(_) => Asked::Tag,
            Self::Digest(_) => Asked::Digest,
        }
    }

    fn word(&self) -> String {
        match self {
            Self::Tag(tag) => tag.clone(),
            Self::Digest(digest) => digest.to_string(),
        }
    }
}

/// What a place is asked for; not every one is trusted to say what a tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Tag,
    Digest,
}

/// A manifest or an index: its own bytes and what they are.
#[derive(Debug, Clone)]
pub struct Document {
    /// Media type, digest and size of the bytes.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A part of a blob on its way.
pub(super) struct Part {
    /// The first byte that comes.
    pub(super) first: u64,
    /// What the server calls this state of the blob, if it surely means the bytes.
    pub(super) entity_tag: Option<String>,
    pub(super) reader: Box<dyn Read + Send>,
    /// The right to fetch it, where it is asked for.
    pub(super) _slot: Option<Slot>,
}

/// Does a fetch wait until not too many others are under way at the host?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waits,
    /// Whoever reads the blob may send another to the same host meanwhile, and would wait for itself.
    Now,
}

impl Turn {
    fn at(self, host: &Arc<Host>) -> Option<Slot> {
        (self == Self::Waits).then(|| host.slot())
    }
}

impl Repository {
    pub(super) fn new(client: Client, reference: &Reference, endpoints: Vec<Endpoint>) -> Self {
        let (name, familiar) = (reference.name(), reference.familiar_name());
        Self { client, name, familiar, endpoints }
    }

    /// Domain and path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client through which it is reached.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What errors say was asked for.
    pub(super) fn subject(&self, selector: &Selector) -> String {
        match selector {
            Selector::Tag(tag) => format!("{}:{tag}", self.familiar),
            Selector::Digest(digest) => format!("{}@{digest}", self.familiar),
        }
    }

    pub(super) fn too_many(&self, digest: &Digest, limit: usize) -> RegistryError {
        let subject = self.subject(&Selector::Digest(digest.clone()));
        RegistryError::Documents { subject, limit }
    }

    /// Asks one endpoint after the other. The registry itself is the last, and its error is the one
    /// that is told.
    pub(super) fn anywhere<T>(
        &self,
        what: Asked,
        ask: impl Fn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut failures = Vec::new();
        let serves = |endpoint: &&Endpoint| match what {
            Asked::Tag => endpoint.has_tags,
            Asked::Digest => endpoint.has_digests,
        };
        for endpoint in self.endpoints.iter().filter(serves) {
            match ask(endpoint) {
                Err(error @ RegistryError::Cancelled) => return Err(error),
                Err(error) => failures.push(error),
                done => return done,
            }
        }
        let Some(last) = failures.pop() else {
            return Err(RegistryError::Name { name: self.name.clone() });
        };
        if failures.is_empty() {
            return Err(last);
        }
        let mirrors: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(RegistryError::Everywhere { mirrors: mirrors.join("; "), source: Box::new(last) })
    }

    /// Makes a request for this repository at one of its endpoints. `rest` stands behind
    /// `/v2/NAME/`.
    pub(super) fn request(
        &self,
        endpoint: &Endpoint,
        method: Method,
        rest: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        subject: &str,
        accepted: &[u16],
    ) -> Result<Response, RegistryError> {
        let path = endpoint.target(rest);
        self.request_at(endpoint, method, Target::Path(&path), headers, subject, accepted)
    }

    /// Asks for something small and reads all of it: the head of an answer may come without its body.
    fn whole<'t>(
        &self,
        endpoint: &Endpoint,
        target: impl Fn() -> Target<'t>,
        headers: &[(HeaderName, HeaderValue)],
        subject: &str,
        limit: u64,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let client = &self.client.0;
        let mut attempt = 0;
        loop {
            let headers = headers.to_vec();
            let answer = self.request_at(endpoint, Method::GET, target(), headers, subject, &[])?;
            let headers = answer.headers.clone();
            let error = match answer.read(subject, limit) {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(error) => error,
            };
            client.check_cancelled()?;
            attempt += 1;
            client.options.retry.pause(attempt, error, &client.options.cancellation)?;
        }
    }

    fn request_at(
        &self,
        endpoint: &Endpoint,
        method: Method,
        target: Target<'_>,
        headers: Vec<(HeaderName, HeaderValue)>,
        subject: &str,
        accepted: &[u16],
    ) -> Result<Response, RegistryError> {
        let request = Request {
            method,
            target,
            headers,
            own_headers: endpoint.own_headers(),
            payload: Payload::None,
            scopes: Scopes::pull(&endpoint.repository),
            repository: &endpoint.repository,
            subject,
            accepted,
        };
        let host = self.client.0.host(endpoint)?;
        self.client.0.send(&host, &request)
    }

    /// The digest that the registry says a manifest has; nothing if it does not say. Its word is good
    /// for finding what is already there, and for nothing else.
    ///
    /// # Errors
    /// There is no such manifest; the registry cannot be asked.
    pub fn head(&self, selector: &Selector) -> Result<Option<Digest>, RegistryError> {
        let subject = self.subject(selector);
        let rest = format!("manifests/{}", selector.word());
        self.anywhere(selector.asked(), |endpoint| {
            let accept = vec![accept()];
            let answer = self.request(endpoint, Method::HEAD, &rest, accept, &subject, &[])?;
            Ok(answer.header("docker-content-digest").and_then(|digest| digest.parse().ok()))
        })
    }

    /// A manifest or an index with its own bytes, whose digest has been checked.
    ///
    /// # Errors
    /// There is none; it is not what its digest or media type says; the registry cannot be asked.
    pub fn manifest(&self, selector: &Selector) -> Result<Document, RegistryError> {
        let subject = self.subject(selector);
        let rest = format!("manifests/{}", selector.word());
        self.anywhere(selector.asked(), |endpoint| {
            let path = endpoint.target(&rest);
            let target = || Target::Path(&path);
            let (headers, bytes) =
                self.whole(endpoint, target, &[accept()], &subject, MANIFEST_BYTES_MAX)?;
            let header =
                |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let kind = media_type(header("content-type").unwrap_or_default()).to_owned();
            let said: Option<Digest> =
                header("docker-content-digest").and_then(|digest| digest.parse().ok());
            let digest = match (selector, said) {
                (Selector::Digest(wanted), _) => checked(&subject, wanted, &bytes)?,
                // A header that does not fit tells that something on the way has changed the bytes.
                (Selector::Tag(_), Some(said)) => checked(&subject, &said, &bytes)?,
                (Selector::Tag(_), None) => Digest::of(&bytes),
            };
            let kind = document::kind_of(&subject, &digest, &kind, &bytes)?;
            let descriptor = Descriptor::new(&kind, digest, bytes.len() as u64);
            Ok(Document { descriptor, bytes })
        })
    }

    /// The tags of the repository, in the registry's order, page by page.
    ///
    /// # Errors
    /// The registry cannot be asked, or never ends.
    pub fn tags(&self) -> Result<Vec<String>, RegistryError> {
        self.anywhere(Asked::Tag, |endpoint| self.tags_of(endpoint))
    }

    fn tags_of(&self, endpoint: &Endpoint) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut next: Option<Url> = None;
        for _ in 0..PAGES_MAX {
            let first = endpoint.target("tags/list");
            let target = next.as_ref().map_or(Target::Path(&first), Target::Url);
            let subject = &self.familiar;
            let answer =
                self.request_at(endpoint, Method::GET, target, Vec::new(), subject, &[])?;
            let url = answer.url.clone();
            let link = answer.headers("link").into_iter().find_map(next_link).map(str::to_owned);
            let bytes = answer.read(subject, MANIFEST_BYTES_MAX)?;
            tags.extend(page(&bytes).ok_or_else(|| {
                let failure = super::TransportError::new(
                    super::TransportKind::Protocol,
                    "the answer is no list of tags",
                );
                host::broken(subject, &Method::GET, &url, failure)
            })?);
            let Some(link) = link else { return Ok(tags) };
            let following = url.resolve(&link).filter(|following| following.is_same_origin(&url));
            next = Some(following.ok_or_else(|| RegistryError::Redirect {
                subject: subject.clone(),
                url: url.clone(),
                location: link.chars().take(300).collect(),
                reason: "the next page of a list is at the same server",
            })?);
        }
        Err(RegistryError::Documents { subject: self.familiar.clone(), limit: PAGES_MAX })
    }

    /// Puts a manifest or an index, after all that it names.
    ///
    /// # Errors
    /// The registry refuses it, or has understood other bytes.
    pub fn put_manifest(
        &self,
        selector: &Selector,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let endpoint = self.origin()?;
        let subject = self.subject(selector);
        let path = endpoint.target(&format!("manifests/{}", selector.word()));
        let kind = HeaderValue::from_str(&descriptor.media_type).ok();
        let request = Request {
            method: Method::PUT,
            target: Target::Path(&path),
            headers: kind.map(|kind| (CONTENT_TYPE, kind)).into_iter().collect(),
            own_headers: endpoint.own_headers(),
            payload: Payload::Bytes(bytes),
            scopes: Scopes::push(&endpoint.repository),
            repository: &endpoint.repository,
            subject: &subject,
            accepted: &[],
        };
        let answer = self.client.0.send(&*self.client.0.host(endpoint)?, &request)?;
        if !(200..300).contains(&answer.status) {
            let (method, url, status) = ("PUT".to_owned(), answer.url, answer.status);
            return Err(RegistryError::Unexpected { subject, method, url, status });
        }
        let said = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
        match said.filter(|said| said.algorithm() == descriptor.digest.algorithm()) {
            Some(actual) if actual != descriptor.digest => {
                let mismatch = Mismatch::Digest { digest: descriptor.digest.clone(), actual };
                Err(RegistryError::Mismatch { subject, mismatch })
            }
            _ => Ok(()),
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
        let request = Request {
            method: Method::HEAD,
            target: Target::Path(&path),
            headers: vec![accept()],
            own_headers: endpoint.own_headers(),
            payload: Payload::None,
            scopes: scopes.clone(),
            repository: &endpoint.repository,
            subject: &self.subject(&Selector::Digest(digest.clone())),
            accepted: &[404],
        };
        let answer = self.client.0.send(&*self.client.0.host(endpoint)?, &request)?;
        Ok(answer.status < 300)
    }

    /// The registry itself: what is written is not written to a mirror.
    pub(super) fn origin(&self) -> Result<&Endpoint, RegistryError> {
        let origin = self.endpoints.iter().find(|endpoint| !endpoint.is_mirror);
        origin.ok_or_else(|| RegistryError::Name { name: self.name.clone() })
    }

    /// A manifest that an index or another manifest names: also its size must be the one that is said
    /// there.
    pub(crate) fn child(&self, descriptor: &Descriptor) -> Result<Document, RegistryError> {
        let selector = Selector::Digest(descriptor.digest.clone());
        let document = self.manifest(&selector)?;
        self.check_size(&selector, descriptor, &document.bytes)?;
        Ok(document)
    }

    /// A small blob as a whole, such as a configuration.
    pub(super) fn small_blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let selector = Selector::Digest(descriptor.digest.clone());
        let subject = self.subject(&selector);
        let rest = format!("blobs/{}", descriptor.digest);
        let bytes = self.anywhere(Asked::Digest, |endpoint| {
            let path = endpoint.target(&rest);
            let limit = limit.min(descriptor.size.max(1));
            let target = || Target::Path(&path);
            self.whole(endpoint, target, &[], &subject, limit).map(|(_, bytes)| bytes)
        })?;
        self.check_size(&selector, descriptor, &bytes)?;
        checked(&subject, &descriptor.digest, &bytes)?;
        Ok(bytes)
    }

    fn check_size(
        &self,
        selector: &Selector,
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
        Err(RegistryError::Mismatch { subject: self.subject(selector), mismatch })
    }

    /// Opens a blob at `first`, or at its beginning if the server does not do that: at the registry or a
    /// mirror, or else where its descriptor says. `entity_tag` is what the server called the state of the
    /// blob from which the bytes before came.
    pub(super) fn part_of(
        &self,
        blob: &Descriptor,
        first: u64,
        entity_tag: Option<&str>,
        turn: Turn,
    ) -> Result<Part, RegistryError> {
        let at = |endpoint: &_| self.open_blob(endpoint, blob, first, entity_tag, turn);
        let error = match self.anywhere(Asked::Digest, at) {
            Err(error) if !blob.urls.is_empty() && !matches!(error, RegistryError::Cancelled) => {
                error
            }
            done => return done,
        };
        let elsewhere = |url: &String| self.open_elsewhere(url, blob, first, turn).ok();
        blob.urls.iter().find_map(elsewhere).ok_or(error)
    }

    fn open_blob(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
        first: u64,
        entity_tag: Option<&str>,
        turn: Turn,
    ) -> Result<Part, RegistryError> {
        let subject = self.subject(&Selector::Digest(descriptor.digest.clone()));
        let rest = format!("blobs/{}", descriptor.digest);
        let slot = turn.at(&self.client.0.host(endpoint)?);
        let headers = range(first, entity_tag);
        let accepted: &[u16] = if first > 0 { &[416] } else { &[] };
        let answer = self.request(endpoint, Method::GET, &rest, headers, &subject, accepted)?;
        if answer.status == 416 {
            let answer = self.request(endpoint, Method::GET, &rest, Vec::new(), &subject, &[])?;
            return part(&subject, answer, descriptor, 0, slot);
        }
        part(&subject, answer, descriptor, first, slot)
    }

    /// Opens a blob at one of the other places that its descriptor names. Whoever wrote the manifest
    /// chose them: they are asked without any credentials.
    fn open_elsewhere(
        &self,
        url: &str,
        descriptor: &Descriptor,
        first: u64,
        turn: Turn,
    ) -> Result<Part, RegistryError> {
        let subject = self.subject(&Selector::Digest(descriptor.digest.clone()));
        let (host, answer) = self.client.0.fetch_url(&subject, url, range(first, None))?;
        part(&subject, answer, descriptor, first, turn.at(&host))
    }
}

/// The tags of one page; Go's encoder writes `null` for none.
fn page(bytes: &[u8]) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Page {
        #[serde(default)]
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice::<Page>(bytes).ok().map(|page| page.tags.unwrap_or_default())
}

fn accept() -> (HeaderName, HeaderValue) {
    let kinds = HeaderValue::from_str(&MANIFEST_KINDS.join(", "));
    (ACCEPT, kinds.unwrap_or_else(|_| HeaderValue::from_static("*/*")))
}

fn range(first: u64, entity_tag: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if first > 0 {
        headers.extend(HeaderValue::from_str(&format!("bytes={first}-")).map(|v| (RANGE, v)));
        let condition = entity_tag.and_then(|tag| HeaderValue::from_str(tag).ok());
        headers.extend(condition.map(|value| (IF_RANGE, value)));
    }
    headers
}

/// Understands the head of a blob's answer.
fn part(
    subject: &str,
    answer: Response,
    descriptor: &Descriptor,
    asked: u64,
    slot: Option<Slot>,
) -> Result<Part, RegistryError> {
    let mismatched = |mismatch| RegistryError::Mismatch { subject: subject.to_owned(), mismatch };
    let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
    let range = answer.header("content-range").and_then(content_range);
    let first = match (answer.status, range) {
        (206, Some(range)) if range.first == asked => {
            if range.total.is_some_and(|total| total != expected) {
                let actual = range.total.unwrap_or_default();
                return Err(mismatched(Mismatch::Short { digest, expected, actual }));
            }
            asked
        }
        (206, _) => {
            let failure = super::TransportError::new(
                super::TransportKind::Protocol,
                "the answer is another range than the one that was asked for",
            );
            return Err(host::broken(subject, &Method::GET, &answer.url, failure));
        }
        _ => 0,
    };
    // A wrong size is seen before anything is fetched. A server may send less of a range than there is.
    let end = answer.body.content_length().map(|length| first.saturating_add(length));
    match end.map(|end| (end, end.cmp(&expected))) {
        Some((_, Ordering::Greater)) => {
            return Err(mismatched(Mismatch::Long { digest, expected }));
        }
        Some((actual, Ordering::Less)) if answer.status != 206 => {
            return Err(mismatched(Mismatch::Short { digest, expected, actual }));
        }
        _ => {}
    }
    let entity_tag = tag(&answer);
    Ok(Part { first, entity_tag, reader: Box::new(host::reader(answer.body)), _slot: slot })
}

/// A strong entity tag: a weak one does not mean the bytes.
fn tag(answer: &Response) -> Option<String> {
    let tag = answer.header("etag")?;
    (tag.starts_with('"') && tag.len() <= 256).then(|| tag.to_owned())
}

fn checked(subject: &str, wanted: &Digest, bytes: &[u8]) -> Result<Digest, RegistryError> {
    let mut hasher = Hasher::new(wanted.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == *wanted {
        return Ok(actual);
    }
    let mismatch = Mismatch::Digest { digest: wanted.clone(), actual };
    Err(RegistryError::Mismatch { subject: subject.to_owned(), mismatch })
}
