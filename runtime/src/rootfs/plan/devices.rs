//! The devices every container has, those of `linux.devices`, and the links beside them. Pure.

use super::{Compiler, Directory, Step};
use crate::config::linux::DeviceNode;
use crate::failure::Origin;
use crate::rootfs::attributes::attributes;
use crate::sys::open::Node;

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

impl Compiler<'_> {
    pub(super) fn devices(&mut self) {
        let mut mounts = self.spec.mounts.iter();
        if mounts.any(|m| m.options.bind.is_some() && m.is_at("dev")) {
            return;
        }
        let origin = Origin::field("default devices");
        if self.directory != Directory::NewDev {
            self.open_dev(origin);
        }
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
            if is_ptmx(&device.path) {
                // The link to the container's own is made below, whatever stands here.
                continue;
            }
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

    pub(super) fn open_dev(&mut self, origin: Origin) {
        let dev = self.arena.add("dev");
        self.step(origin, Step::OpenDirectory(dev));
    }

    /// In a user namespace no device can be made, so the host's is shown; nobody changes its owner.
    fn device(&mut self, origin: Origin, path: &str, node: Node, mode: u32, owner: (u32, u32)) {
        if self.new_user_namespace && node != Node::Fifo {
            let tree = self.tree(origin, path, false);
            let target = self.arena.add(path);
            // What is shown of the host's /dev is more than a node: it comes with its mount.
            let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
            self.show(origin, tree, target, attributes(flags, 0));
            return;
        }
        let (uid, gid) = owner;
        let name = path.strip_prefix("/dev/").filter(|name| !name.contains('/'));
        match name {
            Some(name) => {
                let name = self.arena.add(name);
                let host = self.arena.add(path);
                self.step(origin, Step::Device { name, node, mode, uid, gid, host });
            }
            None => {
                let path = self.arena.add(path);
                self.step(origin, Step::DeviceAt { path, node, mode, uid, gid });
            }
        }
    }
}

fn is_ptmx(path: &str) -> bool {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").eq(["dev", "ptmx"])
}
