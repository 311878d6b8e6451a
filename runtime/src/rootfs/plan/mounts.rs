//! `mounts`: one entry to its steps. Pure.

use super::{Compiler, Step, is_dev};
use crate::arena::Text;
use crate::config::mounts::{Bind, Mount as MountEntry};
use crate::failure::Origin;
use crate::rootfs::attributes::attributes;
use crate::sys::mount::Attributes;

/// Files of procfs that a mount may cover: what lxcfs and the like provide per container.
const PROCFS_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

impl Compiler<'_> {
    pub(super) fn mount(&mut self, origin: Origin, entry: &MountEntry) {
        let target = self.arena.add(&entry.destination);
        if let Some(bind) = entry.options.bind {
            self.bind(origin, entry, bind, target);
        } else if entry.kind == "cgroup" || entry.kind == "cgroup2" {
            self.cgroup(origin, entry, target);
        } else {
            self.file_system(origin, entry, target);
        }
        for &flags in &entry.options.propagation {
            self.step(origin, Step::Propagate { target, flags });
        }
    }

    fn file_system(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let options = &entry.options;
        let kind = self.arena.add(&entry.kind);
        let source = self.arena.add(&entry.source);
        let ordinary = matches!(entry.kind.as_str(), "proc" | "sysfs");
        let is_tmpfs = entry.kind == "tmpfs";
        let has_mode = options.data.split(',').any(|option| option.starts_with("mode="));
        // Devices are made in it, so it becomes read-only after them.
        let late_readonly = is_tmpfs && is_dev(&entry.destination);
        let flags = if late_readonly { options.set & !libc::MS_RDONLY } else { options.set };
        let data = self.data(entry);
        let inherit_mode = is_tmpfs && !has_mode;
        self.step(
            origin,
            Step::Mount { target, kind, source, flags, data, ordinary, inherit_mode },
        );
        self.recursive_attributes(origin, entry, target);
        if late_readonly && options.set & libc::MS_RDONLY != 0 {
            let attributes = attributes(libc::MS_RDONLY, 0);
            let step = Step::Attributes { target, attributes, recursive: false };
            self.plan.last.push((origin, step));
        }
    }

    /// The file system's own options; a mount label joins them where the type can carry it.
    fn data(&mut self, entry: &MountEntry) -> Text {
        let unlabelled = matches!(entry.kind.as_str(), "proc" | "sysfs" | "mqueue" | "cgroup");
        match &self.spec.linux.mount_label {
            Some(label) if !unlabelled => {
                let comma = if entry.options.data.is_empty() { "" } else { "," };
                self.arena.add(format!("{}{comma}context=\"{label}\"", entry.options.data))
            }
            _ => self.arena.add(&entry.options.data),
        }
    }

    fn bind(&mut self, origin: Origin, entry: &MountEntry, bind: Bind, target: Text) {
        let path = self.absolute(&entry.source);
        let recursive = bind == Bind::Recursive;
        let tree = self.tree(origin, &path, recursive);
        let on_procfs = PROCFS_FILES.contains(&entry.destination.trim_end_matches('/'));
        self.step(origin, Step::Bind { tree, recursive, target, on_procfs });
        let attributes = attributes(entry.options.set, entry.options.clear);
        if attributes != Attributes::default() {
            self.step(origin, Step::Attributes { target, attributes, recursive: false });
        }
        self.recursive_attributes(origin, entry, target);
    }

    fn recursive_attributes(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let options = &entry.options;
        if (options.recursive_set, options.recursive_clear) != (0, 0) {
            let attributes = attributes(options.recursive_set, options.recursive_clear);
            self.step(origin, Step::Attributes { target, attributes, recursive: true });
        }
    }
}
