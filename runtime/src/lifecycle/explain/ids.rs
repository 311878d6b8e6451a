//! Whether the ids of a bundle with a user namespace can be had: within the container they must be mapped, and who
//! is not root may map its own id and what /etc/subuid and /etc/subgid give it (newuidmap(1)).

use super::Cause;
use super::host::cause;
use crate::config::linux::{IdMapping, NamespaceKind};
use crate::config::process::Process;
use crate::config::spec::Spec;
use crate::sys::process::{getegid, geteuid};

pub(super) fn check(spec: &Spec, process: &Process, privileged: bool, causes: &mut Vec<Cause>) {
    if !spec.linux.creates(NamespaceKind::User) {
        return;
    }
    unmapped(spec, process, causes);
    if !privileged {
        not_given(spec, causes);
    }
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        let what = "user.max_user_namespaces is 0".to_owned();
        let field = "linux.namespaces";
        causes.push(cause("user-namespaces-off", field, "ENOSPC", what, "raise the sysctl"));
    }
}

fn unmapped(spec: &Spec, process: &Process, causes: &mut Vec<Cause>) {
    let (uids, gids) = (&spec.linux.uid_mappings, &spec.linux.gid_mappings);
    let (user, groups) = (&process.user, &process.user.additional_gids);
    let all = [
        ("linux.uidMappings", uids, "process.user.uid", std::slice::from_ref(&user.uid)),
        ("linux.gidMappings", gids, "process.user.gid", std::slice::from_ref(&user.gid)),
        ("linux.gidMappings", gids, "process.user.additionalGids", groups.as_slice()),
    ];
    for (field, mappings, of_process, ids) in all {
        for id in ids {
            let holds = |map: &IdMapping| *id >= map.container && id - map.container < map.size;
            if !mappings.is_empty() && !mappings.iter().any(holds) {
                let what = format!("id {id} is not in {field}");
                let hint = "add it to the mappings";
                causes.push(cause("id-unmapped", of_process, "EINVAL", what, hint));
            }
        }
    }
}

fn not_given(spec: &Spec, causes: &mut Vec<Cause>) {
    let (uid, gid) = (geteuid(), getegid());
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, uid);
    for (field, file, tool, mappings, own) in [
        ("linux.uidMappings", "/etc/subuid", "newuidmap", &spec.linux.uid_mappings, uid),
        ("linux.gidMappings", "/etc/subgid", "newgidmap", &spec.linux.gid_mappings, gid),
    ] {
        // The kernel lets everybody map the one id that is one's own.
        if matches!(mappings.as_slice(), [] | [IdMapping { size: 1, .. }])
            && mappings.iter().all(|map| map.host == own)
        {
            continue;
        }
        if !in_path(tool) {
            let what =
                format!("more than the caller's own id is mapped, and {tool} is not installed");
            let hint = "install uidmap and give the user a range in /etc/subuid and /etc/subgid, or map one id";
            causes.push(cause("mapping", field, "EPERM", what, hint));
            continue;
        }
        if ranges_are_elsewhere() {
            continue;
        }
        let table = std::fs::read_to_string(file).unwrap_or_default();
        let given = ranges(&table, name, uid);
        for (index, map) in mappings.iter().enumerate() {
            if !may_map(map, own, &given) {
                let last = u64::from(map.host) + u64::from(map.size).saturating_sub(1);
                let given = given.iter().map(|(first, count)| format!("{count} from {first} on"));
                let given = given.collect::<Vec<_>>().join(", ");
                let given = if given.is_empty() { "none".to_owned() } else { given };
                let what = format!(
                    "the ids {} to {last} of the host are not this user's to map ({file}: {given})",
                    map.host
                );
                let field = format!("{field}[{index}]");
                let hint = "map what the user was given, or have root give more (usermod --add-subuids, \
                            --add-subgids)";
                causes.push(cause("subordinate-ids", field, "EPERM", what, hint));
            }
        }
    }
}

/// The user's ranges in a table of subuid(5), by name or number: first id and count.
fn ranges(table: &str, name: Option<&str>, uid: u32) -> Vec<(u64, u64)> {
    let uid = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let mine = owner == uid || Some(owner) == name;
        let mut number = || fields.next()?.trim().parse().ok();
        mine.then_some((number()?, number()?))
    };
    table.lines().filter_map(range).collect()
}

fn may_map(map: &IdMapping, own: u32, given: &[(u64, u64)]) -> bool {
    let (first, count) = (u64::from(map.host), u64::from(map.size));
    let within =
        |&(start, size): &(u64, u64)| first >= start && first + count <= start.saturating_add(size);
    map.size == 1 && map.host == own || given.iter().any(within)
}

/// Whether the host asks another source than the two files (`subid` in nsswitch.conf(5)).
fn ranges_are_elsewhere() -> bool {
    let text = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let source = text.lines().find_map(|line| line.trim().strip_prefix("subid:"));
    source.is_some_and(|source| source.trim() != "files")
}

fn name_of(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    })
}

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ranges_by_name_and_number() {
        let table = "ann:100000:65536\nbob:7:1\n1000:300000:10\nbroken\nann:x:1\n";
        assert_eq!(ranges(table, Some("ann"), 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(ranges(table, None, 5), []);
        assert_eq!(name_of("root:x:0:0::/:\nann:x:1000:1::/:\n", 1000), Some("ann"));
    }

    #[test]
    fn permits_ones_own_id_and_what_was_given() {
        let given = [(100_000, 10)];
        for (host, size, expected) in [
            (1000, 1, true),
            (1000, 2, false),
            (100_000, 10, true),
            (100_001, 10, false),
            (0, 1, false),
        ] {
            let map = IdMapping { container: 0, host, size };
            assert_eq!(may_map(&map, 1000, &given), expected, "{host} {size}");
        }
    }
}
