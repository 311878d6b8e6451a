//! Which controller lives where on this host: in a v1 hierarchy of its own, in one shared with
//! others, or on cgroup v2; each controller by itself, so that hosts with both versions are no
//! special case.
//!
//! Made from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` (cgroups(7), proc(5)) and,
//! for v2, of the root's `cgroup.controllers`. Pure; `super::host` reads the texts.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A controller, by the name it has on v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Processors and memory nodes.
    Cpuset,
    /// Device nodes; on v2 no controller but a BPF program.
    Devices,
    /// Memory.
    Memory,
    /// Processor time.
    Cpu,
    /// Accounting of processor time; part of `cpu` on v2.
    Cpuacct,
    /// Number of tasks.
    Pids,
    /// Block devices; `io` on v2.
    Blkio,
    /// Huge pages.
    Hugetlb,
    /// Class of packets; v1 only.
    NetCls,
    /// Priority of packets; v1 only.
    NetPrio,
    /// Performance events by cgroup.
    PerfEvent,
    /// Pausing; part of the core on v2.
    Freezer,
    /// RDMA objects.
    Rdma,
    /// Miscellaneous scalar resources.
    Misc,
}

impl Controller {
    /// All, in the order in which runc makes their directories: cpuset and devices first, since a
    /// process may not be anywhere before it is confined.
    pub const ALL: [Self; 14] = [
        Self::Cpuset,
        Self::Devices,
        Self::Memory,
        Self::Cpu,
        Self::Cpuacct,
        Self::Pids,
        Self::Blkio,
        Self::Hugetlb,
        Self::NetCls,
        Self::NetPrio,
        Self::PerfEvent,
        Self::Freezer,
        Self::Rdma,
        Self::Misc,
    ];

    /// The name on v1, in `/proc/self/cgroup` and in state files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Pids => "pids",
            Self::Blkio => "blkio",
            Self::Hugetlb => "hugetlb",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::PerfEvent => "perf_event",
            Self::Freezer => "freezer",
            Self::Rdma => "rdma",
            Self::Misc => "misc",
        }
    }

    /// The name in v2's `cgroup.controllers`; the v1 name where v2 has none.
    #[must_use]
    pub fn name_v2(self) -> &'static str {
        if self == Self::Blkio { "io" } else { self.name() }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// What it is.
    pub kind: HierarchyKind,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The cgroup of this process, as a path below the mount point, starting with `/`.
    pub own: String,
}

/// What a hierarchy is and which controllers it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HierarchyKind {
    /// cgroup v1.
    V1 {
        /// One, or several mounted together.
        controllers: Vec<Controller>,
        /// Names without controllers, such as `name=systemd`.
        name: Option<String>,
        /// The files of cpuset lack their `cpuset.`.
        no_prefix: bool,
    },
    /// cgroup v2.
    V2 {
        /// The words of the root's `cgroup.controllers`.
        controllers: Vec<String>,
    },
}

/// All hierarchies of a host that matter to a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    hierarchies: Vec<Hierarchy>,
}

/// A text of the kernel that is not as the manual says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}, line {line}: {text:?} is no entry as proc(5) has it")]
pub struct LayoutError {
    file: &'static str,
    line: usize,
    text: String,
}

impl Layout {
    /// Reads the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`. v2, if mounted, is without
    /// controllers until [`Layout::set_v2_controllers`] names them.
    ///
    /// # Errors
    /// A line that proc(5) does not allow; a process without any cgroup mount is no error here.
    pub fn parse(own: &str, mountinfo: &str) -> Result<Self, LayoutError> {
        let memberships = parse_own(own)?;
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in parse_mounts(mountinfo)? {
            let Some(kind) = mount.kind() else { continue };
            let path = memberships.iter().find(|(names, _)| is_member(&kind, names));
            let Some((_, path)) = path else { continue };
            let own = below_root(path, &mount.root);
            let entry = Hierarchy {
                kind,
                mount_point: mount.point,
                own: own.clone().unwrap_or_else(|| "/".to_owned()),
            };
            // The first mount of a hierarchy counts, unless it shows a part that we are not in.
            match hierarchies.iter_mut().find(|known| known.kind == entry.kind) {
                None => hierarchies.push(entry),
                Some(known) if known.own == "/" && own.as_deref().is_some_and(|own| own != "/") => {
                    *known = entry;
                }
                Some(_) => {}
            }
        }
        Ok(Self { hierarchies })
    }

    /// Where v2 is mounted.
    #[must_use]
    pub fn v2_mount_point(&self) -> Option<&Path> {
        self.v2().map(|index| self.hierarchies[index].mount_point.as_path())
    }

    /// Tells which controllers v2 has: the text of `cgroup.controllers` at its mount point.
    pub fn set_v2_controllers(&mut self, text: &str) {
        for hierarchy in &mut self.hierarchies {
            if let HierarchyKind::V2 { controllers } = &mut hierarchy.kind {
                *controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
    }

    /// The hierarchies, in the order of their mounts.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Whether v1 is not there at all.
    #[must_use]
    pub fn is_v2_only(&self) -> bool {
        self.v2().is_some()
            && self.hierarchies.iter().all(|h| matches!(h.kind, HierarchyKind::V2 { .. }))
    }

    /// The index of the v2 hierarchy.
    #[must_use]
    pub fn v2(&self) -> Option<usize> {
        self.hierarchies.iter().position(|h| matches!(h.kind, HierarchyKind::V2 { .. }))
    }

    /// The index of the v1 hierarchy that has `controller`.
    #[must_use]
    pub fn v1_of(&self, controller: Controller) -> Option<usize> {
        self.hierarchies.iter().position(|hierarchy| match &hierarchy.kind {
            HierarchyKind::V1 { controllers, .. } => controllers.contains(&controller),
            HierarchyKind::V2 { .. } => false,
        })
    }

    /// The index of the hierarchy that has `controller`, of whichever version. A controller is only
    /// ever in one.
    #[must_use]
    pub fn of(&self, controller: Controller) -> Option<usize> {
        self.v1_of(controller).or_else(|| {
            let index = self.v2()?;
            match &self.hierarchies[index].kind {
                HierarchyKind::V2 { controllers } => {
                    controllers.iter().any(|name| name == controller.name_v2()).then_some(index)
                }
                HierarchyKind::V1 { .. } => None,
            }
        })
    }
}

/// `hierarchy-ID:controller-list:path` (cgroups(7)) → names and path; v2 has no names.
fn parse_own(text: &str) -> Result<Vec<(Vec<&str>, &str)>, LayoutError> {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let mut parts = line.splitn(3, ':').skip(1);
        let entry = parts.next().zip(parts.next()).filter(|(_, path)| path.starts_with('/'));
        let (names, path) = entry.ok_or_else(|| LayoutError {
            file: "/proc/self/cgroup",
            line: at + 1,
            text: line.to_owned(),
        })?;
        all.push((names.split(',').filter(|name| !name.is_empty()).collect(), path));
    }
    Ok(all)
}

fn is_member(kind: &HierarchyKind, names: &[&str]) -> bool {
    match kind {
        HierarchyKind::V2 { .. } => names.is_empty(),
        HierarchyKind::V1 { controllers, name, .. } => {
            controllers.iter().any(|controller| names.contains(&controller.name()))
                || name.as_deref().is_some_and(|name| names.contains(&name))
        }
    }
}

/// The part of a cgroup's path that is seen below a mount whose root is `root`. A cgroup outside of
/// the cgroup namespace has a path with `..`, which leads nowhere here (cgroup_namespaces(7)).
fn below_root(path: &str, root: &str) -> Option<String> {
    if path.split('/').any(|component| component == "..") {
        return None;
    }
    let root = root.trim_end_matches('/');
    let rest = path.strip_prefix(root)?;
    match rest {
        "" => Some("/".to_owned()),
        _ if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

struct Mount<'a> {
    root: String,
    point: PathBuf,
    fs_type: &'a str,
    super_options: &'a str,
}

impl Mount<'_> {
    fn kind(&self) -> Option<HierarchyKind> {
        if self.fs_type == "cgroup2" {
            return Some(HierarchyKind::V2 { controllers: Vec::new() });
        }
        let options = || self.super_options.split(',');
        let controllers: Vec<_> = options().filter_map(Controller::parse).collect();
        let name = options().find(|option| option.starts_with("name=")).map(str::to_owned);
        let no_prefix = options().any(|option| option == "noprefix");
        let known = !controllers.is_empty() || name.is_some();
        known.then_some(HierarchyKind::V1 { controllers, name, no_prefix })
    }
}

/// The cgroup mounts in mountinfo (proc(5)).
fn parse_mounts(text: &str) -> Result<Vec<Mount<'_>>, LayoutError> {
    let mut all = Vec::new();
    // Most lines are of other file systems, and there may be thousands.
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(" - cgroup"));
    for (at, line) in lines {
        let error =
            || LayoutError { file: "/proc/self/mountinfo", line: at + 1, text: line.to_owned() };
        let (mount, fs) = line.split_once(" - ").ok_or_else(error)?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = mount.next().zip(mount.next()).ok_or_else(error)?;
        let mut fs = fs.split(' ');
        let fs_type = fs.next().ok_or_else(error)?;
        if !matches!(fs_type, "cgroup" | "cgroup2") {
            continue;
        }
        let super_options = fs.nth(1).ok_or_else(error)?;
        let (root, point) = (unescape(root), unescape(point));
        all.push(Mount { root, point: PathBuf::from(point), fs_type, super_options });
    }
    Ok(all)
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| byte == b'\\' && digits.is_ascii());
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const MOUNTS_HYBRID: &str = "\
23 28 0:21 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const OWN_HYBRID: &str = "\
9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/
5:devices:/
4:memory:/jobs/7
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
";

    /// v1 without v2, some controllers mounted together, as systemd did it.
    pub(in super::super) fn v1() -> Layout {
        let mounts = "\
30 24 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 24 0:28 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
33 24 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix
34 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 24 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
36 24 0:32 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
37 24 0:33 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
38 24 0:34 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
39 24 0:35 / /sys/fs/cgroup/hugetlb rw - cgroup cgroup rw,hugetlb
40 24 0:36 / /sys/fs/cgroup/rdma rw - cgroup cgroup rw,rdma
";
        let own = "\
12:rdma:/
11:hugetlb:/
10:pids:/user.slice
9:blkio:/
8:freezer:/
7:devices:/user.slice
6:memory:/user.slice
5:cpuset:/
4:net_cls,net_prio:/
3:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/session-2.scope
";
        Layout::parse(own, mounts).unwrap()
    }

    /// Controllers on v1 but for hugetlb, which is on v2.
    pub(in super::super) fn hybrid() -> Layout {
        let mut layout = Layout::parse(OWN_HYBRID, MOUNTS_HYBRID).unwrap();
        layout.set_v2_controllers("hugetlb\n");
        layout
    }

    /// v2 alone.
    pub(in super::super) fn v2() -> Layout {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let mut layout = Layout::parse("0::/user.slice/session-2.scope\n", mounts).unwrap();
        layout.set_v2_controllers("cpuset cpu io memory hugetlb pids rdma misc\n");
        layout
    }

    #[test]
    fn routes_each_controller_by_itself() {
        let hybrid = hybrid();
        let place = |layout: &Layout, controller| {
            layout.of(controller).map(|at| {
                let hierarchy = &layout.hierarchies()[at];
                format!("{} {}", hierarchy.mount_point.display(), hierarchy.own)
            })
        };
        let memory = place(&hybrid, Controller::Memory);
        assert_eq!(memory.as_deref(), Some("/sys/fs/cgroup/memory /jobs/7"));
        let hugetlb = place(&hybrid, Controller::Hugetlb);
        assert_eq!(hugetlb.as_deref(), Some("/sys/fs/cgroup/unified /"));
        assert_eq!(place(&hybrid, Controller::NetCls), None);
        assert_eq!(hybrid.hierarchies().len(), 10);
        assert!(!hybrid.is_v2_only());

        let (v1, v2) = (v1(), v2());
        assert_eq!(v1.of(Controller::Cpu), v1.of(Controller::Cpuacct));
        assert_eq!(v1.v2(), None);
        assert!(v2.is_v2_only());
        assert_eq!(v2.of(Controller::Blkio), Some(0));
        assert_eq!(v2.of(Controller::Devices), None);
        assert_eq!(v2.v2_mount_point(), Some(Path::new("/sys/fs/cgroup")));
    }

    #[test]
    fn sees_itself_below_the_root_of_the_mount() {
        let parse = |own: &str, mounts: &str| {
            Layout::parse(own, mounts).unwrap().hierarchies().first().cloned().unwrap()
        };
        let mounts = "1 2 0:3 /docker/a /cg\\040x rw - cgroup cgroup rw,pids\n";
        let inside = parse("1:pids:/docker/a/b\n", mounts);
        assert_eq!((inside.own.as_str(), inside.mount_point.to_str()), ("/b", Some("/cg x")));
        assert_eq!(parse("1:pids:/docker/a\n", mounts).own, "/");
        assert_eq!(parse("1:pids:/docker/ab\n", mounts).own, "/");
        assert_eq!(parse("1:pids:/docker/a/../b\n", mounts).own, "/");
        let twice = "1 2 0:3 /docker /a rw - cgroup cgroup rw,pids\n\
                     2 2 0:3 / /b rw - cgroup cgroup rw,pids\n";
        assert_eq!(parse("1:pids:/other/c\n", twice).mount_point, Path::new("/b"));
        assert_eq!(parse("1:pids:/docker/c\n", twice).own, "/c");
    }

    #[test]
    fn refuses_what_the_kernel_never_writes() {
        let refused = |own, mounts| Layout::parse(own, mounts).unwrap_err().to_string();
        let error = refused("1:pids:/\nnonsense\n", "");
        assert_eq!(error, "/proc/self/cgroup, line 2: \"nonsense\" is no entry as proc(5) has it");
        assert!(refused("", "1 2 - cgroup").contains("line 1"));
        assert!(refused("", "1 2 3 4 5 - cgroup x").contains("mountinfo"));
        assert_eq!(Layout::parse("", "1 2 3 4 5 - cgroupish x y").unwrap(), Layout::default());
    }
}
