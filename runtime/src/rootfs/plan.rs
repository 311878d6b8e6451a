//! From the config to the steps that build the file system of a container. Pure.
//!
//! The order is the one other runtimes have, because hooks and images rely on it: the root, the
//! mounts as listed, the devices; then the hooks run; then what hides and protects; then the pivot.

mod cgroups;
mod devices;
mod mounts;
mod steps;

pub use steps::{OnProcfs, Plan, Source, Step, Tree, TreeMap, UserNamespace};

use crate::arena::{Arena, Text};
use crate::config::hooks::Point;
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::failure::Origin;
use crate::sys::mount::Attributes;

/// What the compiler must know beside the config.
#[derive(Debug)]
pub struct Context<'a> {
    /// The bundle, absolute: relative paths of the config start there.
    pub bundle: &'a str,
    /// The cgroup hierarchies that a mount of type `cgroup` shows.
    pub cgroups: &'a [CgroupMount],
    /// Whether cgroups may be missing, because nobody permitted making them.
    pub optional_cgroups: bool,
    /// Whether the cgroup is made only after the clone, so that nobody can prepare its tree.
    pub late_cgroups: bool,
    /// Whether the parent opens the trees of bind mounts: with a new user namespace, in which their
    /// paths may be out of reach, if the parent has the right to.
    pub prepare_trees: bool,
    /// Whether the caller is in a user namespace, so that nobody here can make devices.
    pub in_user_namespace: bool,
    /// The mount point below which the rootfs lies; needed only where the root shall be shared.
    pub root_parent_mount: &'a str,
    /// `--no-pivot`: the root is changed by chroot(2), for hosts whose root is a ramdisk.
    pub no_pivot: bool,
    /// Where the host has procfs and sysfs; needed only for `--no-pivot`.
    pub kernel_mounts: &'a [String],
    /// For mounts with `copy-symlink`: the index in `mounts`, and what the source points to where it
    /// is a link.
    pub source_links: &'a [(usize, String)],
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

/// Compiles the config's file system.
#[must_use]
pub fn compile(spec: &Spec, context: &Context<'_>, arena: &mut Arena) -> Plan {
    let mut compiler = Compiler {
        spec,
        context,
        arena,
        new_user_namespace: context.in_user_namespace
            || spec.linux.namespace(NamespaceKind::User).is_some(),
        propagation: spec.linux.rootfs_propagation.unwrap_or(libc::MS_SLAVE | libc::MS_REC),
        directory: Directory::Other,
        plan: Plan::default(),
    };
    if mounts_on_host(spec) {
        compiler.root_on_host();
    } else if spec.linux.namespace(NamespaceKind::Mount).is_none() {
        compiler.root_without_mounts();
        return compiler.plan;
    } else {
        compiler.root();
    }
    for (index, mount) in spec.mounts.iter().enumerate() {
        compiler.mount(index, mount);
    }
    compiler.devices();
    compiler.protect();
    compiler.enter();
    compiler.plan
}

/// Whether the container's mounts are made in the mount namespace of its maker, because it has none and is
/// to share it: they are on the host, below the rootfs, until it is deleted.
#[must_use]
pub fn mounts_on_host(spec: &Spec) -> bool {
    spec.linux.namespace(NamespaceKind::Mount).is_none()
        && (!spec.mounts.is_empty() || spec.root_readonly)
}

struct Compiler<'a> {
    spec: &'a Spec,
    context: &'a Context<'a>,
    arena: &'a mut Arena,
    new_user_namespace: bool,
    propagation: u64,
    directory: Directory,
    plan: Plan,
}

/// What is known of the directory that is open for steps that give a name only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directory {
    /// It is the root of the container's own new tmpfs on `/dev`, in which nobody has made anything.
    NewDev,
    Other,
}

impl Compiler<'_> {
    fn step(&mut self, origin: Origin, step: Step) {
        self.plan.before_hooks.push((origin, step));
    }

    /// Shows one mount of the host, with attributes of its own.
    fn show(&mut self, origin: Origin, tree: Tree, target: Text, attributes: Attributes) {
        let procfs = OnProcfs::Nowhere;
        self.step(origin, Step::Bind { tree, recursive: false, target, link: false, procfs });
        self.step(origin, Step::Attributes { target, attributes, recursive: false });
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
        let inside = self.is_inside(path);
        let path = self.arena.add(path);
        if !self.context.prepare_trees || inside {
            return Tree::Path(path);
        }
        self.prepared(Source {
            path,
            recursive,
            link: false,
            propagation: self.source_propagation(),
            idmap: None,
            inside,
            origin,
        })
    }

    /// What lies in the rootfs is looked for there once the mounts before it are made.
    fn is_inside(&self, path: &str) -> bool {
        let root = self.absolute(&self.spec.root_path);
        path.strip_prefix(&root).is_some_and(|rest| rest.starts_with('/'))
    }

    fn prepared(&mut self, source: Source) -> Tree {
        let index = u16::try_from(self.plan.sources.len()).unwrap_or(u16::MAX);
        self.plan.sources.push(source);
        match source.inside {
            true => Tree::Mapped { source: index, path: source.path, link: source.link },
            false => Tree::Prepared(index),
        }
    }

    fn source_propagation(&self) -> u64 {
        if self.is_shared() { 0 } else { self.propagation & !libc::MS_REC }
    }

    fn root_without_mounts(&mut self) {
        let origin = Origin::field("root.path");
        let path = self.absolute(&self.spec.root_path);
        let text = self.arena.add(path);
        self.step(origin, Step::OpenRoot(text));
        self.late_step(origin, Step::Chroot);
    }

    fn root_on_host(&mut self) {
        let origin = Origin::field("root.path");
        let path = self.absolute(&self.spec.root_path);
        let tree = self.tree(origin, &path, true);
        let path = self.arena.add(path);
        self.step(origin, Step::AttachRoot { tree, path });
        // Where the mount below is shared, the copy is, too; what is mounted in it is nobody else's.
        let flags = libc::MS_PRIVATE | libc::MS_REC;
        self.step(origin, Step::PropagateHostAt { target: path, flags });
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

    fn protect(&mut self) {
        let linux = &self.spec.linux;
        let plain = self.has_plain_proc();
        let in_proc = |path: &String| plain && is_plain_file_of_proc(path);
        let both = [
            ("linux.readonlyPaths", &linux.readonly_paths),
            ("linux.maskedPaths", &linux.masked_paths),
        ];
        if let Some((field, _)) = both.into_iter().find(|(_, paths)| paths.iter().any(in_proc)) {
            let step = Step::OpenDirectory(self.arena.add("/proc"));
            self.late_step(Origin::field(field), step);
        }
        for (index, path) in linux.readonly_paths.iter().enumerate() {
            let step = Step::Readonly { path: self.arena.add(path), in_directory: in_proc(path) };
            self.late_step(Origin::item("linux.readonlyPaths", index), step);
        }
        for (index, path) in linux.masked_paths.iter().enumerate() {
            // Covering a path twice would hide nothing more, and stack a mount on a mount.
            if linux.masked_paths[..index].contains(path) {
                continue;
            }
            let step = Step::Mask { path: self.arena.add(path), in_directory: in_proc(path) };
            self.late_step(Origin::item("linux.maskedPaths", index), step);
        }
    }

    /// Whether `/proc` is a procfs of the container as the kernel made it: nothing of the config lies in it, and
    /// no hook that could have changed it has run.
    fn has_plain_proc(&self) -> bool {
        let hooks = [Point::Prestart, Point::CreateRuntime, Point::CreateContainer];
        let mut there = self.spec.mounts.iter().filter(|mount| mount.is_below("proc"));
        let own = there.next().is_some_and(|mount| {
            let is_change = mount.options.bind.is_some() || mount.options.remount;
            mount.is_at("proc") && mount.kind == "proc" && !is_change
        });
        own && there.next().is_none()
            && self.spec.linux.creates(NamespaceKind::Mount)
            && hooks.into_iter().all(|point| self.spec.hooks.at(point).is_empty())
    }

    fn enter(&mut self) {
        let origin = Origin::field("root.path");
        if self.spec.linux.namespace(NamespaceKind::Mount).is_none() {
            self.late_step(origin, Step::Chroot);
        } else if self.context.no_pivot {
            for place in self.context.kernel_mounts {
                let place = self.arena.add(place);
                self.late_step(origin, Step::Forget(place));
            }
            self.late_step(origin, Step::MoveRoot);
            self.late_step(origin, Step::Chroot);
        } else {
            self.late_step(origin, Step::Pivot { leave_peers: self.is_shared() });
        }
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

/// Whether the path is of a file that stands in the root of a procfs and is no link. Those four are the only links
/// there (proc(5)).
fn is_plain_file_of_proc(path: &str) -> bool {
    const LINKS: [&str; 4] = ["mounts", "net", "self", "thread-self"];
    let name = path.strip_prefix("/proc/").unwrap_or_default();
    !name.is_empty() && !name.contains('/') && name != "." && name != ".." && !LINKS.contains(&name)
}
