//! A mount of type `cgroup`: the container's own view of each hierarchy. Pure.

use std::path::Path;

use super::{CgroupMount, Compiler, Directory, OnProcfs, Step, Tree};
use crate::arena::Text;
use crate::config::linux::NamespaceKind;
use crate::config::mounts::{Bind, Mount as MountEntry};
use crate::failure::Origin;
use crate::rootfs::attributes::attributes;

impl Compiler<'_> {
    /// A container sees its own cgroup: through its namespace where it has one, else by a bind of
    /// each hierarchy's directory.
    pub(super) fn cgroup(&mut self, origin: Origin, entry: &MountEntry, target: Text) {
        let own_view = self.spec.linux.creates(NamespaceKind::Cgroup) && !self.is_covered(entry);
        let destination = entry.destination.trim_end_matches('/');
        let flags = entry.options.set;
        if let [only] = self.context.cgroups
            && only.name.is_empty()
        {
            self.hierarchy(origin, only, target, flags, own_view);
            return;
        }
        let as_written = self.is_as_written(entry, false);
        self.empty_directory(origin, target, flags & !libc::MS_RDONLY, as_written);
        self.step(origin, Step::OpenDirectory(target));
        self.directory = Directory::Other;
        for cgroup in self.context.cgroups {
            let name = self.arena.add(&cgroup.name);
            if own_view {
                let below = self.arena.add(format!("{destination}/{}", cgroup.name));
                self.hierarchy(origin, cgroup, below, flags, own_view);
            } else {
                let optional = self.context.optional_cgroups;
                // What may be missing is looked for where it may be left out.
                let tree = match optional {
                    true => Tree::Path(self.arena.add(&cgroup.path)),
                    false => self.cgroup_tree(origin, &cgroup.path),
                };
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
            let optional = !own_view && self.context.optional_cgroups;
            self.step(origin, Step::PartAttributes { target: part, attributes, optional });
        }
    }

    /// A file system of one empty directory.
    fn empty_directory(&mut self, origin: Origin, target: Text, flags: u64, as_written: bool) {
        let tmpfs = self.arena.add("tmpfs");
        let step = Step::Mount {
            target,
            in_directory: false,
            kind: tmpfs,
            source: tmpfs,
            flags,
            data: self.arena.add("mode=755"),
            ordinary: false,
            inherit_mode: false,
            procfs: OnProcfs::Nowhere,
            as_written,
            instead: None,
        };
        self.step(origin, step);
    }

    /// Whether an earlier entry brings the host's mounts there along, as the bind of all of `/sys` for
    /// an ordinary user does: the kernel mounts no file system onto itself, but takes a bind.
    fn is_covered(&self, entry: &MountEntry) -> bool {
        let earlier = self.spec.mounts.iter().take_while(|other| !std::ptr::eq(*other, entry));
        let mut trees = earlier.filter(|other| other.options.bind == Some(Bind::Recursive));
        trees.any(|other| Path::new(&entry.destination).starts_with(&other.destination))
    }

    fn cgroup_tree(&mut self, origin: Origin, path: &str) -> Tree {
        match self.context.late_cgroups {
            true => Tree::Path(self.arena.add(path)),
            false => self.tree(origin, path, false),
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
                in_directory: false,
                kind,
                source: kind,
                flags,
                data,
                ordinary: false,
                inherit_mode: false,
                procfs: OnProcfs::Nowhere,
                as_written: false,
                instead: self.new_user_namespace.then(|| self.arena.add(&cgroup.path)),
            };
            self.step(origin, step);
        } else if self.context.optional_cgroups && !self.context.late_cgroups {
            // Else the host's own would show through, where all of `/sys` is bound.
            self.empty_directory(origin, target, flags & !libc::MS_RDONLY, false);
            let tree = Tree::Path(self.arena.add(&cgroup.path));
            self.step(origin, Step::BindIfThere { tree, target });
            let attributes = attributes(flags, 0);
            self.step(origin, Step::Attributes { target, attributes, recursive: false });
        } else {
            let tree = self.cgroup_tree(origin, &cgroup.path);
            self.show(origin, tree, target, attributes(flags, 0));
        }
    }
}
