//! What a registry lists page by page: the tags of a repository, and its repositories.

use serde::Deserialize;
use ureq::http::Method;

use super::client::{Client, Inner, Request, Target, Whole};
use super::endpoint::Endpoint;
use super::header::next_link;
use super::host::{self, Host, Payload};
use super::repository::{Asked, Repository};
use super::scope::Scopes;
use super::url::Url;
use super::{RegistryError, TransportError, TransportKind};
use crate::spec::{MANIFEST_BYTES_MAX, object};

/// The most pages of a list: a registry that never ends is not listened to for ever.
const PAGES_MAX: usize = 10_000;
/// The most bytes of all pages of a list.
const LIST_BYTES_MAX: u64 = 256 << 20;

impl Repository {
    /// The tags of the repository, in the registry's order, page by page.
    ///
    /// # Errors
    /// The registry cannot be asked, or never ends.
    pub fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // Go's encoder writes `null` for none.
            tags: Option<Vec<String>>,
        }
        self.anywhere(Asked::Tag, |endpoint| {
            let (path, name) = (endpoint.target("tags/list"), self.name());
            let first = Self::reading(endpoint, Method::GET, Target::Path(&path), name);
            let client = &self.client().0;
            let mut tags = Vec::new();
            client.pages(&*client.host(endpoint)?, &first, |page| {
                let page: Page = understood(name, page, "the answer is no list of tags")?;
                tags.extend(page.tags.unwrap_or_default());
                Ok(())
            })?;
            Ok(tags)
        })
    }
}

impl Client {
    /// The repositories of the registry with this domain, in its order. Many registries do not tell.
    ///
    /// # Errors
    /// The registry does not tell, cannot be asked, or never ends.
    pub fn catalog(&self, registry: &str) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let host = self.0.host(&Endpoint::of(registry, ""))?;
        let first = Request {
            scopes: Scopes::none().and("registry:catalog", &["*"]),
            ..Request::get(Target::Path("/v2/_catalog"), registry)
        };
        let mut repositories = Vec::new();
        self.0.pages(&host, &first, |page| {
            let page: Page = understood(registry, page, "the answer is no list of repositories")?;
            repositories.extend(page.repositories.unwrap_or_default());
            Ok(())
        })?;
        Ok(repositories)
    }
}

impl Inner {
    /// Asks for all pages of a list, of which `first` is the request for the first.
    pub(super) fn pages(
        &self,
        host: &Host,
        first: &Request<'_>,
        mut take: impl FnMut(&Whole) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut answer = self.whole(host, first, MANIFEST_BYTES_MAX)?;
        let mut left = LIST_BYTES_MAX;
        for _ in 0..PAGES_MAX {
            left = left.saturating_sub(answer.bytes.len() as u64);
            take(&answer)?;
            let Some(next) = next_page(first.subject, &answer)? else { return Ok(()) };
            if left == 0 {
                let (subject, limit) = (first.subject.to_owned(), LIST_BYTES_MAX);
                return Err(RegistryError::Large { subject, url: next, limit });
            }
            let request = Request {
                method: Method::GET,
                target: Target::Url(&next),
                headers: first.headers.clone(),
                own_headers: first.own_headers.clone(),
                payload: Payload::None,
                scopes: first.scopes.clone(),
                accepted: &[],
                ..*first
            };
            answer = self.whole(host, &request, MANIFEST_BYTES_MAX)?;
        }
        Err(RegistryError::Documents { subject: first.subject.to_owned(), limit: PAGES_MAX })
    }
}

/// Where the next page of a list is, if there is one.
fn next_page(subject: &str, answer: &Whole) -> Result<Option<Url>, RegistryError> {
    let links = answer.headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    let Some(link) = links.into_iter().find_map(next_link) else { return Ok(None) };
    let refused = |reason| RegistryError::Redirect {
        subject: subject.to_owned(),
        url: answer.url.clone(),
        location: link.chars().take(300).collect(),
        reason,
    };
    let next = answer.url.resolve(link).filter(|next| next.is_same_origin(&answer.url));
    let next = next.ok_or_else(|| refused("the next page of a list is at the same server"))?;
    if next == answer.url {
        return Err(refused("a page is not the next after itself"));
    }
    Ok(Some(next))
}

/// A page as the list that it should be.
pub(super) fn understood<T: serde::de::DeserializeOwned>(
    subject: &str,
    page: &Whole,
    reason: &str,
) -> Result<T, RegistryError> {
    object(&page.bytes).map_err(|_| {
        let failure = TransportError::new(TransportKind::Protocol, reason);
        host::broken(subject, &Method::GET, &page.url, failure)
    })
}
