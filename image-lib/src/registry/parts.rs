//! Blobs of a repository as they come: a part of one, from any place that has it; and small ones as a whole.

use std::cmp::Ordering;
use std::io::Read;
use std::sync::Arc;

use ureq::http::header::{IF_RANGE, RANGE};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::client::Target;
use super::endpoint::Endpoint;
use super::header::content_range;
use super::host::{self, Host, Response, Slot};
use super::manifests::{check_size, checked};
use super::repository::{Asked, Repository, Selector};
use super::{RegistryError, TransportError, TransportKind};
use crate::blob::Mismatch;
use crate::spec::Descriptor;

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
            let request = Self::reading(endpoint, Method::GET, Target::Path(&path), &subject);
            self.ask_whole(endpoint, &request, limit).map(|whole| whole.bytes)
        })?;
        check_size(&subject, descriptor, &bytes)?;
        checked(&subject, &descriptor.digest, &bytes)?;
        Ok(bytes)
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
        let slot = turn.at(&self.client().0.host(endpoint)?);
        let path = endpoint.target(&rest);
        let mut request = Self::reading(endpoint, Method::GET, Target::Path(&path), &subject);
        request.headers = range(first, entity_tag);
        request.accepted = if first > 0 { &[416] } else { &[] };
        let answer = self.ask(endpoint, &request)?;
        if answer.status == 416 {
            (request.headers, request.accepted) = (Vec::new(), &[]);
            let answer = self.ask(endpoint, &request)?;
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
        let (host, answer) = self.client().0.fetch_url(&subject, url, range(first, None))?;
        part(&subject, answer, descriptor, first, turn.at(&host))
    }
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
            let failure = TransportError::new(
                TransportKind::Protocol,
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
