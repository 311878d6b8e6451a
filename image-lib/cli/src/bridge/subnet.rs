//! Which addresses the bridge has: 256 private ones to which the host has no other way.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use keel_image::build::NetworkError;

use super::failed;

/// 256 addresses in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet([u8; 3]);

/// Where a range for the bridge may lie; the third byte is free.
const CANDIDATES: [[u8; 2]; 3] = [[10, 117], [172, 30], [192, 168]];

impl Subnet {
    pub(super) fn address(self, number: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, number)
    }

    /// The host's own address.
    pub(super) fn gateway(self) -> Ipv4Addr {
        self.address(1)
    }

    fn overlaps(self, other: Ipv4Addr, bits: u32) -> bool {
        let common = bits.min(24);
        let mask = u32::MAX.checked_shl(32 - common).unwrap_or(0);
        (u32::from(self.address(0)) ^ u32::from(other)) & mask == 0
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/24", self.address(0))
    }
}

impl FromStr for Subnet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let address: Ipv4Addr = text.strip_suffix("/24").ok_or(())?.parse().map_err(drop)?;
        let [a, b, c, _] = address.octets();
        Ok(Self([a, b, c]))
    }
}

/// A range that collides with no route and no name server.
pub(super) fn free(routes: &str) -> Result<Subnet, NetworkError> {
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    choose(routes, &resolver)
        .ok_or_else(|| failed("every private range of addresses is one that the host uses"))
}

fn choose(routes: &str, resolver: &str) -> Option<Subnet> {
    let route = |line: &str| line.split_whitespace().find_map(range);
    let server = |line: &str| range(line.strip_prefix("nameserver")?.trim());
    let taken: Vec<_> =
        routes.lines().filter_map(route).chain(resolver.lines().filter_map(server)).collect();
    let all = CANDIDATES.iter().flat_map(|[a, b]| (0..=255).map(|c| Subnet([*a, *b, c])));
    all.into_iter().find(|subnet| !taken.iter().any(|(other, bits)| subnet.overlaps(*other, *bits)))
}

/// `ADDRESS[/BITS]`; a default route is none.
fn range(word: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = word.split_once('/').unwrap_or((word, "32"));
    let bits = bits.parse().ok().filter(|bits| (1..=32).contains(bits))?;
    Some((address.parse().ok()?, bits))
}

#[cfg(test)]
mod tests {
    use super::{Subnet, choose};

    #[test]
    fn the_range_is_one_that_the_host_does_not_use() {
        let of = |routes: &str, resolver: &str| choose(routes, resolver).map(|s| s.to_string());
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(of("", ""), found("10.117.0.0/24"));
        let routes = "default via 192.0.2.1 dev eth0\n10.117.0.0/23 dev a\nlocal 10.117.2.9 dev b table local\n";
        assert_eq!(of(routes, ""), found("10.117.3.0/24"));
        assert_eq!(of("", "search x\nnameserver 10.117.0.53\n"), found("10.117.1.0/24"));
        assert_eq!(of("10.0.0.0/8 dev a\nblackhole 172.16.0.0/12\n", ""), found("192.168.0.0/24"));
        assert_eq!(of("10.0.0.0/8 dev a\n128.0.0.0/1 dev b\n", ""), None);
    }

    #[test]
    fn a_range_is_written_and_read() {
        let subnet: Subnet = "10.117.3.0/24".parse().unwrap();
        assert_eq!(
            (subnet.gateway().to_string(), subnet.to_string()),
            ("10.117.3.1".into(), "10.117.3.0/24".into())
        );
        assert!("10.117.3.0".parse::<Subnet>().is_err());
    }
}
