//! Where a process stands in the cgroup hierarchies, what they count, and a word when memory runs out.
//!
//! The runtime makes and limits cgroups; the shim only reads them, because `Stats` is asked for every few seconds
//! for every container, and a process for each answer would cost more than the answer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};

use crate::bundle::read_bounded;

/// Files of a cgroup are short; the longest lists one line for each block device.
const FILE_BYTES: u64 = 1 << 20;

/// The folders of one process: version 1 by controller, or the one of version 2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Version 1: controller → folder.
    pub controllers: BTreeMap<String, PathBuf>,
    /// Version 2, also where it only stands beside version 1.
    pub unified: Option<PathBuf>,
}

/// A hierarchy as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// What of the hierarchy is seen there; `/` but inside of containers.
    root: PathBuf,
    point: PathBuf,
    /// Controllers and names of version 1; none for version 2.
    controllers: Vec<String>,
    unified: bool,
}

fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next().unwrap_or_default(), tail.nth(1).unwrap_or_default());
        let head: Vec<&str> = head.split(' ').collect();
        let (Some(root), Some(point)) = (head.get(3), head.get(4)) else { continue };
        let (root, point) = (PathBuf::from(root), PathBuf::from(point));
        let unified = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => continue,
        };
        let controllers =
            if unified { Vec::new() } else { options.split(',').map(str::to_owned).collect() };
        found.push(Hierarchy { root, point, controllers, unified });
    }
    found
}

impl Cgroup {
    /// Those of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(Self::parse(&own, &mountinfo))
    }

    /// `/proc/PID/cgroup` and `/proc/self/mountinfo` put together.
    pub fn parse(own: &str, mountinfo: &str) -> Self {
        let hierarchies = hierarchies(mountinfo);
        let mut cgroup = Self::default();
        for line in own.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let of = |it: &&Hierarchy| {
                if names.is_empty() {
                    it.unified
                } else {
                    names.split(',').all(|name| it.controllers.iter().any(|c| c == name))
                }
            };
            let Some(hierarchy) = hierarchies.iter().find(of) else { continue };
            let path = Path::new(path);
            let inner = path.strip_prefix(&hierarchy.root).or_else(|_| path.strip_prefix("/"));
            let folder = hierarchy.point.join(inner.unwrap_or(path));
            if names.is_empty() {
                cgroup.unified = Some(folder);
            } else {
                for name in names.split(',') {
                    cgroup.controllers.insert(name.to_owned(), folder.clone());
                }
            }
        }
        cgroup
    }

    /// Whether resources are counted on version 2: no controller of version 1 is there.
    pub fn is_version_2(&self) -> bool {
        !["memory", "cpu", "cpuacct", "pids"].iter().any(|it| self.controllers.contains_key(*it))
    }

    /// A file of a controller of version 1.
    pub fn version_1(&self, controller: &str, file: &str) -> Option<String> {
        read(&self.controllers.get(controller)?.join(file))
    }

    /// A file of version 2.
    pub fn version_2(&self, file: &str) -> Option<String> {
        read(&self.unified.as_ref()?.join(file))
    }
}

fn read(path: &Path) -> Option<String> {
    String::from_utf8(read_bounded(path, FILE_BYTES).ok()?).ok()
}

/// The number in a file that holds one; `max` is the largest there is.
pub fn number(text: Option<&str>) -> u64 {
    match text.map(str::trim) {
        Some("max") => u64::MAX,
        Some(text) => text.parse().unwrap_or(0),
        None => 0,
    }
}

/// The lines `name number` of a file.
pub fn table(text: Option<&str>) -> BTreeMap<&str, u64> {
    let pair = |line: &'_ str| -> Option<(usize, u64)> {
        let (name, value) = line.split_once(' ')?;
        Some((name.len(), value.trim().parse().ok()?))
    };
    text.unwrap_or_default()
        .lines()
        .filter_map(|line| pair(line).map(|(end, value)| (&line[..end], value)))
        .collect()
}

/// Puts a process into a cgroup that is there, in every hierarchy that has it.
pub fn enter(path: &str, pid: u32) -> io::Result<()> {
    let inner = Path::new(path.trim_start_matches('/'));
    if inner.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return Err(io::Error::other("it is no path of a cgroup"));
    }
    let mut entered = false;
    for hierarchy in hierarchies(&fs::read_to_string("/proc/self/mountinfo")?) {
        let folder = hierarchy.point.join(inner);
        if !inner.as_os_str().is_empty() && folder.is_dir() {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
            entered = true;
        }
    }
    if entered { Ok(()) } else { Err(io::Error::other("no hierarchy has it")) }
}

/// A descriptor of which poll(2) says something when the kernel ended a process of the cgroup for want of memory.
#[derive(Debug)]
pub struct OomWatch {
    /// What to poll.
    pub descriptor: OwnedFd,
    counts: PathBuf,
    /// How many had been ended when it was last looked.
    seen: u64,
    /// Whether one was told that was not counted yet.
    ahead: bool,
    version_2: bool,
}

impl OomWatch {
    /// Begins to watch; `None` where memory is not counted.
    pub fn begin(cgroup: &Cgroup) -> io::Result<Option<Self>> {
        let version_2 = cgroup.is_version_2();
        let folder =
            if version_2 { cgroup.unified.as_ref() } else { cgroup.controllers.get("memory") };
        let Some(folder) = folder else { return Ok(None) };
        let counts = folder.join(if version_2 { "memory.events" } else { "memory.oom_control" });
        if !counts.exists() {
            return Ok(None);
        }
        let descriptor = if version_2 {
            // The kernel wakes who polls the file itself when it changes; of inotify's instances a user has few.
            fs::File::open(&counts)?.into()
        } else {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let control = fs::File::open(&counts)?;
            let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
            fs::write(folder.join("cgroup.event_control"), line)?;
            event
        };
        let mut watch = Self { descriptor, counts, seen: 0, ahead: false, version_2 };
        watch.seen = watch.count().unwrap_or(0);
        Ok(Some(watch))
    }

    fn count(&self) -> Option<u64> {
        let text = if self.version_2 { self.read_anew()? } else { read(&self.counts)? };
        Some(table(Some(&text)).get("oom_kill").copied().unwrap_or(0))
    }

    /// The polled file from its beginning; by that the kernel knows that what it has told of was seen.
    fn read_anew(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = rustix::io::pread(&self.descriptor, &mut buffer, 0).ok()?;
        Some(String::from_utf8_lossy(buffer.get(..length)?).into_owned())
    }

    /// Whether memory ran out since it was last asked.
    pub fn happened(&mut self) -> bool {
        let mut signalled = false;
        while !self.version_2 && matches!(rustix::io::read(&self.descriptor, &mut [0; 8]), Ok(1..))
        {
            signalled = true;
        }
        // Version 2 signals any change of the file, and version 1 the removal of the cgroup, too.
        let Some(now) = self.count() else { return false };
        let more = now > self.seen;
        self.seen = self.seen.max(now);
        if self.version_2 {
            return more;
        }
        // Version 1 signals before it kills: then the count says nothing yet, and when it does, it is told already.
        let told = self.ahead;
        self.ahead = if signalled { told || !more } else { told && !more };
        signalled || (more && !told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hierarchies_are_found() {
        let own = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n1:name=systemd:/x\n0::/docker/a\n";
        let mounts = "30 24 0:26 / /sys/fs/cgroup ro shared:1 - tmpfs tmpfs ro\n\
            31 30 0:27 / /sys/fs/cgroup/memory rw shared:2 - cgroup cgroup rw,memory\n\
            32 30 0:28 /docker /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let cgroup = Cgroup::parse(own, mounts);
        let folder = |name: &str| cgroup.controllers.get(name).map(|it| it.display().to_string());
        assert_eq!(folder("memory").as_deref(), Some("/sys/fs/cgroup/memory/docker/a"));
        assert_eq!(folder("cpuacct").as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct/a"));
        assert_eq!(cgroup.unified, Some(PathBuf::from("/sys/fs/cgroup/unified/docker/a")));
        assert!(!cgroup.is_version_2());
        let alone =
            Cgroup::parse("0::/a\n", "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(alone.is_version_2());
    }

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\nodd line here\n";
        assert_eq!(table(Some(text)).get("oom_kill"), Some(&3));
        assert_eq!(number(Some("max\n")), u64::MAX);
        assert_eq!(number(Some("12\n")), 12);
        assert_eq!(number(None), 0);
    }
}
