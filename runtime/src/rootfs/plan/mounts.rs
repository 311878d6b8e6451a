//! `mounts`: one entry to its steps. Pure.

use super::{Compiler, Directory, OnProcfs, Source, Step, Tree, TreeMap, UserNamespace};
use crate::arena::Text;
use crate::config::idmap::IdMap;
use crate::config::linux::{IdMapping, NamespaceKind};
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
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

impl Compiler<'_> {
    pub(super) fn mount(&mut self, index: usize, entry: &MountEntry) {
        let origin = Origin::item("mounts", index);
        let target = self.inside(&entry.destination);
        if entry.is_at("dev") {
            // Whatever is open, this lies over it.
            self.directory = Directory::Other;
        }
        if entry.options.remount {
            self.remount(origin, entry, target);
        } else if let Some((_, link)) = self.context.source_links.iter().find(|(i, _)| *i == index)
        {
            let step = Step::LinkAt { path: target, target: self.arena.add(link) };
            self.step(origin, step);
            return;
        } else if let Some(bind) = entry.options.bind {
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

    /// A destination that is written as the host sees it, below the rootfs, means the place there, as
    /// in runc.
    fn inside(&mut self, destination: &str) -> Text {
        let root = self.absolute(&self.spec.root_path);
        let below = destination.strip_prefix(&root).filter(|rest| rest.starts_with('/'));
        self.arena.add(below.unwrap_or(destination))
    }

    fn file_system(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let options = &entry.options;
        let source = self.arena.add(&entry.source);
        let is_tmpfs = entry.kind == "tmpfs";
        let has_mode = options.data.split(',').any(|option| option.starts_with("mode="));
        let inherit_mode = is_tmpfs && !has_mode;
        // Devices, and destinations of later mounts, are made in it, so it becomes read-only after them.
        let late_readonly = options.set & libc::MS_RDONLY != 0 && (is_tmpfs || entry.is_at("dev"));
        let flags = if late_readonly { options.set & !libc::MS_RDONLY } else { options.set };
        if options.copy_up {
            let attributes = attributes(flags, options.clear);
            let data = self.data(entry, words_of_superblock(flags));
            let step = Step::CopyUp { target, source, attributes, data, inherit_mode };
            self.step(origin, step);
        } else {
            let kind = self.arena.add(&entry.kind);
            let ordinary = matches!(entry.kind.as_str(), "proc" | "sysfs");
            let procfs = on_procfs(entry);
            let data = self.data(entry, "");
            let instead = self.instead(entry);
            let in_directory = self.directory == Directory::NewDev && entry.is_in("dev");
            self.step(
                origin,
                Step::Mount {
                    target,
                    in_directory,
                    kind,
                    source,
                    flags,
                    data,
                    ordinary,
                    inherit_mode,
                    procfs,
                    as_written: self.is_as_written(entry, ordinary),
                    instead,
                },
            );
        }
        if is_tmpfs && !options.copy_up && entry.is_at("dev") {
            self.open_dev(origin);
            self.directory = Directory::NewDev;
        }
        self.recursive_attributes(origin, entry, target);
        if late_readonly {
            let attributes = attributes(libc::MS_RDONLY, 0);
            let step = Step::Attributes { target, attributes, recursive: false };
            self.plan.last.push((origin, step));
        }
    }

    /// Whether the destination cannot be a file of procfs or the root unless a link leads there. The config's check
    /// knows that of what is `ordinary`. Of others, what is written below `/proc` is one, and what the host shows at an
    /// earlier destination may hold some.
    pub(super) fn is_as_written(&self, entry: &MountEntry, ordinary: bool) -> bool {
        let mut earlier = self.spec.mounts.iter().take_while(|other| !std::ptr::eq(*other, entry));
        let is_new = |other: &MountEntry| {
            let is_procfs_elsewhere = other.kind == "proc" && !other.is_at("proc");
            other.options.bind.is_none() && !other.options.remount && !is_procfs_elsewhere
        };
        match ordinary {
            true => !entry.destination.split('/').any(|name| name == ".."),
            false => !entry.is_below("proc") && earlier.all(is_new),
        }
    }

    /// What of the host is shown where the file system may not be mounted: in a user namespace only who
    /// owns the network namespace may mount sysfs. As with crun it is shown read-only or not at all:
    /// whoever wants to write to it means one's own.
    fn instead(&mut self, entry: &MountEntry) -> Option<Text> {
        let read_only = entry.options.set & libc::MS_RDONLY != 0;
        let foreign = self.new_user_namespace && !self.spec.linux.creates(NamespaceKind::Network);
        (entry.kind == "sysfs" && read_only && foreign).then(|| self.arena.add("/sys"))
    }

    /// The file system's own options, and `more`; a mount label joins them where the type can carry it.
    fn data(&mut self, entry: &MountEntry, more: &str) -> Text {
        let mut words = vec![entry.options.data.as_str(), more];
        let unlabelled = matches!(entry.kind.as_str(), "proc" | "sysfs" | "mqueue" | "cgroup");
        let label = self.spec.linux.mount_label.as_ref().filter(|_| !unlabelled);
        let label = label.map(|label| format!("context=\"{label}\""));
        words.extend(label.as_deref());
        words.retain(|word| !word.is_empty());
        self.arena.add(words.join(","))
    }

    fn bind(&mut self, origin: Origin, entry: &MountEntry, bind: Bind, target: Text) {
        let path = self.absolute(&entry.source);
        let recursive = bind == Bind::Recursive;
        let tree = match (&entry.idmap, entry.options.source_link) {
            (None, false) => self.tree(origin, &path, recursive),
            (None, true) if !self.context.prepare_trees => Tree::LinkPath(self.arena.add(&path)),
            (idmap, link) => {
                let idmap = idmap.as_ref().map(|idmap| self.tree_map(idmap));
                let inside = idmap.is_some() && self.is_inside(&path);
                let path = self.arena.add(&path);
                let propagation = self.source_propagation();
                self.prepared(Source { path, recursive, link, propagation, idmap, inside, origin })
            }
        };
        let link = entry.options.destination_link;
        let procfs = on_procfs(entry);
        self.step(origin, Step::Bind { tree, recursive, target, link, procfs });
        self.flags(origin, entry, target);
        self.recursive_attributes(origin, entry, target);
    }

    fn flags(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let options = &entry.options;
        // As in runc `norelatime` takes away none of the other settings, and relatime is what the kernel
        // chooses by itself. But as every word it asks for exactly the flags that are named.
        let norelatime = options.clear & libc::MS_RELATIME;
        let attributes = attributes(options.set, options.clear & !norelatime);
        if attributes != Attributes::default() || norelatime != 0 {
            let link = entry.options.destination_link;
            let keep = self.new_user_namespace;
            let source = self.arena.add(&entry.source);
            self.step(origin, Step::Flags { target, link, attributes, keep, source });
        }
    }

    fn remount(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        if entry.options.bind.is_some() {
            self.flags(origin, entry, target);
        } else {
            let data = self.arena.add(&entry.options.data);
            self.step(origin, Step::Remount { target, flags: entry.options.set, data });
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

    /// The mapping of a tree; trees with the same one share a namespace.
    fn tree_map(&mut self, idmap: &IdMap) -> TreeMap {
        let linux = &self.spec.linux;
        let joined = linux.namespace(NamespaceKind::User).and_then(|user| user.path.clone());
        let wanted = match (&idmap.maps, joined) {
            (None, Some(path)) => UserNamespace::At(path),
            (None, None) => UserNamespace::New {
                uids: lines(&linux.uid_mappings),
                gids: lines(&linux.gid_mappings),
            },
            (Some(maps), _) => {
                UserNamespace::New { uids: lines(&maps.uids), gids: lines(&maps.gids) }
            }
        };
        let known = &mut self.plan.user_namespaces;
        let index = known.iter().position(|namespace| *namespace == wanted).unwrap_or_else(|| {
            known.push(wanted);
            known.len() - 1
        });
        let namespace = u16::try_from(index).unwrap_or(u16::MAX);
        TreeMap { namespace, recursive: idmap.recursive }
    }
}

fn lines(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

fn on_procfs(entry: &MountEntry) -> OnProcfs {
    if entry.is_at("proc") {
        OnProcfs::Top
    } else if PROCFS_FILES.contains(&entry.destination.trim_end_matches('/')) {
        OnProcfs::File
    } else {
        OnProcfs::Nowhere
    }
}

/// The flags that are the file system's and not the mount's, in the words of fsconfig(2).
fn words_of_superblock(flags: u64) -> &'static str {
    match (flags & libc::MS_SYNCHRONOUS != 0, flags & libc::MS_LAZYTIME != 0) {
        (false, false) => "",
        (true, false) => "sync",
        (false, true) => "lazytime",
        (true, true) => "sync,lazytime",
    }
}
