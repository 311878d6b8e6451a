//! Files that say how registries are reached: docker's config.json and auth.json, registries.conf, hosts.toml, and
//! NO_PROXY. The first byte chooses.
#![no_main]

use std::path::Path;

use keel_image::auth::AuthFile;
use keel_image::registry::{Meaning, ProxyRules, RegistriesConf, Scheme, Url, parse_hosts_toml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match choice % 4 {
        0 => {
            let Ok(file) = AuthFile::parse(rest) else { return };
            let _ = file.http_headers();
            for registry in file.registries() {
                // Nothing that it has comes into a debug message but names.
                assert!(format!("{file:?}").contains(&format!("{registry:?}")));
                let _ = file.has_credential(registry, "team/app");
            }
        }
        1 => {
            let Ok(conf) = RegistriesConf::parse(text) else { return };
            for name in ["docker.io/library/busybox", "a.example.com:5000/x", "localhost/y"] {
                if let Some(Meaning::Places(places)) = conf.meaning(name) {
                    let itself = places.last().expect("the registry itself");
                    assert!(itself.has_tags && itself.has_digests);
                }
            }
            assert_eq!(conf.clone().with(conf.clone()).meaning("a/b"), conf.meaning("a/b"));
        }
        2 => {
            let own = Url::parse("https://registry.example").expect("a URL");
            if let Ok(servers) = parse_hosts_toml(text, Path::new("/"), &own) {
                assert!(!servers.is_empty());
            }
        }
        _ => {
            let rules = ProxyRules::of(&|name| match name {
                "HTTPS_PROXY" => Some("http://proxy".to_owned()),
                "NO_PROXY" => Some(text.to_owned()),
                _ => None,
            });
            assert_eq!(rules.proxy_of(Scheme::Https, "localhost:5000", 5000), None);
            for host in ["a.example.com", "10.1.2.3:5000", "[fd00::1]:443"] {
                let _ = rules.proxy_of(Scheme::Https, host, 443);
            }
        }
    }
});
