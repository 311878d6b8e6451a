//! The client: all servers that are spoken to, and the one way in which a request is made: with the
//! proof that the server wants, again when it may go better, and along redirections, on which nothing
//! secret travels to another server.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::endpoint::Endpoint;
use super::host::{Host, Payload, Plain, Response};
use super::scope::Scopes;
use super::tls::{HostTls, Trust};
use super::token::{Asking, Proof};
use super::url::{Scheme, Url, is_loopback};
use super::{Options, RegistryError, Repository};
use crate::reference::Reference;

/// How many servers a request may be sent on to.
const REDIRECTS_MAX: usize = 10;
/// How often a server may ask for another proof.
const PROOFS_MAX: usize = 2;

/// Speaks to registries. Clones share connections, tokens and what is known of servers.
///
/// ```no_run
/// use keel_image::registry::{Client, Options};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(Options::of_environment())?;
/// let repository = client.repository(&"docker.io/library/busybox".parse()?)?;
/// println!("{}", repository.name());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: Options,
    trust: Trust,
    hosts: Mutex<HashMap<(String, Plain, HostTls), Arc<Host>>>,
    warnings: Mutex<BTreeSet<String>>,
    /// What the user's configuration adds to every request to a registry.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One request, as it is meant.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Path and query at the host, or another URL that the host named.
    pub(super) target: Target<'a>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that are meant for the host alone.
    pub(super) own_headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) payload: Payload<'a>,
    pub(super) scopes: Scopes,
    /// The repository at the host.
    pub(super) repository: &'a str,
    /// What errors say was asked for.
    pub(super) subject: &'a str,
    /// Answers from 400 on that are not errors to whoever asks.
    pub(super) accepted: &'a [u16],
}

impl<'a> Request<'a> {
    /// Reads what belongs to no repository.
    pub(super) fn get(target: Target<'a>, subject: &'a str) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: Vec::new(),
            own_headers: Vec::new(),
            payload: Payload::None,
            scopes: Scopes::none(),
            repository: "",
            subject,
            accepted: &[],
        }
    }
}

/// Where a request goes.
pub(super) enum Target<'a> {
    /// A path with its query at the host.
    Path(&'a str),
    /// What a `Location` or `Link` of the host's answer meant.
    Url(&'a Url),
}

/// An answer that has been read.
pub(super) struct Whole {
    /// Where it came from, after redirections.
    pub(super) url: Url,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Whole {
    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// The user's configuration cannot be read.
    pub fn new(options: Options) -> Result<Self, RegistryError> {
        let own = options.keyring.http_headers()?;
        let headers = own.iter().filter_map(|(name, value)| {
            let name: HeaderName = name.parse().ok()?;
            // Docker leaves these to itself too.
            let is_own = ["user-agent", "authorization", "host"].contains(&name.as_str());
            (!is_own).then_some((name, HeaderValue::from_str(value).ok()?))
        });
        let headers = headers.collect();
        let (trust, hosts, warnings) = (Trust::default(), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { options, trust, hosts, warnings, headers })))
    }

    /// The repository that `reference` names, at its registry or a mirror of it.
    ///
    /// # Errors
    /// The configuration forbids it or cannot be read.
    pub fn repository(&self, reference: &Reference) -> Result<Repository, RegistryError> {
        let endpoints = Endpoint::all(&self.0.options, reference)?;
        Ok(Repository::new(self.clone(), reference, endpoints))
    }

    /// Asks `registry` whether it takes the credential that the client has for it.
    ///
    /// # Errors
    /// It does not; it cannot be asked.
    pub fn log_in(&self, registry: &str) -> Result<(), RegistryError> {
        let endpoint = Endpoint::of(registry, "");
        let host = self.0.host(&endpoint)?;
        let request = Request::get(Target::Path("/v2/"), registry);
        self.0.send(&host, &request).map(drop)
    }

    /// How the client was told to reach registries.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// What registries wanted their users to be told since this was asked last.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        let mut warnings = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings).into_iter().collect()
    }
}

impl Inner {
    /// The host of an endpoint.
    pub(super) fn host(&self, endpoint: &Endpoint) -> Result<Arc<Host>, RegistryError> {
        let mut tls = endpoint.tls.clone();
        tls.is_unverified |= !self.options.verify || endpoint.is_insecure;
        let plain = match endpoint.scheme {
            // The file's own word.
            Some(Scheme::Http) => Plain::Only,
            _ if self.options.plain_http => Plain::Only,
            Some(Scheme::Https) => Plain::Never,
            None if tls.is_unverified || is_loopback(&endpoint.authority) => Plain::Fallback,
            None => Plain::Never,
        };
        let (authority, registry) = (&endpoint.authority, &endpoint.registry);
        self.host_of(authority, registry, plain, tls, endpoint.dial_timeout)
    }

    /// The host of a URL that another server named: a token server, an object store.
    pub(super) fn other_host(&self, url: &Url) -> Result<Arc<Host>, RegistryError> {
        let is_unverified = !self.options.verify;
        let allowed = self.options.plain_http || is_unverified || is_loopback(url.authority());
        let plain = if allowed { Plain::Fallback } else { Plain::Never };
        let tls = HostTls { is_unverified, ..HostTls::default() };
        self.host_of(url.authority(), url.authority(), plain, tls, None)
    }

    pub(super) fn host_of(
        &self,
        authority: &str,
        registry: &str,
        plain: Plain,
        mut tls: HostTls,
        dial_timeout: Option<Duration>,
    ) -> Result<Arc<Host>, RegistryError> {
        let key = (authority.to_owned(), plain, tls.clone());
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(&key) {
            return Ok(Arc::clone(host));
        }
        if plain != Plain::Only {
            for folder in &self.options.certs_d {
                tls.add_folder(authority, &folder.join(authority))?;
            }
            if let Some(folder) = &self.options.cert_dir {
                tls.add_folder(authority, folder)?;
            }
        }
        let dial_timeout = dial_timeout.unwrap_or(self.options.connect_timeout);
        let tls = self.trust.config(authority, &tls)?;
        let host = Host::new(authority, registry, plain, tls, dial_timeout, &self.options)?;
        let host = Arc::new(host);
        hosts.insert(key, Arc::clone(&host));
        Ok(host)
    }

    /// Makes a request and returns an answer below 400, or one that is accepted.
    pub(super) fn send(
        &self,
        host: &Host,
        request: &Request<'_>,
    ) -> Result<Response, RegistryError> {
        let mut attempt = 0;
        loop {
            match self.attempt(host, request) {
                Ok(response) => return Ok(response),
                Err(error) => {
                    attempt += 1;
                    self.check_cancelled()?;
                    self.options.retry.pause(attempt, error, &self.options.cancellation)?;
                }
            }
        }
    }

    /// Makes a request and reads all of its answer, again where the head of one comes without its body.
    pub(super) fn whole(
        &self,
        host: &Host,
        request: &Request<'_>,
        limit: u64,
    ) -> Result<Whole, RegistryError> {
        let mut attempt = 0;
        loop {
            let answer = self.send(host, request)?;
            let (url, status, headers) =
                (answer.url.clone(), answer.status, answer.headers.clone());
            let error = match answer.read(request.subject, limit) {
                Ok(bytes) => return Ok(Whole { url, status, headers, bytes }),
                Err(error) => error,
            };
            self.check_cancelled()?;
            attempt += 1;
            self.options.retry.pause(attempt, error, &self.options.cancellation)?;
        }
    }

    pub(super) fn check_cancelled(&self) -> Result<(), RegistryError> {
        if self.options.cancellation.is_cancelled() {
            Err(RegistryError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Makes a request once, however it ends: for what must not be sent again unseen.
    pub(super) fn send_once(
        &self,
        host: &Host,
        request: &Request<'_>,
    ) -> Result<Response, RegistryError> {
        self.attempt(host, request)
    }

    /// Makes a request once at another server, which the registry has named: it gets no proof.
    pub(super) fn send_elsewhere(
        &self,
        url: &Url,
        request: &Request<'_>,
    ) -> Result<Response, RegistryError> {
        let host = self.other_host(url)?;
        if !host.is_private(url) {
            let registry = url.authority().to_owned();
            return Err(RegistryError::Clear { registry, url: url.clone() });
        }
        let response = host.exchange(
            request.subject,
            &request.method,
            url,
            &request.headers,
            &request.payload,
        )?;
        self.judge(&host, request, response, false)
    }

    /// One attempt: the host is convinced if it wants to be, and redirections are followed.
    fn attempt(&self, host: &Host, request: &Request<'_>) -> Result<Response, RegistryError> {
        let asking = Asking {
            client: self,
            host,
            subject: request.subject,
            repository: request.repository,
            scopes: &request.scopes,
        };
        let mut proof = host.authorizer.proof(&asking)?;
        for _ in 0..=PROOFS_MAX {
            let response = self.ask(host, request, &proof)?;
            if response.status == 401
                && let Some(better) = host.authorizer.learn(&response, &proof, &asking)?
            {
                proof = better;
                continue;
            }
            self.note_warnings(&response);
            if matches!(response.status, 301 | 302 | 303 | 307 | 308)
                && matches!(request.method, Method::GET | Method::HEAD)
            {
                return self.follow(host, request, response, &proof);
            }
            return self.judge(host, request, response, proof.had_credentials);
        }
        let url = host.url("/")?;
        let reason = "the registry asks for ever new proofs";
        Err(RegistryError::Token {
            registry: host.authority.clone(),
            url,
            reason: reason.to_owned(),
        })
    }

    /// Sends the request to the host itself, with the proof.
    fn ask(
        &self,
        host: &Host,
        request: &Request<'_>,
        proof: &Proof,
    ) -> Result<Response, RegistryError> {
        loop {
            let url = match request.target {
                Target::Path(path) => host.url(path)?,
                Target::Url(url) => url.clone(),
            };
            let mut headers = self.headers.clone();
            headers.extend(request.headers.iter().chain(&request.own_headers).cloned());
            if let Some(header) = proof.header() {
                if !host.is_private(&url) {
                    let registry = host.registry.clone();
                    return Err(RegistryError::Clear { registry, url });
                }
                headers.push(header);
            }
            let answer =
                host.exchange(request.subject, &request.method, &url, &headers, &request.payload);
            match answer {
                Err(error) if host.falls_back(&error) => {}
                other => return other,
            }
        }
    }

    /// Follows a redirection. To another server nothing goes that is meant for this one: no proof and
    /// none of the user's own headers; and whatever that server asks for, it gets none.
    fn follow(
        &self,
        host: &Host,
        request: &Request<'_>,
        mut response: Response,
        proof: &Proof,
    ) -> Result<Response, RegistryError> {
        let origin = response.url.clone();
        let mut had_credentials = proof.had_credentials;
        // Once another server has been passed through, no proof goes anywhere: a loop through a
        // stranger must not choose where it goes.
        let mut is_own = true;
        for _ in 0..REDIRECTS_MAX {
            let from = response.url.clone();
            let location = response.header("location").unwrap_or_default().to_owned();
            let refused = |reason| RegistryError::Redirect {
                subject: request.subject.to_owned(),
                url: from.clone(),
                location: location
                    .split('?')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(300)
                    .collect(),
                reason,
            };
            let url = Some(&location).filter(|l| !l.is_empty()).and_then(|l| from.resolve(l));
            let url = url.ok_or_else(|| refused("it is no URL of http or https"))?;
            is_own &= url.is_same_origin(&origin);
            let mut headers = request.headers.clone();
            let answered = if is_own {
                // Without a proof nothing was meant for this server only.
                let own = self.headers.iter().filter(|_| !request.repository.is_empty());
                headers.extend(own.chain(&request.own_headers).cloned());
                headers.extend(proof.header());
                host.exchange(request.subject, &request.method, &url, &headers, &Payload::None)?
            } else {
                let other = self.other_host(&url)?;
                if url.scheme() == Scheme::Http && !other.is_private(&url) {
                    return Err(refused("it is not protected by TLS"));
                }
                had_credentials = false;
                other.exchange(request.subject, &request.method, &url, &headers, &Payload::None)?
            };
            response = answered;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(host, request, response, had_credentials);
            }
        }
        Err(RegistryError::Redirect {
            subject: request.subject.to_owned(),
            url: origin,
            location: format!("{:?}", response.url),
            reason: "there are too many redirections",
        })
    }

    /// Fetches a URL that nobody vouches for: without any proof, whatever its server asks for.
    pub(super) fn fetch_url(
        &self,
        subject: &str,
        url: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(Arc<Host>, Response), RegistryError> {
        let Some(url) = Url::parse(url) else {
            return Err(RegistryError::Name { name: url.chars().take(300).collect() });
        };
        let host = self.other_host(&url)?;
        if !host.is_private(&url) {
            return Err(RegistryError::Clear { registry: url.authority().to_owned(), url });
        }
        let request = Request { headers, ..Request::get(Target::Url(&url), subject) };
        let response =
            host.exchange(subject, &request.method, &url, &request.headers, &request.payload)?;
        if matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            let response = self.follow(&host, &request, response, &Proof::default())?;
            return Ok((host, response));
        }
        let response = self.judge(&host, &request, response, false)?;
        Ok((host, response))
    }

    pub(super) fn judge(
        &self,
        host: &Host,
        request: &Request<'_>,
        response: Response,
        had_credentials: bool,
    ) -> Result<Response, RegistryError> {
        if response.status < 400 || request.accepted.contains(&response.status) {
            return Ok(response);
        }
        Err(response.refusal(&host.registry, request.subject, &request.method, had_credentials))
    }

    fn note_warnings(&self, response: &Response) {
        let new = Host::warnings(response);
        if !new.is_empty() {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            // A registry that warns differently for each of many requests is not listened to for ever.
            let room = 16_usize.saturating_sub(warnings.len());
            warnings.extend(new.into_iter().take(room));
        }
    }
}
