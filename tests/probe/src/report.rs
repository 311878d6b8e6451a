//! What the process sees of itself and of its surroundings, as one JSON object.
//!
//! Keys are stable: tests compare whole sub-objects between runtimes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use serde_json::{Value, json};

use crate::sys;

const RLIMITS: [(&str, u32); 8] = [
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
    ("RLIMIT_CORE", libc::RLIMIT_CORE),
    ("RLIMIT_STACK", libc::RLIMIT_STACK),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
    ("RLIMIT_AS", libc::RLIMIT_AS),
    ("RLIMIT_CPU", libc::RLIMIT_CPU),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
];

/// Everything but what differs from one run to the next by nature (addresses, times).
pub(crate) fn everything() -> Value {
    let status = status();
    json!({
        "args": std::env::args().collect::<Vec<_>>(),
        "env": std::env::vars().collect::<BTreeMap<_, _>>(),
        "cwd": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "pid": std::process::id(),
        "uid": numbers(&status, "Uid"),
        "gid": numbers(&status, "Gid"),
        "groups": numbers(&status, "Groups"),
        "umask": status.get("Umask"),
        "caps": caps(&status),
        "seccomp": status.get("Seccomp"),
        "no_new_privs": status.get("NoNewPrivs"),
        "oom_score_adj": read("/proc/self/oom_score_adj"),
        "uid_map": read("/proc/self/uid_map"),
        "gid_map": read("/proc/self/gid_map"),
        "setgroups": read("/proc/self/setgroups"),
        "hostname": read("/proc/sys/kernel/hostname"),
        "domainname": sys::domainname(),
        "namespaces": namespaces(),
        "rlimits": rlimits(),
        "fds": fds(),
        "tty": tty(),
        "mounts": mounts(),
        "dev": devices(),
        "links": links(),
        "processes": processes(),
        "cgroup": read("/proc/self/cgroup"),
        "interfaces": names_in("/sys/class/net"),
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn names_in(path: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn status() -> BTreeMap<String, String> {
    read("/proc/self/status")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

fn numbers(status: &BTreeMap<String, String>, key: &str) -> Vec<u64> {
    status
        .get(key)
        .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
        .unwrap_or_default()
}

fn caps(status: &BTreeMap<String, String>) -> Value {
    let set = |key: &str| {
        let mask = status.get(key).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        (0..64).filter(|bit| mask & (1 << bit) != 0).collect::<Vec<u32>>()
    };
    json!({
        "inheritable": set("CapInh"), "permitted": set("CapPrm"), "effective": set("CapEff"),
        "bounding": set("CapBnd"), "ambient": set("CapAmb"),
    })
}

fn namespaces() -> BTreeMap<String, String> {
    names_in("/proc/self/ns")
        .into_iter()
        .map(|name| {
            let target = fs::read_link(Path::new("/proc/self/ns").join(&name));
            (name, target.map(|path| path.display().to_string()).unwrap_or_default())
        })
        .collect()
}

fn rlimits() -> BTreeMap<&'static str, Value> {
    RLIMITS
        .iter()
        .map(|(name, resource)| {
            let (soft, hard) = sys::rlimit(*resource);
            (*name, json!({"soft": soft, "hard": hard}))
        })
        .collect()
}

/// Open descriptors with their targets; the one that reads the folder itself is left out.
fn fds() -> BTreeMap<String, String> {
    names_in("/proc/self/fd")
        .into_iter()
        .filter_map(|name| {
            let target = fs::read_link(Path::new("/proc/self/fd").join(&name)).ok()?;
            Some((name, target.display().to_string()))
        })
        .collect()
}

fn tty() -> Value {
    let size = sys::window_size(0).map(|(rows, columns)| json!([rows, columns]));
    json!({
        "stdin": sys::isatty(0), "stdout": sys::isatty(1), "stderr": sys::isatty(2),
        "size": size, "name": fs::read_link("/proc/self/fd/0").ok().map(|p| p.display().to_string()),
    })
}

/// One object for each line of mountinfo, in order, without the ids and device numbers.
fn mounts() -> Vec<Value> {
    read("/proc/self/mountinfo").lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let propagation: Vec<&str> = left[6..]
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| word.split(':').next().unwrap_or(word))
        .collect();
    Some(json!({
        "root": left[3], "destination": left[4], "options": left[5].split(',').collect::<Vec<_>>(),
        "propagation": propagation, "type": right[0], "source": right[1],
        "super": right.get(2).map(|data| data.split(',').collect::<Vec<_>>()),
    }))
}

fn devices() -> BTreeMap<String, Value> {
    names_in("/dev")
        .into_iter()
        .filter_map(|name| {
            let meta = fs::symlink_metadata(Path::new("/dev").join(&name)).ok()?;
            let kind = meta.file_type();
            let letter = match () {
                () if kind.is_char_device() => "c",
                () if kind.is_block_device() => "b",
                () if kind.is_fifo() => "p",
                () if kind.is_symlink() => "l",
                () if kind.is_dir() => "d",
                () => "f",
            };
            let device = matches!(letter, "c" | "b")
                .then(|| json!([libc::major(meta.rdev()), libc::minor(meta.rdev())]));
            Some((
                name,
                json!({
                    "type": letter, "mode": format!("{:04o}", meta.mode() & 0o7777),
                    "uid": meta.uid(), "gid": meta.gid(), "device": device,
                }),
            ))
        })
        .collect()
}

fn links() -> BTreeMap<String, String> {
    ["fd", "stdin", "stdout", "stderr", "ptmx", "core"]
        .into_iter()
        .filter_map(|name| {
            let target = fs::read_link(Path::new("/dev").join(name)).ok()?;
            Some((name.to_owned(), target.display().to_string()))
        })
        .collect()
}

fn processes() -> Vec<String> {
    names_in("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect()
}
