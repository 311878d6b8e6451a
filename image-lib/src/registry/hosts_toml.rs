//! containerd's `certs.d/HOST/hosts.toml`: which servers stand in for a registry, what each of them may be
//! asked for and how it is spoken to. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::tls::HostTls;
use super::url::Url;

/// One server of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Scheme, host and port, and the path of the interface if `override_path` says so.
    pub url: Url,
    /// Is the path of the URL all of the interface's, so that `/v2` is not added?
    pub has_own_path: bool,
    /// May it be asked what a tag means?
    pub may_resolve: bool,
    /// May it be asked for manifests and blobs by their digests?
    pub may_pull: bool,
    /// What is trusted and shown there.
    pub tls: HostTls,
    /// Headers that go there.
    pub headers: Vec<(String, String)>,
    /// How long a connection may take to come about.
    pub dial_timeout: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    server: Option<String>,
    host: BTreeMap<String, Properties>,
    #[serde(flatten)]
    own: Properties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Properties {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<toml::Value>,
    skip_verify: bool,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn each(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// The servers of a file, in the order in which they are asked. `folder` is where it stands, for paths
/// that are relative; `default` the registry's own URL, which is the last if the file names no other.
///
/// # Errors
/// It is no TOML, or says what cannot be.
pub fn parse(text: &str, folder: &Path, default: &Url) -> Result<Vec<Server>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names: Vec<&String> = file.host.keys().collect();
    let order = order(text);
    names.sort_by_key(|name| order.get(name.as_str()).copied().unwrap_or(usize::MAX));
    let mut servers = Vec::new();
    for name in names {
        servers.push(server(name, &file.host[name], folder)?);
    }
    let last = file.server.unwrap_or_else(|| default.to_string());
    servers.push(server(&last, &file.own, folder)?);
    Ok(servers)
}

/// Where the table of each host begins: their order is the order of the file.
fn order(text: &str) -> BTreeMap<String, usize> {
    let Ok(table) = toml::de::DeTable::parse(text) else { return BTreeMap::new() };
    let hosts = table.get_ref().get("host").and_then(|hosts| hosts.get_ref().as_table());
    let hosts = hosts.into_iter().flatten();
    hosts.map(|(name, _)| (name.get_ref().to_string(), name.span().start)).collect()
}

fn server(name: &str, own: &Properties, folder: &Path) -> Result<Server, String> {
    let full = if name.contains("://") { name.to_owned() } else { format!("https://{name}") };
    let url = Url::parse(&full).ok_or_else(|| format!("{name:?} is no URL of a registry"))?;
    let capability = |word: &str| {
        own.capabilities.as_ref().is_none_or(|own| own.iter().any(|capability| capability == word))
    };
    let path = |text: &str| folder.join(text);
    let mut tls = HostTls { is_unverified: own.skip_verify, ..HostTls::default() };
    let authorities = own.ca.as_ref().map_or(&[][..], OneOrMany::each);
    tls.authorities = authorities.iter().map(|text| path(text)).collect();
    tls.client = client(own.client.as_ref(), folder)?;
    let headers = own.header.iter();
    let headers = headers.flat_map(|(name, values)| {
        values.each().iter().map(move |value| (name.clone(), value.clone()))
    });
    let dial_timeout = own.dial_timeout.as_deref().map(duration).transpose()?;
    Ok(Server {
        url,
        has_own_path: own.override_path,
        may_resolve: capability("resolve"),
        may_pull: capability("pull"),
        tls,
        headers: headers.collect(),
        dial_timeout,
    })
}

/// `client = "both.pem"`, `["both.pem"]` or `[["a.cert", "a.key"]]`; of several the first.
fn client(
    value: Option<&toml::Value>,
    folder: &Path,
) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let refused = || "client is a path, or a list of pairs of paths".to_owned();
    let first = match value {
        None => return Ok(None),
        Some(toml::Value::Array(list)) => match list.first() {
            None => return Ok(None),
            Some(first) => first,
        },
        Some(other) => other,
    };
    let path =
        |value: &toml::Value| value.as_str().map(|text| folder.join(text)).ok_or_else(refused);
    match first {
        toml::Value::Array(pair) => match &pair[..] {
            [both] => Ok(Some((path(both)?, path(both)?))),
            [certificate, key] => Ok(Some((path(certificate)?, path(key)?))),
            _ => Err(refused()),
        },
        both => Ok(Some((path(both)?, path(both)?))),
    }
}

/// Go's `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("dial_timeout: {text:?} is no duration");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| refused())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())?;
        total = total.checked_add(part).ok_or_else(refused)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn servers(text: &str) -> Result<Vec<Server>, String> {
        parse(text, Path::new("/d"), &Url::parse("https://r.io").unwrap())
    }

    #[test]
    fn keeps_the_order_of_the_file() {
        let found = servers(
            r#"
            server = "https://upstream.io"
            [host."https://z.io"]
              capabilities = ["pull"]
              ca = "z.crt"
              skip_verify = true
              dial_timeout = "1m1.5s"
              [host."https://z.io".header]
                x-a = ["1", "2"]
            [host."http://a.io:5000/own/path"]
              capabilities = ["pull", "resolve"]
              override_path = true
              client = [["c.cert", "/abs/c.key"]]
            "#,
        )
        .unwrap();
        let urls: Vec<String> = found.iter().map(|s| s.url.to_string()).collect();
        assert_eq!(urls, ["https://z.io/", "http://a.io:5000/own/path", "https://upstream.io/"]);
        assert!(found[0].may_pull && !found[0].may_resolve && found[0].tls.is_unverified);
        assert_eq!(found[0].tls.authorities, [PathBuf::from("/d/z.crt")]);
        assert_eq!(found[0].dial_timeout, Some(Duration::from_millis(61_500)));
        assert_eq!(found[0].headers.len(), 2);
        assert!(found[1].has_own_path && found[1].may_resolve);
        assert_eq!(found[1].tls.client, Some(("/d/c.cert".into(), "/abs/c.key".into())));
        assert!(found[2].may_resolve);
    }

    #[test]
    fn the_registry_itself_is_the_last() {
        assert_eq!(servers("").unwrap()[0].url.to_string(), "https://r.io/");
        let own = servers("skip_verify = true\nca = ['a']").unwrap();
        assert!(own[0].tls.is_unverified && own[0].tls.authorities.len() == 1);
        for text in ["server = 'ftp://x'", "dial_timeout = '5'", "client = 5", "[host.'a b']", "="]
        {
            assert!(servers(text).is_err(), "{text}");
        }
    }
}
