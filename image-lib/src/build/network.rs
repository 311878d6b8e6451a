//! The network of a `RUN`: who makes one, and the files by which the command finds its way in it.
//!
//! The library makes no interfaces itself: that needs programs or rights that not every caller has, so that it is
//! the caller's affair, see [`StepNetworks`].

use std::fmt::Debug;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::dockerfile::instruction::Network;
use super::error::StepError;
use crate::bundle;

/// The name of every build container, for itself.
pub(super) const HOSTNAME: &str = "buildsandbox";

/// Where the resolver of a host is configured.
const RESOLVER: &str = "/etc/resolv.conf";
/// The servers that systemd-resolved asks itself, where the first names nobody but it.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Makes a network for every command that has neither the host's nor none.
///
/// Laws: no two attachments that are there at the same time have the same address or namespace; it may be called
/// from several threads at once; when the last attachment and the maker are dropped, nothing is left. A network that
/// a command with [`Rights::Ordinary`] has had may be another's afterwards; after one with all rights it may not.
pub trait StepNetworks: Debug + Send + Sync {
    /// A network for one command that has these rights in it.
    ///
    /// # Errors
    /// It cannot be made.
    fn attach(&self, rights: Rights) -> Result<Attachment, NetworkError>;
}

/// What a command may do with its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Use it, but not change it: its processes end with the command, and with them all that they did.
    Ordinary,
    /// Change interfaces, routes and rules (`RUN --security=insecure`).
    All,
}

/// The network of one command.
#[derive(Debug)]
pub struct Attachment {
    /// The file of its network namespace.
    pub namespace: PathBuf,
    /// The command's own address.
    pub address: IpAddr,
    /// Where the host is from there.
    pub gateway: IpAddr,
    /// Ends it when it is dropped.
    pub guard: Box<dyn Undo>,
}

/// What ends an [`Attachment`] when it is dropped.
pub trait Undo: Debug + Send + Sync {}

/// Why there is no network for a command.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a network for RUN: {reason}")]
pub struct NetworkError {
    /// What went wrong.
    pub reason: String,
    /// What the user can do.
    pub hint: Option<String>,
}

/// A further name for commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostAddress {
    /// The address that it has.
    Address(IpAddr),
    /// The host itself, from the command's network.
    Gateway,
}

/// What a command is connected to.
pub(super) enum Link {
    Host,
    Nothing,
    Own(Attachment),
}

impl Link {
    /// The link that a command of this kind of network gets.
    pub(super) fn make(
        network: Network,
        networks: Option<&dyn StepNetworks>,
        rights: Rights,
    ) -> Result<Self, StepError> {
        match (network, networks) {
            (Network::Host, _) => Ok(Self::Host),
            (Network::Default, Some(networks)) => Ok(Self::Own(networks.attach(rights)?)),
            (Network::None | Network::Default, _) => Ok(Self::Nothing),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// What the container's configuration says of it.
    pub(super) fn network(&self) -> bundle::Network {
        match self {
            Self::Host => bundle::Network::Host,
            Self::Nothing => bundle::Network::None,
            Self::Own(attachment) => bundle::Network::Namespace(attachment.namespace.clone()),
        }
    }

    /// The content of `/etc/hosts`.
    pub(super) fn hosts(&self, further: &[(String, HostAddress)]) -> String {
        let own = if matches!(self, Self::Own(_)) { "" } else { HOSTNAME };
        let mut hosts = format!(
            "127.0.0.1\tlocalhost {own}\n::1\tlocalhost ip6-localhost ip6-loopback {own}\n"
        )
        .replace(" \n", "\n");
        let gateway = match self {
            Self::Own(attachment) => {
                hosts.push_str(&format!("{}\t{HOSTNAME}\n", attachment.address));
                attachment.gateway
            }
            _ => std::net::Ipv4Addr::LOCALHOST.into(),
        };
        for (name, address) in further {
            let address = match address {
                HostAddress::Address(address) => *address,
                HostAddress::Gateway => gateway,
            };
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        hosts
    }

    /// The content of `/etc/resolv.conf`. Without a network there is nobody to ask, so that it is empty.
    pub(super) fn resolver(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        match self {
            Self::Nothing => String::new(),
            Self::Host => read(RESOLVER),
            Self::Own(_) => reachable(&read(RESOLVER), || read(BEHIND_RESOLVED)),
        }
    }
}

/// A resolver's configuration without servers on the loopback interface, which is another one in a network of
/// one's own. Where none is left, the servers behind systemd-resolved stand in.
fn reachable(text: &str, behind: impl FnOnce() -> String) -> String {
    let kept = without_loopback(text);
    if has_server(&kept) {
        return kept;
    }
    let behind = without_loopback(&behind());
    if has_server(&behind) { behind } else { kept }
}

fn without_loopback(text: &str) -> String {
    let is_kept = |line: &&str| server(line).is_none_or(|address| !address.is_loopback());
    text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

fn has_server(text: &str) -> bool {
    text.lines().any(|line| server(line).is_some())
}

/// The address of a line `nameserver ADDRESS`; a zone may follow it.
fn server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
    address.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn servers_on_the_loopback_interface_are_left_out() {
        let of = |text: &str, behind: &str| reachable(text, || behind.to_owned());
        let plain = "search a.b\nnameserver 192.0.2.1\noptions ndots:2\n";
        assert_eq!(of(plain, "nameserver 192.0.2.9\n"), plain);
        let mixed = "nameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n";
        assert_eq!(of(mixed, ""), "nameserver 192.0.2.1\n");
        let stub = "nameserver 127.0.0.53\nsearch a\n";
        assert_eq!(
            of(stub, "nameserver fe80::1%eth0\nsearch b\n"),
            "nameserver fe80::1%eth0\nsearch b\n"
        );
        assert_eq!(of(stub, "nameserver 127.0.0.1\n"), "search a\n");
        assert_eq!(of("", ""), "");
    }
}
