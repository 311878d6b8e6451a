//! What a build is given for servers of http that ask who one is: secrets with names that BuildKit has fixed. None of
//! them is shown to a command that does not ask for it, and each is sent to the server alone that it is for.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::RemoteError;
use crate::build::options::SecretSource;

type Secrets = BTreeMap<String, SecretSource>;

/// `Authorization` for the repository at `url`: `GIT_AUTH_HEADER` is the value itself, `GIT_AUTH_TOKEN` the password of
/// the user `x-access-token`; one with `.HOST[:PORT]` behind its name wins over one without.
pub(super) fn git_authorization(
    secrets: &Secrets,
    url: &str,
) -> Result<Option<String>, RemoteError> {
    let Some(authority) = authority(url) else { return Ok(None) };
    for suffix in [format!(".{authority}"), String::new()] {
        if let Some(header) = read(secrets, &format!("GIT_AUTH_HEADER{suffix}"))? {
            return Ok(Some(header));
        }
        if let Some(token) = read(secrets, &format!("GIT_AUTH_TOKEN{suffix}"))? {
            let value = STANDARD.encode(format!("x-access-token:{token}"));
            return Ok(Some(format!("Basic {value}")));
        }
    }
    Ok(None)
}

/// `Authorization` for the file at `url`: `HTTP_AUTH_TOKEN_HOST` is a bearer token, `HTTP_AUTH_HEADER_HOST` the value
/// itself. The host is meant at any port.
pub(super) fn http_authorization(
    secrets: &Secrets,
    url: &str,
) -> Result<Option<String>, RemoteError> {
    let Some(authority) = authority(url) else { return Ok(None) };
    let host = host(authority);
    // With both BuildKit takes the token.
    if let Some(token) = read(secrets, &format!("HTTP_AUTH_TOKEN_{host}"))? {
        return Ok(Some(format!("Bearer {token}")));
    }
    read(secrets, &format!("HTTP_AUTH_HEADER_{host}"))
}

/// Host and port of a URL for http.
fn authority(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest[..end].rsplit('@').next()
}

/// The host without the port, and without the brackets of an address of IPv6.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

/// A secret that becomes part of a header; files of secrets mostly end with a line end.
fn read(secrets: &Secrets, id: &str) -> Result<Option<String>, RemoteError> {
    let Some(source) = secrets.get(id) else { return Ok(None) };
    let refused = |reason: String| RemoteError::Secret { id: id.to_owned(), reason };
    let bytes = source.read().map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("it is no text".to_owned()))?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(refused(
            "it is no value of a header: it is empty, or has several lines".to_owned(),
        ));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Secrets, git_authorization, host, http_authorization};
    use crate::build::options::SecretSource;

    /// Secrets in files of `directory`.
    fn secrets(directory: &std::path::Path, pairs: &[(&str, &str)]) -> Secrets {
        let one = |(id, value): &(&str, &str)| {
            let path = directory.join(id.replace(['/', ':'], "-"));
            std::fs::write(&path, value).unwrap();
            ((*id).to_owned(), SecretSource::File(path))
        };
        pairs.iter().map(one).collect()
    }

    #[test]
    fn the_more_precise_secret_wins() {
        let name = format!("keel-credentials-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let all = secrets(
            &directory,
            &[
                ("GIT_AUTH_TOKEN", "t\n"),
                ("GIT_AUTH_HEADER.h:8443", "Bearer x"),
                ("GIT_AUTH_TOKEN.h:8443", "never"),
                ("HTTP_AUTH_HEADER_h", "Basic y"),
                ("HTTP_AUTH_TOKEN_::1", "z"),
                ("HTTP_AUTH_HEADER_::1", "never"),
                ("HTTP_AUTH_TOKEN_two", "a\nb"),
            ],
        );
        let git = |url| git_authorization(&all, url).unwrap();
        assert_eq!(git("https://h/a.git").as_deref(), Some("Basic eC1hY2Nlc3MtdG9rZW46dA=="));
        assert_eq!(git("https://h:8443/a.git").as_deref(), Some("Bearer x"));
        assert_eq!(git("git@h:a.git"), None);
        let http = |url| http_authorization(&all, url).unwrap();
        assert_eq!(http("http://h:1/a").as_deref(), Some("Basic y"));
        assert_eq!(http("http://[::1]:1/a").as_deref(), Some("Bearer z"));
        assert_eq!(http("http://h.org/a"), None);
        assert!(
            http_authorization(&all, "http://two/a")
                .unwrap_err()
                .to_string()
                .contains("HTTP_AUTH_TOKEN_two")
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn finds_hosts() {
        assert_eq!((host("h"), host("h:1"), host("[::1]:1")), ("h", "h", "::1"));
    }
}
