//! Convincing a server: what its challenge asks for, and the tokens that were fetched for it. A token is
//! fetched once however many threads want it, and anew shortly before it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE};
use ureq::http::{HeaderName, HeaderValue, Method};

use super::RegistryError;
use super::challenge::Challenge;
use super::client::Inner;
use super::host::{Host, Payload, Response, shown};
use super::scope::Scopes;
use super::url::{Url, encode};
use crate::auth::{Credential, Secret};

/// The most bytes of a token server's answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long a token lives at least (distribution-spec's token page).
const LIFE_MIN: Duration = Duration::from_mins(1);
/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(15);
/// By this name token servers know this client.
const CLIENT_ID: &str = "keel-image";

/// How a server wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Way {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

#[derive(Clone)]
struct Token {
    secret: Secret,
    until: Instant,
    had_credentials: bool,
}

type Slot = Arc<Mutex<Option<Token>>>;

/// What is known of how a server wants to be convinced.
#[derive(Default)]
pub(super) struct Authorizer {
    way: Mutex<Option<Way>>,
    /// By way, repository whose credential was used, and permissions.
    tokens: Mutex<HashMap<(Way, String, Scopes), Slot>>,
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").finish_non_exhaustive()
    }
}

/// What is sent to a server to convince it.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    header: Option<Secret>,
    pub(super) had_credentials: bool,
}

impl Proof {
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(self.header.as_ref()?.reveal()).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half-changed under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom a request is for.
pub(super) struct Asking<'a> {
    pub(super) client: &'a Inner,
    pub(super) host: &'a Host,
    pub(super) subject: &'a str,
    pub(super) repository: &'a str,
    pub(super) scopes: &'a Scopes,
}

impl Authorizer {
    /// What is sent by what is already known.
    pub(super) fn proof(&self, asking: &Asking<'_>) -> Result<Proof, RegistryError> {
        let way = lock(&self.way).clone();
        self.proof_by(way.as_ref(), asking)
    }

    fn proof_by(&self, way: Option<&Way>, asking: &Asking<'_>) -> Result<Proof, RegistryError> {
        let credential =
            || asking.client.options.keyring.find(&asking.host.registry, asking.repository);
        match way {
            None => Ok(Proof::default()),
            Some(Way::Basic) => match credential()? {
                Some(Credential::Password { username, password }) => {
                    Ok(Proof { header: Some(basic(&username, &password)), had_credentials: true })
                }
                Some(Credential::RegistryToken(token)) => Ok(bearer(&token, true)),
                _ => Ok(Proof::default()),
            },
            Some(way @ Way::Bearer { .. }) => {
                let credential = credential()?;
                if let Some(Credential::RegistryToken(token)) = &credential {
                    return Ok(bearer(token, true));
                }
                self.token(way, credential.as_ref(), asking)
                    .map(|token| bearer(&token.secret, token.had_credentials))
            }
        }
    }

    /// Learns from a refusal and returns what to send instead of `sent`; nothing if the server has
    /// refused what it asked for.
    pub(super) fn learn(
        &self,
        answer: &Response,
        sent: &Proof,
        asking: &Asking<'_>,
    ) -> Result<Option<Proof>, RegistryError> {
        let headers = answer.headers("www-authenticate");
        let challenges: Vec<Challenge> = headers.into_iter().flat_map(Challenge::parse).collect();
        let by = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let bearer = by("bearer").and_then(|c| c.parameter("realm").map(|realm| (c, realm)));
        let (way, scopes) = match (bearer, by("basic")) {
            (Some((challenge, realm)), _) => {
                let service = challenge.parameter("service").map(str::to_owned);
                let asked = Scopes::parse(challenge.parameter("scope").unwrap_or_default());
                (
                    Way::Bearer { realm: realm.to_owned(), service },
                    asking.scopes.clone().union(&asked),
                )
            }
            (None, Some(_)) => (Way::Basic, asking.scopes.clone()),
            (None, None) if challenges.is_empty() => return Ok(None),
            (None, None) => {
                let schemes: Vec<String> =
                    challenges.into_iter().map(|c| shown(&c.scheme)).collect();
                let (registry, schemes) = (asking.host.authority.clone(), schemes.join(", "));
                return Err(RegistryError::Scheme { registry, schemes });
            }
        };
        *lock(&self.way) = Some(way.clone());
        let asking = Asking { scopes: &scopes, ..*asking };
        // The token that was refused may have been taken back before its end.
        if sent.header.is_some() {
            self.forget(sent);
        }
        let proof = self.proof_by(Some(&way), &asking)?;
        let is_new = proof.header.is_some() && proof.header != sent.header;
        Ok(is_new.then_some(proof))
    }

    fn forget(&self, sent: &Proof) {
        for slot in lock(&self.tokens).values() {
            // Who fetches one just now holds the lock; that one is new.
            if let Ok(mut token) = slot.try_lock()
                && token
                    .as_ref()
                    .is_some_and(|token| bearer(&token.secret, false).header == sent.header)
            {
                *token = None;
            }
        }
    }

    fn token(
        &self,
        way: &Way,
        credential: Option<&Credential>,
        asking: &Asking<'_>,
    ) -> Result<Token, RegistryError> {
        let key = (way.clone(), asking.repository.to_owned(), asking.scopes.clone());
        let slot = Arc::clone(lock(&self.tokens).entry(key).or_default());
        // Others that want the same token wait here until it is there.
        let mut kept = lock(&slot);
        if let Some(token) = kept.as_ref().filter(|token| token.until > Instant::now() + MARGIN) {
            return Ok(token.clone());
        }
        let Way::Bearer { realm, service } = way else { return Err(RegistryError::Cancelled) };
        let fetched = fetch(realm, service.as_deref(), credential, asking)?;
        *kept = Some(fetched.clone());
        Ok(fetched)
    }
}

fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal()))))
}

fn bearer(token: &Secret, had_credentials: bool) -> Proof {
    Proof { header: Some(Secret::new(format!("Bearer {}", token.reveal()))), had_credentials }
}

/// Asks the token server. A password travels as Basic with a GET, an identity token in the form of a
/// POST; where a server knows no GET, a password does too.
fn fetch(
    realm: &str,
    service: Option<&str>,
    credential: Option<&Credential>,
    asking: &Asking<'_>,
) -> Result<Token, RegistryError> {
    let registry = asking.host.authority.clone();
    let base = asking.host.url("/")?.resolve(realm);
    let Some(url) = base else {
        let reason = format!("{:?} is no URL of one", shown(realm));
        return Err(RegistryError::Token { registry, url: asking.host.url("/")?, reason });
    };
    let server = asking.client.other_host(&url)?;
    if credential.is_some() && !server.is_private(&url) {
        return Err(RegistryError::Clear { registry, url });
    }
    let answer = match credential {
        Some(Credential::IdentityToken(token)) => {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", token.reveal())];
            post(&server, &url, service, &grant, asking)?
        }
        _ => {
            let answer = get(&server, &url, service, credential, asking)?;
            match credential {
                Some(Credential::Password { username, password })
                    if matches!(answer.status, 404 | 405) =>
                {
                    let grant = [
                        ("grant_type", "password"),
                        ("username", username.as_str()),
                        ("password", password.reveal()),
                    ];
                    post(&server, &url, service, &grant, asking)?
                }
                _ => answer,
            }
        }
    };
    let subject = format!("{}: token", asking.subject);
    if answer.status != 200 {
        return Err(answer.refusal(
            &asking.host.registry,
            &subject,
            &Method::GET,
            credential.is_some(),
        ));
    }
    let bytes = answer.read(&subject, ANSWER_BYTES_MAX)?;
    let failed = |reason: &str| RegistryError::Token {
        registry: registry.clone(),
        url: url.clone(),
        reason: reason.to_owned(),
    };
    // The parser's own words could quote a token.
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| failed("it is no JSON"))?;
    let text = |name| value.get(name).and_then(Value::as_str).filter(|t: &&str| !t.is_empty());
    let token = text("token").or_else(|| text("access_token"));
    let secret =
        Secret::new(token.ok_or_else(|| failed("neither token nor access_token is there"))?);
    if HeaderValue::from_str(secret.reveal()).is_err() {
        return Err(failed("it cannot be sent in a header"));
    }
    let life = value.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
    // A day is longer than any transfer; the bound keeps the sum in range.
    let life = life.unwrap_or(LIFE_MIN).clamp(LIFE_MIN, Duration::from_hours(24));
    let until = Instant::now() + life;
    Ok(Token { secret, until, had_credentials: credential.is_some() })
}

fn get(
    server: &Host,
    url: &Url,
    service: Option<&str>,
    credential: Option<&Credential>,
    asking: &Asking<'_>,
) -> Result<Response, RegistryError> {
    let mut url = url.clone();
    if let Some(service) = service {
        url = url.with_query("service", service);
    }
    for scope in asking.scopes.each() {
        url = url.with_query("scope", &scope);
    }
    let mut headers = Vec::new();
    if let Some(Credential::Password { username, password }) = credential {
        url = url.with_query("account", username);
        let proof = Proof { header: Some(basic(username, password)), had_credentials: true };
        headers.extend(proof.header());
    }
    server.exchange(asking.subject, &Method::GET, &url, &headers, &Payload::None)
}

fn post(
    server: &Host,
    url: &Url,
    service: Option<&str>,
    grant: &[(&str, &str)],
    asking: &Asking<'_>,
) -> Result<Response, RegistryError> {
    let scopes = asking.scopes.to_string();
    let mut fields = grant.to_vec();
    fields.extend([("service", service.unwrap_or_default()), ("client_id", CLIENT_ID)]);
    fields.push(("scope", &scopes));
    let form: Vec<String> =
        fields.into_iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let form = form.join("&");
    let payload = Payload::Bytes(form.as_bytes());
    server.exchange(asking.subject, &Method::POST, url, &[(CONTENT_TYPE, kind)], &payload)
}
