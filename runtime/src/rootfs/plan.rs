//! From the config to the steps that build the file system of a container. Pure.
//!
//! The order is the one other runtimes have, because hooks and images rely on it: the root, the
//! mounts as listed, the devices; then the hooks run; then what hides and protects; then the pivot.

use super::attributes::attributes;
use crate::arena::{Arena, Text};
use crate::config::linux::{DeviceNode, NamespaceKind};
use crate::config::mounts::{Bind, Mount as MountEntry};
use crate::config::spec::Spec;
use crate::failure::Origin;
use crate::sys::mount::Attributes;
use crate::sys::open::Node;

/// What the compiler must know beside the config.
#[derive(Debug)]
pub struct Context<'a> {
    /// The bundle, absolute: relative paths of the config start there.
    pub bundle: &'a str,
    /// The cgroup hierarchies that a mount of type `cgroup` shows.
    pub cgroups: &'a [CgroupMount],
    /// Whether cgroups may be missing, because nobody permitted making them.
    pub optional_cgroups: bool,
    /// Whether the parent opens the trees of bind mounts: with a new user namespace, in which their
    /// paths may be out of reach, if the parent has the right to.
    pub prepare_trees: bool,
    /// The mount point below which the rootfs lies; needed only where the root shall be shared.
    pub root_parent_mount: &'a str,
    /// `--no-pivot`: the root is changed by chroot(2), for hosts whose root is a ramdisk.
    pub no_pivot: bool,
}

/// One hierarchy below a mount of type `cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupMount {
    /// The directory below the destination, empty when the hierarchy is the whole mount (v2).
    pub name: String,
    /// The container's own cgroup on the host, for the bind of a container without a cgroup
    /// namespace.
    pub path: String,
    /// `cgroup` or `cgroup2`.
    pub kind: &'static str,
    /// Mount data that selects the hierarchy of v1, such as `cpu,cpuacct`.
    pub data: String,
    /// Names of links to the directory, for controllers that are mounted together.
    pub links: Vec<String>,
}

/// A host tree that the parent opens, because the child's user namespace could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The tree.
    pub path: Text,
    /// With all mounts below it.
    pub recursive: bool,
    /// Propagation the copy gets at once, so that it leaves the host's peer group.
    pub propagation: u64,
    /// Where in the config it comes from.
    pub origin: Origin,
}

/// Where the tree of a bind mount comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The child opens the path before the pivot.
    Path(Text),
    /// The parent has opened it: the index of its [`Source`].
    Prepared(u16),
}

/// One step in building the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Sets the propagation of every mount of the new namespace.
    PropagateHost(u64),
    /// Sets the propagation of one mount of the host, as the new namespace has it.
    PropagateHostAt {
        /// The mount point.
        target: Text,
        /// `MS_*` type.
        flags: u64,
    },
    /// Lays a copy of the rootfs over itself: it is the root from here on.
    AttachRoot {
        /// The rootfs and what is mounted in it.
        tree: Tree,
        /// Its path on the host.
        path: Text,
    },
    /// Takes a directory as the root without mounting anything: there is no mount namespace.
    OpenRoot(Text),
    /// Mounts a new file system on a directory.
    Mount {
        /// Destination.
        target: Text,
        /// File system type.
        kind: Text,
        /// Source, a device or any name.
        source: Text,
        /// `MS_*` flags.
        flags: u64,
        /// Data of the file system, empty for none.
        data: Text,
        /// Refuse links in the destination: procfs and sysfs, whose place is trusted later
        /// (CVE-2023-27561).
        ordinary: bool,
        /// Give the new tmpfs the mode of the directory it covers.
        inherit_mode: bool,
    },
    /// Attaches a tree of the host to a file or directory.
    Bind {
        /// The tree.
        tree: Tree,
        /// With all mounts below it.
        recursive: bool,
        /// Destination.
        target: Text,
        /// The destination is a file of procfs that may be covered.
        on_procfs: bool,
    },
    /// Makes a directory in the open one and attaches a tree of the host to it.
    BindInto {
        /// The tree, without mounts below it.
        tree: Tree,
        /// The new directory's name.
        name: Text,
        /// A tree that is not there leaves the directory empty.
        optional: bool,
    },
    /// Changes attributes of the mount at a path.
    Attributes {
        /// The mount.
        target: Text,
        /// What changes.
        attributes: Attributes,
        /// For all mounts below it too.
        recursive: bool,
    },
    /// Changes attributes of a mount and of all below it, whose parts follow.
    WholeAttributes {
        /// The mount.
        target: Text,
        /// What changes.
        attributes: Attributes,
    },
    /// Does the same for one part, where the kernel could not do the whole at once (before Linux 5.12).
    PartAttributes {
        /// The mount.
        target: Text,
        /// What changes.
        attributes: Attributes,
    },
    /// Changes the propagation of the mount at a path.
    Propagate {
        /// The mount.
        target: Text,
        /// `MS_*` type, with `MS_REC` for all mounts below it.
        flags: u64,
    },
    /// Opens the directory in which the following steps work that give a name only.
    OpenDirectory(Text),
    /// Makes a device node in the open directory.
    Device {
        /// Name in the directory.
        name: Text,
        /// What.
        node: Node,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Makes a device node at a path.
    DeviceAt {
        /// Path in the container.
        path: Text,
        /// What.
        node: Node,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Makes a symbolic link in the open directory, unless something is there.
    Link {
        /// Name in the directory.
        name: Text,
        /// What it points to.
        target: Text,
        /// Replace what is there.
        replace: bool,
    },
    /// Hides a path: a file behind the null device, a directory behind an empty tmpfs.
    Mask(Text),
    /// Makes a path read-only.
    Readonly(Text),
    /// Makes a directory where none is.
    Directory(Text),
    /// Makes the root mount read-only.
    RootReadonly,
    /// Makes the root the root directory: pivot_root(2), and the old root goes.
    Pivot {
        /// The old root still shares its mounts with the host and must not take them along.
        leave_peers: bool,
    },
    /// Makes the root the root directory by chroot(2).
    Chroot,
    /// Sets the propagation of the root mount.
    PropagateRoot(u64),
}

/// The steps before and after the hooks, and what the parent has to open.
#[derive(Debug, Default)]
pub struct Plan {
    /// Steps up to the point where hooks run.
    pub before_hooks: Vec<(Origin, Step)>,
    /// Steps that hide and protect paths, and enter the root.
    pub after_hooks: Vec<(Origin, Step)>,
    /// Steps after the terminal was made: what was writable until now becomes read-only.
    pub last: Vec<(Origin, Step)>,
    /// Trees for the parent to open.
    pub sources: Vec<Source>,
}

/// Default devices (runtime-spec, config-linux.md, "Default Devices").
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

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

/// Compiles the config's file system.
#[must_use]
pub fn compile(spec: &Spec, context: &Context<'_>, arena: &mut Arena) -> Plan {
    let mut compiler = Compiler {
        spec,
        context,
        arena,
        new_user_namespace: spec.linux.namespace(NamespaceKind::User).is_some(),
        propagation: spec.linux.rootfs_propagation.unwrap_or(libc::MS_SLAVE | libc::MS_REC),
        plan: Plan::default(),
    };
    if spec.linux.namespace(NamespaceKind::Mount).is_none() {
        compiler.root_without_namespace();
        return compiler.plan;
    }
    compiler.root();
    for (index, mount) in spec.mounts.iter().enumerate() {
        compiler.mount(Origin::item("mounts", index), mount);
    }
    compiler.devices();
    compiler.protect();
    compiler.enter();
    compiler.plan
}

struct Compiler<'a> {
    spec: &'a Spec,
    context: &'a Context<'a>,
    arena: &'a mut Arena,
    new_user_namespace: bool,
    propagation: u64,
    plan: Plan,
}

impl Compiler<'_> {
    fn step(&mut self, origin: Origin, step: Step) {
        self.plan.before_hooks.push((origin, step));
    }

    fn late_step(&mut self, origin: Origin, step: Step) {
        self.plan.after_hooks.push((origin, step));
    }

    fn is_shared(&self) -> bool {
        self.propagation & libc::MS_SHARED != 0
    }

    fn absolute(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.context.bundle.trim_end_matches('/')),
        }
    }

    /// The child opens a tree itself where it can: what it copies has then already left the peer
    /// groups of the host. In a user namespace the path may be out of its reach.
    fn tree(&mut self, origin: Origin, path: &str, recursive: bool) -> Tree {
        let path = self.arena.add(path);
        if !self.context.prepare_trees {
            return Tree::Path(path);
        }
        let propagation = if self.is_shared() { 0 } else { self.propagation & !libc::MS_REC };
        let index = self.plan.sources.len();
        self.plan.sources.push(Source { path, recursive, propagation, origin });
        Tree::Prepared(u16::try_from(index).unwrap_or(u16::MAX))
    }

    fn root_without_namespace(&mut self) {
        let origin = Origin::field("root.path");
        let path = self.absolute(&self.spec.root_path);
        let text = self.arena.add(path);
        self.step(origin, Step::OpenRoot(text));
        self.late_step(origin, Step::Chroot);
    }

    fn root(&mut self) {
        // Unbindable mounts could not be copied below, so that type waits for the end.
        let base = match self.propagation & libc::MS_UNBINDABLE {
            0 => self.propagation | libc::MS_REC,
            _ => libc::MS_PRIVATE | libc::MS_REC,
        };
        let propagation = Origin::field("linux.rootfsPropagation");
        self.step(propagation, Step::PropagateHost(base));
        if self.is_shared() {
            // What is laid over the rootfs must not appear at the peers of its parent as well.
            let target = self.arena.add(self.context.root_parent_mount);
            let flags = libc::MS_PRIVATE;
            self.step(propagation, Step::PropagateHostAt { target, flags });
        }
        let origin = Origin::field("root.path");
        let path = self.absolute(&self.spec.root_path);
        let tree = self.tree(origin, &path, true);
        let path = self.arena.add(path);
        self.step(origin, Step::AttachRoot { tree, path });
    }

    fn mount(&mut self, origin: Origin, entry: &MountEntry) {
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

    /// A container sees its own cgroup: through its namespace where it has one, else by a bind of
    /// each hierarchy's directory.
    fn cgroup(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let own_view = self.spec.linux.creates(NamespaceKind::Cgroup);
        let destination = entry.destination.trim_end_matches('/');
        let flags = entry.options.set;
        if let [only] = self.context.cgroups
            && only.name.is_empty()
        {
            self.hierarchy(origin, only, target, flags, own_view);
            return;
        }
        let kind = self.arena.add("tmpfs");
        let source = self.arena.add("tmpfs");
        let data = self.arena.add("mode=755");
        let writable = flags & !libc::MS_RDONLY;
        let step = Step::Mount {
            target,
            kind,
            source,
            flags: writable,
            data,
            ordinary: false,
            inherit_mode: false,
        };
        self.step(origin, step);
        self.step(origin, Step::OpenDirectory(target));
        for cgroup in self.context.cgroups {
            let name = self.arena.add(&cgroup.name);
            if own_view {
                let below = self.arena.add(format!("{destination}/{}", cgroup.name));
                self.hierarchy(origin, cgroup, below, flags, own_view);
            } else {
                let tree = self.tree(origin, &cgroup.path, false);
                let optional = self.context.optional_cgroups;
                self.step(origin, Step::BindInto { tree, name, optional });
            }
            for link in &cgroup.links {
                let link = self.arena.add(link);
                self.step(origin, Step::Link { name: link, target: name, replace: false });
            }
        }
        // One call for the tmpfs and all hierarchies below it, or one for each.
        let attributes = attributes(flags, 0);
        self.step(origin, Step::WholeAttributes { target, attributes });
        for cgroup in self.context.cgroups {
            let part = self.arena.add(format!("{destination}/{}", cgroup.name));
            self.step(origin, Step::PartAttributes { target: part, attributes });
        }
    }

    fn hierarchy(
        &mut self,
        origin: Origin,
        cgroup: &CgroupMount,
        target: Text,
        flags: u64,
        own_view: bool,
    ) {
        if own_view {
            let kind = self.arena.add(cgroup.kind);
            let data = self.arena.add(&cgroup.data);
            let step = Step::Mount {
                target,
                kind,
                source: kind,
                flags,
                data,
                ordinary: false,
                inherit_mode: false,
            };
            self.step(origin, step);
        } else {
            let tree = self.tree(origin, &cgroup.path, false);
            self.step(origin, Step::Bind { tree, recursive: false, target, on_procfs: false });
            let attributes = attributes(flags, 0);
            self.step(origin, Step::Attributes { target, attributes, recursive: false });
        }
    }

    fn devices(&mut self) {
        let mut mounts = self.spec.mounts.iter();
        if mounts.any(|m| m.options.bind.is_some() && is_dev(&m.destination)) {
            return;
        }
        let origin = Origin::field("default devices");
        let dev = self.arena.add("dev");
        self.step(origin, Step::OpenDirectory(dev));
        for (name, major, minor) in DEVICES {
            let overridden = |path: &str| path.strip_prefix("/dev/") == Some(name);
            if self.spec.linux.devices.iter().any(|d| overridden(&d.path)) {
                continue;
            }
            let node = Node::Character { major, minor };
            self.device(origin, &format!("/dev/{name}"), node, 0o666, (0, 0));
        }
        for (index, device) in self.spec.linux.devices.iter().enumerate() {
            let node = match device.node {
                DeviceNode::Character { major, minor } => Node::Character { major, minor },
                DeviceNode::Block { major, minor } => Node::Block { major, minor },
                DeviceNode::Fifo => Node::Fifo,
            };
            let origin = Origin::item("linux.devices", index);
            self.device(origin, &device.path, node, device.mode, (device.uid, device.gid));
        }
        for (name, target) in DEVICE_LINKS {
            let name = self.arena.add(name);
            let target = self.arena.add(target);
            self.step(origin, Step::Link { name, target, replace: false });
        }
        let name = self.arena.add("ptmx");
        let target = self.arena.add("pts/ptmx");
        self.step(origin, Step::Link { name, target, replace: true });
    }

    /// In a user namespace no device can be made, so the host's is shown; nobody changes its owner.
    fn device(&mut self, origin: Origin, path: &str, node: Node, mode: u32, owner: (u32, u32)) {
        if self.new_user_namespace && node != Node::Fifo {
            let tree = self.tree(origin, path, false);
            let target = self.arena.add(path);
            self.step(origin, Step::Bind { tree, recursive: false, target, on_procfs: false });
            // What is shown of the host's /dev is more than a node: it comes with its mount.
            let attributes = attributes(libc::MS_NOSUID | libc::MS_NOEXEC, 0);
            self.step(origin, Step::Attributes { target, attributes, recursive: false });
            return;
        }
        let (uid, gid) = owner;
        let name = path.strip_prefix("/dev/").filter(|name| !name.contains('/'));
        match name {
            Some(name) => {
                let name = self.arena.add(name);
                self.step(origin, Step::Device { name, node, mode, uid, gid });
            }
            None => {
                let path = self.arena.add(path);
                self.step(origin, Step::DeviceAt { path, node, mode, uid, gid });
            }
        }
    }

    fn protect(&mut self) {
        let linux = &self.spec.linux;
        for (index, path) in linux.readonly_paths.iter().enumerate() {
            let text = self.arena.add(path);
            self.late_step(Origin::item("linux.readonlyPaths", index), Step::Readonly(text));
        }
        for (index, path) in linux.masked_paths.iter().enumerate() {
            let text = self.arena.add(path);
            self.late_step(Origin::item("linux.maskedPaths", index), Step::Mask(text));
        }
    }

    fn enter(&mut self) {
        let step = match self.context.no_pivot {
            true => Step::Chroot,
            false => Step::Pivot { leave_peers: self.is_shared() },
        };
        self.late_step(Origin::field("root.path"), step);
        if self.spec.root_readonly {
            // The working directory is made where it is missing, which needs a writable root.
            let cwd = self.spec.process.as_ref().map_or("/", |process| &process.cwd);
            if cwd != "/" {
                let step = Step::Directory(self.arena.add(cwd));
                self.plan.last.push((Origin::field("process.cwd"), step));
            }
            self.plan.last.push((Origin::field("root.readonly"), Step::RootReadonly));
        }
        let flags = self.propagation & (libc::MS_SHARED | libc::MS_UNBINDABLE);
        if flags != 0 {
            let origin = Origin::field("linux.rootfsPropagation");
            self.plan.last.push((origin, Step::PropagateRoot(flags)));
        }
    }
}

fn is_dev(destination: &str) -> bool {
    destination.split('/').filter(|part| !part.is_empty() && *part != ".").eq(["dev"])
}
