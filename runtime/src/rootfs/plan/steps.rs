//! The language of the machine that builds a file system: its steps, and what they refer to. Pure.

use crate::arena::Text;
use crate::failure::Origin;
use crate::sys::mount::Attributes;
use crate::sys::open::Node;

/// A tree that the parent opens, because the child's user namespace could not, or whose ids it maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The tree.
    pub path: Text,
    /// With all mounts below it.
    pub recursive: bool,
    /// A last symbolic link is the tree.
    pub link: bool,
    /// Propagation the copy gets at once, so that it leaves the host's peer group.
    pub propagation: u64,
    /// How its ids are mapped.
    pub idmap: Option<TreeMap>,
    /// It lies in the rootfs, so that mounts before it may cover it: the child opens it in its turn.
    pub inside: bool,
    /// Where in the config it comes from.
    pub origin: Origin,
}

/// A mapping of a tree's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeMap {
    /// The index in [`Plan::user_namespaces`] of the namespace that has the mapping.
    pub namespace: u16,
    /// For all mounts of the tree.
    pub recursive: bool,
}

/// A user namespace whose mapping a tree gets; the parent makes or opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserNamespace {
    /// One with these maps, made for the purpose: the contents of `uid_map` and `gid_map`.
    New {
        /// Users.
        uids: String,
        /// Groups.
        gids: String,
    },
    /// The one that the container joins.
    At(String),
}

/// What a mount may be laid over, as far as procfs goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnProcfs {
    /// Nothing of it.
    Nowhere,
    /// One of the files that stand for a container what the host's would tell.
    File,
    /// `/proc` itself, by a procfs only.
    Top,
}

/// Where the tree of a bind mount comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The child opens the path before the pivot.
    Path(Text),
    /// The child opens what the path itself names, a symbolic link too.
    LinkPath(Text),
    /// The parent has opened it, or opens it when it is asked: the index of its [`Source`].
    Prepared(u16),
    /// The child opens it, and has the parent map its ids.
    Mapped {
        /// The index of its [`Source`].
        source: u16,
        /// The path.
        path: Text,
        /// A last symbolic link is the tree.
        link: bool,
    },
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
        /// Its last name is new in the open directory, an empty file system of this container.
        in_directory: bool,
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
        /// What it may cover.
        procfs: OnProcfs,
        /// Without links on the way the destination is neither the root nor on procfs, but where it is written to be.
        as_written: bool,
        /// The tree of the host that is shown where this may not be mounted.
        instead: Option<Text>,
    },
    /// Mounts a tmpfs on a directory, with a copy of what it covers in it.
    CopyUp {
        /// Destination.
        target: Text,
        /// Source, any name.
        source: Text,
        /// Attributes of the mount.
        attributes: Attributes,
        /// Data of the file system, empty for none.
        data: Text,
        /// Give it the mode of the directory it covers.
        inherit_mode: bool,
    },
    /// Changes what is mounted at a destination, file system and all.
    Remount {
        /// The mount.
        target: Text,
        /// `MS_*` flags.
        flags: u64,
        /// Data of the file system, empty for none.
        data: Text,
    },
    /// Attaches a tree of the host to a file or directory.
    Bind {
        /// The tree.
        tree: Tree,
        /// With all mounts below it.
        recursive: bool,
        /// Destination.
        target: Text,
        /// A last symbolic link of the destination is covered itself.
        link: bool,
        /// What it may cover.
        procfs: OnProcfs,
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
    /// Attaches a tree of the host to a directory of the container; where there is no such tree, what is
    /// there stays.
    BindIfThere {
        /// The tree, without mounts below it.
        tree: Tree,
        /// The directory.
        target: Text,
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
    /// Gives the mount at a path exactly these flags, as mount(8) does it for a bind mount with options;
    /// flags that are locked and were not asked to go stay.
    Flags {
        /// The mount.
        target: Text,
        /// The mount lies on a symbolic link.
        link: bool,
        /// What was asked for.
        attributes: Attributes,
        /// Whether flags that a user namespace may not take away stay.
        keep: bool,
        /// What is mounted there.
        source: Text,
    },
    /// Changes attributes of the mount whose directory is open and of all below it, whose parts follow.
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
        /// The part may have been left out.
        optional: bool,
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
        /// The host's, which is shown where no node may be made.
        host: Text,
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
    /// Makes a symbolic link at a path; one that is there must be the same.
    LinkAt {
        /// Path in the container.
        path: Text,
        /// What it points to.
        target: Text,
    },
    /// Hides a path: a file behind the null device, a directory behind an empty tmpfs.
    Mask {
        /// The path.
        path: Text,
        /// Its last name stands in the open directory, a procfs of this container as it is when it is new.
        in_directory: bool,
    },
    /// Makes a path read-only.
    Readonly {
        /// The path.
        path: Text,
        /// As for [`Step::Mask`].
        in_directory: bool,
    },
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
    /// Lays the root over the host's, so that a second chroot(2) finds no other.
    MoveRoot,
    /// Takes away a procfs or sysfs of the host that chroot(2) would leave in reach.
    Forget(Text),
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
    /// User namespaces for the trees whose ids are mapped.
    pub user_namespaces: Vec<UserNamespace>,
}
