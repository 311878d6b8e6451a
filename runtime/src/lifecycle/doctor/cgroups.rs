//! Which controller is where, and whether the caller may make cgroups.

use std::path::Path;

use super::Item;
use crate::cgroup;
use crate::cgroup::router::{Controller, HierarchyKind};
use crate::procfs::Procfs;

pub(super) fn examine(items: &mut Vec<Item>) {
    let layout = Procfs::open().ok().and_then(|procfs| cgroup::layout(&procfs).ok());
    let layout = layout.unwrap_or_default();
    let of = |v2: bool| {
        let is_v2 = |kind: &HierarchyKind| matches!(kind, HierarchyKind::V2 { .. });
        layout.hierarchies().iter().filter(|one| is_v2(&one.kind) == v2).count()
    };
    let detail = match (of(false), of(true)) {
        (0, 0) => "none is mounted".to_owned(),
        (0, _) => "version 2 alone".to_owned(),
        (count, 0) => format!("version 1 alone, {count} hierarchies"),
        (count, _) => format!("hybrid, {count} hierarchies of version 1 beside version 2"),
    };
    let any = !layout.hierarchies().is_empty();
    items.push(Item::new(
        "cgroups",
        Some(any),
        detail,
        "limits are refused, pause and kill --all do not work",
    ));
    for (name, controller) in CONTROLLERS {
        let (present, detail) =
            match layout.of(controller).and_then(|at| layout.hierarchies().get(at)) {
                Some(found) => {
                    let version =
                        if matches!(found.kind, HierarchyKind::V2 { .. }) { 2 } else { 1 };
                    (true, format!("version {version} at {}", found.mount_point.display()))
                }
                None => (false, "in no hierarchy".to_owned()),
            };
        items.push(Item::new(name, Some(present), detail, "limits of this controller are refused"));
    }
    let writable = |path: &Path| {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes());
        path.is_ok_and(|path| crate::sys::support::may_write(&path))
    };
    let own = layout.hierarchies().iter();
    let denied = own.map(|one| one.mount_point.join(one.own.trim_start_matches('/')));
    let denied: Vec<String> =
        denied.filter(|path| !writable(path)).map(|path| path.display().to_string()).collect();
    let detail = match denied.first() {
        None => "the caller may make cgroups below its own".to_owned(),
        Some(first) => format!("may not be written: {first}"),
    };
    items.push(Item::new(
        "cgroup-delegation",
        Some(any && denied.is_empty()),
        detail,
        "containers have no cgroups of their own (--rootless), unless systemd delegates them",
    ));
}

const CONTROLLERS: [(&str, Controller); 14] = [
    ("cgroup-cpu", Controller::Cpu),
    ("cgroup-cpuacct", Controller::Cpuacct),
    ("cgroup-cpuset", Controller::Cpuset),
    ("cgroup-memory", Controller::Memory),
    ("cgroup-pids", Controller::Pids),
    ("cgroup-io", Controller::Blkio),
    ("cgroup-devices", Controller::Devices),
    ("cgroup-freezer", Controller::Freezer),
    ("cgroup-hugetlb", Controller::Hugetlb),
    ("cgroup-net-cls", Controller::NetCls),
    ("cgroup-net-prio", Controller::NetPrio),
    ("cgroup-perf-event", Controller::PerfEvent),
    ("cgroup-rdma", Controller::Rdma),
    ("cgroup-misc", Controller::Misc),
];
