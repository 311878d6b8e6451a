//! A file by its URL, from a server that is no registry: what `ADD` and build contexts are fetched by. It
//! gets nothing of the user's but the request, and what was given for it alone.

use std::fmt;
use std::io::{self, Read};

use ureq::http::header::{AUTHORIZATION, IF_NONE_MATCH};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::RegistryError;
use super::client::{Client, Inner, Request, Target};
use super::host::{self, Payload, Plain, Response};
use super::tls::HostTls;
use super::url::{Scheme, Url, is_loopback};

/// The status of an answer that what is known is still so.
const NOT_MODIFIED: u16 = 304;
/// How many servers a request may be sent on to.
const REDIRECTS_MAX: usize = 10;

/// What is said to the server beside the URL.
#[derive(Clone, Copy, Default)]
pub struct Ask<'a> {
    /// The value of `Authorization`, for the server of the URL alone: wherever that leads does not get it.
    pub authorization: Option<&'a str>,
    /// The `ETag` of what is here already; if it is still that, nothing is sent.
    pub known: Option<&'a str>,
}

impl fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("known", &self.known).finish_non_exhaustive()
    }
}

/// A file that is being fetched. Nobody vouches for its bytes.
pub struct Download {
    /// Where it came from, after redirections.
    pub url: Url,
    /// `Content-Disposition`, which may name the file.
    pub disposition: Option<String>,
    /// `Last-Modified`, as the server writes it.
    pub last_modified: Option<String>,
    /// `ETag`, as the server writes it.
    pub entity_tag: Option<String>,
    /// Whether it is what was known, so that no bytes come.
    pub is_unchanged: bool,
    /// The number of bytes, if the server says it.
    pub bytes: Option<u64>,
    reader: Box<dyn Read + Send>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Client {
    /// Begins to fetch `url`, of http or https. A server of https may not lead to one of http.
    ///
    /// # Errors
    /// It is no such URL; it cannot be had.
    pub fn download(&self, url: &str, ask: Ask<'_>) -> Result<Download, RegistryError> {
        let parsed = Url::parse(url);
        let parsed =
            parsed.ok_or_else(|| RegistryError::Name { name: url.chars().take(300).collect() })?;
        let inner = &self.0;
        let mut attempt = 0;
        let response = loop {
            match inner.get_along(url, &parsed, ask) {
                Ok(response) => break response,
                Err(error) => {
                    attempt += 1;
                    inner.check_cancelled()?;
                    inner.options.retry.pause(attempt, error, &inner.options.cancellation)?;
                }
            }
        };
        let header = |name| response.header(name).map(str::to_owned);
        Ok(Download {
            disposition: header("content-disposition"),
            last_modified: header("last-modified"),
            entity_tag: header("etag"),
            is_unchanged: ask.known.is_some() && response.status == NOT_MODIFIED,
            bytes: response.body.content_length(),
            url: response.url.clone(),
            reader: Box::new(host::reader(response.body)),
        })
    }
}

impl Inner {
    /// Asks for `first` and follows where it leads.
    fn get_along(
        &self,
        subject: &str,
        first: &Url,
        ask: Ask<'_>,
    ) -> Result<Response, RegistryError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_unverified = !self.options.verify;
            let plain = match url.scheme() {
                Scheme::Http => Plain::Only,
                Scheme::Https => Plain::Never,
            };
            let tls = HostTls { is_unverified, ..HostTls::default() };
            let host = self.host_of(url.authority(), url.authority(), plain, tls, None)?;
            let ask = Ask {
                authorization: ask.authorization.filter(|_| url.is_same_origin(first)),
                ..ask
            };
            let headers = headers(ask);
            let response = host.exchange(subject, &Method::GET, &url, &headers, &Payload::None)?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                let request = Request::get(Target::Url(&url), subject);
                return self.judge(&host, &request, response, false);
            }
            let location = response.header("location").unwrap_or_default().to_owned();
            let refused = |reason| RegistryError::Redirect {
                subject: subject.to_owned(),
                url: url.clone(),
                location: location.chars().take(300).collect(),
                reason,
            };
            let next = url.resolve(&location).filter(|_| !location.is_empty());
            let next = next.ok_or_else(|| refused("it is no URL of http or https"))?;
            let is_weaker = url.scheme() == Scheme::Https && next.scheme() == Scheme::Http;
            if is_weaker && !is_loopback(next.authority()) {
                return Err(refused("it is not protected by TLS"));
            }
            url = next;
        }
        Err(RegistryError::Redirect {
            subject: subject.to_owned(),
            url: url.clone(),
            location: format!("{url:?}"),
            reason: "there are too many redirections",
        })
    }
}

/// What is asked, as headers; a value that can stand in none is left out.
fn headers(ask: Ask<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let authorization = ask.authorization.and_then(|value| {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    });
    let known = ask.known.and_then(|tag| HeaderValue::from_str(tag).ok());
    authorization.into_iter().chain(known.map(|tag| (IF_NONE_MATCH, tag))).collect()
}
