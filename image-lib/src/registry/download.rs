//! A file by its URL, from a server that is no registry: what `ADD` and build contexts are fetched by. It
//! gets nothing of the user's but the request.

use std::fmt;
use std::io::{self, Read};

use ureq::http::Method;

use super::RegistryError;
use super::client::{Client, Inner, Request, Target};
use super::host::{self, Payload, Plain, Response};
use super::tls::HostTls;
use super::url::{Scheme, Url, is_loopback};

/// How many servers a request may be sent on to.
const REDIRECTS_MAX: usize = 10;

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
    pub fn download(&self, url: &str) -> Result<Download, RegistryError> {
        let parsed = Url::parse(url);
        let parsed =
            parsed.ok_or_else(|| RegistryError::Name { name: url.chars().take(300).collect() })?;
        let inner = &self.0;
        let mut attempt = 0;
        let response = loop {
            match inner.get_along(url, &parsed) {
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
            bytes: response.body.content_length(),
            url: response.url.clone(),
            reader: Box::new(host::reader(response.body)),
        })
    }
}

impl Inner {
    /// Asks for `url` and follows where it leads.
    fn get_along(&self, subject: &str, url: &Url) -> Result<Response, RegistryError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_unverified = !self.options.verify;
            let plain = match url.scheme() {
                Scheme::Http => Plain::Only,
                Scheme::Https => Plain::Never,
            };
            let tls = HostTls { is_unverified, ..HostTls::default() };
            let host = self.host_of(url.authority(), url.authority(), plain, tls, None)?;
            let response = host.exchange(subject, &Method::GET, &url, &[], &Payload::None)?;
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
