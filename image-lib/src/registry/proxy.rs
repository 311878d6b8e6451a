//! Which proxy the environment names for a host. The rules are those of Go's programs, which all other
//! tools of containers are. Pure but for reading the environment.

use std::net::IpAddr;

use super::RegistryError;
use super::url::{Scheme, host_of, is_loopback};

/// What the environment says about proxies.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyRules {
    http: Option<String>,
    https: Option<String>,
    exceptions: Vec<Exception>,
}

#[derive(Clone, PartialEq, Eq)]
enum Exception {
    All,
    Network(IpAddr, u8),
    /// A name, whether it stands for itself too or for what is below it only, and a port.
    Name {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
}

impl std::fmt::Debug for ProxyRules {
    /// Without the proxies, whose URLs may have passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyRules")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .finish_non_exhaustive()
    }
}

impl ProxyRules {
    /// What this process's environment says: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    /// also in small letters.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of(&|name| std::env::var(name).ok())
    }

    /// What an environment says whose variables `variable` tells.
    #[must_use]
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let value = variable(name).filter(|v| !v.is_empty());
            value.or_else(|| variable(&name.to_ascii_lowercase()).filter(|v| !v.is_empty()))
        };
        let all = either("ALL_PROXY");
        // In a CGI program HTTP_PROXY is what a stranger sent as the header "Proxy".
        let http = match variable("REQUEST_METHOD") {
            Some(_) => None,
            None => either("HTTP_PROXY"),
        };
        let exceptions = either("NO_PROXY").unwrap_or_default();
        Self {
            http: http.or_else(|| all.clone()),
            https: either("HTTPS_PROXY").or(all),
            exceptions: exceptions.split(',').filter_map(|text| exception(text.trim())).collect(),
        }
    }

    /// The proxy for a host, with its port, if one is to be used.
    #[must_use]
    pub fn proxy_of(&self, scheme: Scheme, authority: &str, port: u16) -> Option<&str> {
        let proxy = match scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        }?;
        let host = host_of(authority).to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let is_exception = is_loopback(authority)
            || self.exceptions.iter().any(|exception| match exception {
                Exception::All => true,
                Exception::Network(network, bits) => {
                    address.is_some_and(|address| is_in(address, *network, *bits))
                }
                Exception::Address { address: own, port: of } => {
                    address == Some(*own) && of.is_none_or(|of| of == port)
                }
                Exception::Name { name, itself, port: of } => {
                    let below = host.strip_suffix(name.as_str()).is_some_and(|h| h.ends_with('.'));
                    (below || *itself && host == *name) && of.is_none_or(|of| of == port)
                }
            });
        (!is_exception).then_some(proxy)
    }

    /// The proxy for a host, as the HTTP client wants it.
    pub(super) fn client_proxy(
        &self,
        scheme: Scheme,
        authority: &str,
        port: u16,
    ) -> Result<Option<ureq::Proxy>, RegistryError> {
        let Some(text) = self.proxy_of(scheme, authority, port) else { return Ok(None) };
        // Go takes a proxy without a scheme for one of http.
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // The proxy looks up names, as for Go: it may know some that this machine does not.
        let text = text.replacen("socks5://", "socks5h://", 1);
        let variable = match scheme {
            Scheme::Http => "HTTP_PROXY",
            Scheme::Https => "HTTPS_PROXY",
        };
        let reason = "it is no URL of a proxy: http://, https://, socks4:// or socks5://";
        ureq::Proxy::new(&text)
            .map(Some)
            .map_err(|_| RegistryError::Proxy { variable, reason: reason.to_owned() })
    }
}

fn exception(text: &str) -> Option<Exception> {
    if text.is_empty() {
        return None;
    }
    if text == "*" {
        return Some(Exception::All);
    }
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits): (IpAddr, u8) = (network.parse().ok()?, bits.parse().ok()?);
        let most = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= most).then_some(Exception::Network(network, bits));
    }
    if let Ok(address) = text.parse() {
        return Some(Exception::Address { address, port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Some(Exception::Address { address, port });
    }
    let host = host.to_ascii_lowercase();
    let host = host.strip_prefix('*').unwrap_or(&host);
    let itself = !host.starts_with('.');
    Some(Exception::Name { name: host.trim_start_matches('.').to_owned(), itself, port })
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let ((address, is_v4), (network, network_is_v4)) = (number(address), number(network));
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    is_v4 == network_is_v4 && address & mask == network & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(no_proxy: &str) -> ProxyRules {
        let no_proxy = no_proxy.to_owned();
        ProxyRules::of(&|name| match name {
            "HTTPS_PROXY" => Some("http://user:secret@p:3128".to_owned()),
            "no_proxy" => Some(no_proxy.clone()),
            _ => None,
        })
    }

    fn is_direct(no_proxy: &str, host: &str, port: u16) -> bool {
        rules(no_proxy).proxy_of(Scheme::Https, host, port).is_none()
    }

    #[test]
    fn knows_exceptions() {
        for (no_proxy, host, port, direct) in [
            ("", "r.io", 443, false),
            ("", "localhost:5000", 5000, true),
            ("", "127.0.0.1", 443, true),
            ("", "[::1]:5000", 5000, true),
            ("*", "r.io", 443, true),
            ("r.io", "r.io", 443, true),
            ("r.io", "a.r.io", 443, true),
            ("r.io", "ar.io", 443, false),
            (".r.io", "r.io", 443, false),
            (".r.io, b.io", "a.r.io", 443, true),
            ("*.r.io", "a.r.io", 443, true),
            ("r.io:5000", "r.io:5000", 5000, true),
            ("r.io:5000", "r.io", 443, false),
            ("10.0.0.0/8", "10.1.2.3:5000", 5000, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "r.io", 443, false),
            ("0.0.0.0/0", "11.1.2.3", 443, true),
            ("fd00::/8", "[fd12::1]:5000", 5000, true),
            ("fd00::/8", "10.0.0.1", 443, false),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("300.0.0.0/8,10.0.0.0/33", "10.1.2.3", 443, false),
        ] {
            assert_eq!(is_direct(no_proxy, host, port), direct, "{no_proxy:?} {host}");
        }
    }

    #[test]
    fn chooses_by_scheme_and_hides_passwords() {
        let rules = rules("");
        assert_eq!(rules.proxy_of(Scheme::Http, "r.io", 80), None);
        assert!(!format!("{rules:?}").contains("secret"));
        let cgi = ProxyRules::of(&|name| match name {
            "HTTP_PROXY" | "REQUEST_METHOD" => Some("x".to_owned()),
            _ => None,
        });
        assert_eq!(cgi.proxy_of(Scheme::Http, "r.io", 80), None);
    }
}
