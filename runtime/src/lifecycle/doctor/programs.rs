//! Programs and services beside the kernel: criu, the mapping tools, systemd, D-Bus, resctrl.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Item, read};
use crate::sys::process::geteuid;

pub(super) fn examine(items: &mut Vec<Item>) {
    let located = |name: &str| match find(name) {
        Some(path) => (true, path.display().to_string()),
        None => (false, format!("{name} is not in PATH")),
    };
    let (present, detail) = located("criu");
    items.push(Item::new("criu", Some(present), detail, "checkpoint and restore are refused"));
    for name in ["newuidmap", "newgidmap"] {
        let (present, detail) = match find(name) {
            Some(path) => {
                let mode = std::fs::metadata(&path).map_or(0, |status| status.permissions().mode());
                let note = if mode & 0o4000 != 0 {
                    "set-user-ID"
                } else {
                    "no set-user-ID, perhaps capabilities"
                };
                (true, format!("{} ({note})", path.display()))
            }
            None => located(name),
        };
        items.push(Item::new(name, Some(present), detail, "users map only their own id"));
    }
    for (name, file) in [("subuid", "/etc/subuid"), ("subgid", "/etc/subgid")] {
        let range = own_range(&read(file));
        let detail = range.clone().unwrap_or_else(|| format!("no range of this user in {file}"));
        items.push(Item::new(name, Some(range.is_some()), detail, "users map only their own id"));
    }
    let systemd = Path::new("/run/systemd/system").is_dir();
    items.push(Item::new(
        "systemd",
        Some(systemd),
        "/run/systemd/system",
        "--systemd-cgroup is refused",
    ));
    let bus = ["/run/dbus/system_bus_socket", "/run/systemd/private"];
    let bus = bus.into_iter().find(|path| Path::new(path).exists());
    items.push(Item::new(
        "dbus",
        Some(bus.is_some()),
        bus.unwrap_or("no socket of the system bus"),
        "--systemd-cgroup is refused",
    ));
    let known = read("/proc/filesystems").lines().any(|line| line.ends_with("\tresctrl"));
    let mounted = Path::new("/sys/fs/resctrl/schemata").exists();
    let detail = match (known, mounted) {
        (_, true) => "mounted at /sys/fs/resctrl",
        (true, false) => "known to the kernel and not mounted",
        (false, false) => "not known to the kernel",
    };
    items.push(Item::new("resctrl", Some(mounted), detail, "linux.intelRdt is refused"));
    let overlay = read("/proc/filesystems").lines().any(|line| line.ends_with("\toverlay"));
    items.push(Item::new(
        "overlayfs",
        Some(overlay),
        "/proc/filesystems",
        "images are unpacked into copies",
    ));
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// The first range of this user, by name or number (subuid(5)).
fn own_range(table: &str) -> Option<String> {
    let uid = geteuid();
    let users = read("/etc/passwd");
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let is_own = |owner: &str| owner == uid.to_string() || Some(owner) == name.as_deref();
    let line = table.lines().find(|line| line.split(':').next().is_some_and(is_own))?;
    let (first, count) = line.split_once(':')?.1.split_once(':')?;
    Some(format!("{count} ids from {first} on"))
}
