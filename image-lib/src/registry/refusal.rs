//! An answer that is not the wanted one: what the registry says itself, and what one can do about it.

use std::fmt;
use std::time::Duration;

use super::url::Url;

/// An answer that is not the wanted one.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What was asked for: an image, a blob of it, a token.
    pub subject: String,
    /// The registry.
    pub registry: String,
    /// The request's method.
    pub method: String,
    /// The request's URL.
    pub url: Url,
    /// The status of the answer.
    pub status: u16,
    /// What the registry says itself: codes such as `MANIFEST_UNKNOWN`, and words.
    pub reasons: Vec<(String, String)>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it says about a limited rate.
    pub rate: Option<String>,
    /// Were credentials sent along?
    pub had_credentials: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, method, url, status, .. } = self;
        write!(f, "{subject}: {method} {url:?}: {status}{}", reason_of(*status))?;
        for (code, message) in &self.reasons {
            match (code.is_empty(), message.is_empty()) {
                (false, false) => write!(f, ": {message} ({code})")?,
                (false, true) => write!(f, ": {code}")?,
                _ => write!(f, ": {message}")?,
            }
        }
        if let Some(rate) = &self.rate {
            write!(f, "; {rate}")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "; to be tried again in {} s", wait.as_secs())?;
        }
        Ok(())
    }
}

fn reason_of(status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason());
    reason.map(|reason| format!(" {reason}")).unwrap_or_default()
}

impl Refusal {
    fn deletion_hint(&self) -> Option<String> {
        // The last part of the path is a tag or a digest.
        let path = self.url.target().split('?').next().unwrap_or_default();
        let is_tag = !path.rsplit('/').next().unwrap_or_default().contains(':');
        let hint = match is_tag {
            true => {
                "registries that delete no tags may delete manifests: --manifest deletes the tag's, and \
                 with it all other tags of it"
            }
            false if self.status == 400 => return None,
            false => {
                "the registry does not permit to delete (docker-registry does with \
                 storage.delete.enabled)"
            }
        };
        Some(hint.to_owned())
    }

    pub(super) fn hint(&self) -> Option<String> {
        let login = format!("keel-image login {}", self.registry);
        match self.status {
            400 | 405 | 501 if self.method == "DELETE" => self.deletion_hint(),
            401 if self.had_credentials => {
                Some(format!("the credentials were refused; renew them with: {login}"))
            }
            401 => Some(format!("log in with: {login}")),
            403 if self.had_credentials => {
                Some("the user that is logged in may not do this".to_owned())
            }
            403 => Some(format!("it may help to log in with: {login}")),
            413 => Some("send it in smaller pieces with --chunk-size".to_owned()),
            404 if !self.had_credentials => Some(format!("if it is private, log in with: {login}")),
            429 if !self.had_credentials => {
                Some(format!("users who log in often have a higher limit: {login}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::registry::RegistryError;

    #[test]
    fn tells_request_answer_and_way_out() {
        let refusal = Refusal {
            subject: "r.io/app:1".to_owned(),
            registry: "r.io".to_owned(),
            method: "GET".to_owned(),
            url: Url::parse("https://r.io/v2/app/manifests/1?sig=secret").unwrap(),
            status: 429,
            reasons: vec![("TOOMANYREQUESTS".to_owned(), "slow down".to_owned())],
            retry_after: Some(Duration::from_secs(30)),
            rate: Some("0 of 100 requests are left for 6 h".to_owned()),
            had_credentials: false,
        };
        let error = RegistryError::Answer(Box::new(refusal));
        assert_eq!(
            error.to_string(),
            "r.io/app:1: GET https://r.io/v2/app/manifests/1?…: 429 Too Many Requests: slow down \
             (TOOMANYREQUESTS); 0 of 100 requests are left for 6 h; to be tried again in 30 s"
        );
        assert!(error.is_transient());
        assert!(error.hint().unwrap().contains("login r.io"));
    }
}
