//! Capabilities by name (capabilities(7)).

use super::BundleError;

/// What a container may do by default: Docker's fourteen, in Docker's order.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// All of Linux, by number.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

fn parse(name: &str) -> Result<Option<&'static str>, BundleError> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if short == "ALL" {
        return Ok(None);
    }
    let known = ALL.iter().find(|known| **known == short).copied();
    known.map(Some).ok_or_else(|| BundleError::Capability { name: name.to_owned() })
}

/// The capabilities of a container with their `CAP_` prefix: the default ones with `add` and
/// without `drop`; `ALL` names all. What is dropped by name is dropped, also from `ALL`; what is
/// added by name is added, also to nothing.
pub(super) fn effective(add: &[String], drop: &[String]) -> Result<Vec<String>, BundleError> {
    let add: Vec<_> = add.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let drop: Vec<_> = drop.iter().map(|name| parse(name)).collect::<Result<_, _>>()?;
    let mut names: Vec<&str> = match (add.contains(&None), drop.contains(&None)) {
        (true, _) => ALL.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.to_vec(),
    };
    names.extend(add.iter().flatten().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    names.retain(|name| !drop.contains(&Some(name)));
    names.dedup();
    Ok(names.into_iter().map(|name| format!("CAP_{name}")).collect())
}
