//! The rules that let the commands out: their addresses are the host's outside, and their packets are forwarded
//! also where other rules forbid it by default, as Docker's do.

use keel_image::build::NetworkError;

use super::subnet::Subnet;
use super::{BRIDGE, program};

/// What holds the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Firewall {
    Iptables,
    Nftables,
}

/// The table of `nft`.
const TABLE: &str = "keel_build";

impl Firewall {
    /// The one that is there. Where both are it is iptables: what its chains forbid no table of nft can allow.
    pub(super) fn find() -> Result<Self, NetworkError> {
        match (program::is_there("iptables"), program::is_there("nft")) {
            (true, _) => Ok(Self::Iptables),
            (false, true) => Ok(Self::Nftables),
            (false, false) => Err(NetworkError {
                reason: "neither iptables nor nft is there".to_owned(),
                hint: Some(program::hint("iptables")),
            }),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nft",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Iptables, Self::Nftables].into_iter().find(|firewall| firewall.name() == name)
    }

    /// Lets commands of the range out.
    pub(super) fn open(self, subnet: Subnet) -> Result<(), NetworkError> {
        match self {
            Self::Iptables => restore("-I", subnet),
            Self::Nftables => program::run("nft", &["-f", "-"], &table(subnet)),
        }
    }

    /// Takes the rules away, as far as they are there.
    pub(super) fn close(self, subnet: Subnet) {
        match self {
            // All or, where some are missing, those that are there.
            Self::Iptables => {
                if restore("-D", subnet).is_err() {
                    rules(subnet).iter().for_each(|rule| drop(iptables("-D", rule)));
                }
            }
            Self::Nftables => {
                let _ = program::run("nft", &["delete", "table", "ip", TABLE], "");
            }
        }
    }
}

/// Table, chain and the rule itself.
fn rules(subnet: Subnet) -> [(&'static str, &'static str, String); 3] {
    let answers = "-m conntrack --ctstate RELATED,ESTABLISHED";
    [
        ("nat", "POSTROUTING", format!("-s {subnet} ! -o {BRIDGE} -j MASQUERADE")),
        ("filter", "FORWARD", format!("-s {subnet} -i {BRIDGE} -j ACCEPT")),
        ("filter", "FORWARD", format!("-d {subnet} -o {BRIDGE} {answers} -j ACCEPT")),
    ]
}

/// Does the same with all rules, by one program.
fn restore(verb: &str, subnet: Subnet) -> Result<(), NetworkError> {
    let mut text = String::new();
    for (table, chain, rule) in rules(subnet) {
        text.push_str(&format!("*{table}\n{verb} {chain} {rule}\nCOMMIT\n"));
    }
    program::run("iptables-restore", &["-w", "5", "--noflush"], &text)
}

fn iptables(verb: &str, (table, chain, rule): &(&str, &str, String)) -> Result<(), NetworkError> {
    // Others change rules, too; five seconds are a wait that has a bound.
    let mut words = vec!["-w", "5", "-t", table, verb, chain];
    words.extend(rule.split(' '));
    program::run("iptables", &words, "")
}

fn table(subnet: Subnet) -> String {
    format!(
        "table ip {TABLE} {{\n chain postrouting {{\n  type nat hook postrouting priority 100;\n  \
         ip saddr {subnet} oifname != \"{BRIDGE}\" masquerade\n }}\n}}\n"
    )
}
