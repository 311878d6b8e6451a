//! One server: how it is spoken to, and one exchange with it, without credentials of its own accord and
//! without following anything.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::http::header::CONTENT_LENGTH;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, SendBody};

use super::header::retry_after;
use super::refusal::Refusal;
use super::token::Authorizer;
use super::transport::{TransportError, TransportKind};
use super::url::{Scheme, Url, is_loopback};
use super::{Options, RegistryError};

/// The most bytes of an error's body.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// How a host that is only known by its name is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Plain {
    /// Over TLS or not at all.
    Never,
    /// Over TLS, but without where TLS is not spoken.
    Fallback,
    /// Without TLS.
    Only,
}

const HTTPS: u8 = 0;
const HTTPS_SURELY: u8 = 1;
const HTTP: u8 = 2;

/// One server.
#[derive(Debug)]
pub(super) struct Host {
    /// Host and port.
    pub(super) authority: String,
    /// Under this name credentials are looked for.
    pub(super) registry: String,
    pub(super) authorizer: Authorizer,
    agent: Agent,
    plain: Plain,
    scheme: AtomicU8,
    slots: Mutex<usize>,
    freed: Condvar,
}

/// What is sent along, if anything.
pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// A part of a blob, read while it is sent.
    Piece(&'a dyn Outgoing),
}

/// Bytes that are read while they are sent, perhaps more than once.
pub(super) trait Outgoing {
    /// How many there are.
    fn bytes(&self) -> u64;

    /// Begins with the first one.
    fn reader(&self) -> Box<dyn Read + '_>;
}

/// An answer with its body still to be read.
#[derive(Debug)]
pub(super) struct Response {
    /// Where it came from, after redirections.
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

impl Response {
    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All values of a header that are text.
    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The body of at most `limit` bytes.
    pub(super) fn read(self, subject: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let url = self.url;
        let large =
            || RegistryError::Large { subject: subject.to_owned(), url: url.clone(), limit };
        if self.body.content_length().is_some_and(|length| length > limit) {
            return Err(large());
        }
        let mut bytes = Vec::new();
        let mut reader = self.body.into_with_config().limit(u64::MAX).reader().take(limit + 1);
        if let Err(error) = reader.read_to_end(&mut bytes) {
            return Err(broken(subject, &Method::GET, &url, TransportError::of_io(&error)));
        }
        if bytes.len() as u64 > limit { Err(large()) } else { Ok(bytes) }
    }

    /// The refusal that this answer is.
    pub(super) fn refusal(
        self,
        registry: &str,
        subject: &str,
        method: &Method,
        had_credentials: bool,
    ) -> RegistryError {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let wait = self.header("retry-after").and_then(|header| retry_after(header, now));
        let rate = rate(&self);
        let (url, status) = (self.url.clone(), self.status);
        let mut body = Vec::new();
        let reader = self.body.into_with_config().limit(u64::MAX).reader();
        // The status says enough if the rest cannot be read.
        let _ = reader.take(ERROR_BYTES_MAX).read_to_end(&mut body);
        RegistryError::Answer(Box::new(Refusal {
            subject: subject.to_owned(),
            registry: registry.to_owned(),
            method: method.to_string(),
            url,
            status,
            reasons: reasons(&body),
            retry_after: wait,
            rate,
            had_credentials,
        }))
    }
}

pub(super) fn broken(
    subject: &str,
    method: &Method,
    url: &Url,
    failure: TransportError,
) -> RegistryError {
    RegistryError::Transport {
        subject: subject.to_owned(),
        method: method.to_string(),
        url: url.clone(),
        failure,
    }
}

/// The errors of an answer's body (distribution-spec, "Error Codes"); other servers answer otherwise.
fn reasons(body: &[u8]) -> Vec<(String, String)> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return Vec::new() };
    let text = |value: &serde_json::Value, names: &[&str]| {
        let found = names.iter().find_map(|name| value.get(name)?.as_str());
        shown(found.unwrap_or_default())
    };
    let list = value.get("errors").and_then(serde_json::Value::as_array);
    let own = [value.clone()];
    let errors = list.map_or(&own[..], Vec::as_slice).iter().take(4).map(|error| {
        (text(error, &["code", "error"]), text(error, &["message", "error_description", "details"]))
    });
    errors.filter(|(code, message)| !code.is_empty() || !message.is_empty()).collect()
}

/// A server's words on one line of a terminal.
pub(super) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect::<String>().trim().to_owned()
}

/// `ratelimit-remaining: 0;w=21600` in words.
fn rate(response: &Response) -> Option<String> {
    let part = |name: &str| response.header(name)?.split(';').next().map(|text| shown(text.trim()));
    let (limit, left) = (part("ratelimit-limit")?, part("ratelimit-remaining"));
    let left = left.unwrap_or_else(|| "0".to_owned());
    let window = response.header("ratelimit-limit")?.split("w=").nth(1).map(shown);
    let window = window.map(|seconds| format!(" within {seconds} s")).unwrap_or_default();
    Some(format!("rate limit: {left} of {limit} requests{window} are left"))
}

impl Host {
    pub(super) fn new(
        authority: &str,
        registry: &str,
        plain: Plain,
        tls: TlsConfig,
        dial_timeout: Duration,
        options: &Options,
    ) -> Result<Self, RegistryError> {
        let scheme = if plain == Plain::Only { Scheme::Http } else { Scheme::Https };
        let url = Url::new(scheme, authority, "/");
        let url = url.ok_or_else(|| RegistryError::Name { name: authority.to_owned() })?;
        let proxy = options.proxies.client_proxy(scheme, authority, url.port())?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .user_agent(concat!("keel-image/", env!("CARGO_PKG_VERSION")))
            // A blob's bytes are what its digest is of.
            .accept_encoding("identity")
            .max_idle_connections_per_host(options.parallel + 1)
            .timeout_connect(Some(dial_timeout))
            .timeout_per_read(Some(options.silence_timeout))
            .timeout_per_write(Some(options.silence_timeout))
            .proxy(proxy)
            .tls_config(tls)
            .build();
        let agent = config.new_agent();
        let for_cancel = agent.clone();
        options.cancellation.on_cancel(move || for_cancel.clone().shutdown());
        Ok(Self {
            authority: authority.to_owned(),
            registry: registry.to_owned(),
            authorizer: Authorizer::default(),
            agent,
            plain,
            scheme: AtomicU8::new(if plain == Plain::Only { HTTP } else { HTTPS }),
            slots: Mutex::new(options.parallel.max(1)),
            freed: Condvar::new(),
        })
    }

    /// The URL of `target` at this host, by the scheme that it is known to speak.
    pub(super) fn url(&self, target: &str) -> Result<Url, RegistryError> {
        let is_plain = self.scheme.load(Ordering::Relaxed) == HTTP;
        let scheme = if is_plain { Scheme::Http } else { Scheme::Https };
        let url = Url::new(scheme, &self.authority, target);
        url.ok_or_else(|| RegistryError::Name { name: format!("{}{target}", self.authority) })
    }

    /// May credentials travel to `url`?
    pub(super) fn is_private(&self, url: &Url) -> bool {
        url.scheme() == Scheme::Https || is_loopback(url.authority()) || self.plain != Plain::Never
    }

    /// Sends one request and returns the head of its answer, whatever it says.
    pub(super) fn exchange(
        &self,
        subject: &str,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        payload: &Payload<'_>,
    ) -> Result<Response, RegistryError> {
        let mut request = ureq::http::Request::builder().method(method).uri(url.to_string());
        if let Some(own) = request.headers_mut() {
            own.extend(headers.iter().cloned());
        }
        let failed =
            |error: &ureq::Error| broken(subject, method, url, TransportError::of_http(error));
        let answer = match payload {
            Payload::None => {
                let request = request.body(()).map_err(|error| failed(&error.into()))?;
                self.agent.run(request)
            }
            Payload::Bytes(bytes) => {
                let request = request.body(*bytes).map_err(|error| failed(&error.into()))?;
                self.agent.run(request)
            }
            Payload::Piece(piece) => {
                let mut reader = piece.reader();
                let request = request
                    .header(CONTENT_LENGTH, piece.bytes())
                    .body(SendBody::from_reader(&mut reader))
                    .map_err(|error| failed(&error.into()))?;
                self.agent.run(request)
            }
        };
        let (parts, body) = answer.map_err(|error| failed(&error))?.into_parts();
        let status = parts.status.as_u16();
        if url.scheme() == Scheme::Https {
            self.scheme.store(HTTPS_SURELY, Ordering::Relaxed);
        }
        Ok(Response { url: url.clone(), status, headers: parts.headers, body })
    }

    /// Does `error` say that this host speaks no TLS, and may it be spoken to without? Then it is from
    /// now on.
    pub(super) fn falls_back(&self, error: &RegistryError) -> bool {
        let RegistryError::Transport { failure, url, .. } = error else { return false };
        let speaks_none = matches!(failure.kind(), TransportKind::NotTls | TransportKind::Ended);
        if url.scheme() != Scheme::Https || self.plain != Plain::Fallback || !speaks_none {
            return false;
        }
        let known = self.scheme.compare_exchange(HTTPS, HTTP, Ordering::Relaxed, Ordering::Relaxed);
        // Another thread may have found out at the same time.
        known.is_ok() || known == Err(HTTP)
    }

    /// What the registry wants its users to be told.
    pub(super) fn warnings(response: &Response) -> BTreeSet<String> {
        let lines = response.headers("warning").into_iter().filter_map(|line| {
            // `299 - "text"` is what the specification allows; others are a proxy's.
            let text = line.strip_prefix("299 ")?.split_once('"')?.1;
            Some(shown(text.rsplit_once('"').map_or(text, |(text, _)| text)))
        });
        lines.collect()
    }

    /// Waits until not too many blobs are fetched from this host.
    pub(super) fn slot(self: &Arc<Self>) -> Slot {
        let mut free = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(Arc::clone(self))
    }
}

/// The right to fetch a blob from a host, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Host>);

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.slots.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// A reader of a body whose errors tell what happened to the connection.
pub(super) fn reader(body: Body) -> impl Read + Send {
    body.into_with_config().limit(u64::MAX).reader()
}

/// What ended the reading of a body.
pub(super) fn failure_of(error: &io::Error) -> TransportError {
    TransportError::of_io(error)
}
