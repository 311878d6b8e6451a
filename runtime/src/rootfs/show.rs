//! The steps of [`super::plan`] in words, for `keel plan` and for errors.

use std::fmt;

use super::plan::{Source, Step, Tree};
use crate::arena::{Arena, Text};
use crate::sys::mount::{
    ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID, ATTR_NOSYMFOLLOW,
    ATTR_RDONLY, ATTR_STRICTATIME, Attributes,
};
use crate::sys::open::Node;

/// A step with the strings it refers to, for a human.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Step, pub &'a Arena, pub &'a [Source]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step, arena, sources) = self;
        let text = |text: Text| arena.show(text);
        let tree = |tree: &Tree| match tree {
            Tree::Path(path) | Tree::LinkPath(path) | Tree::Mapped { path, .. } => {
                arena.show(*path)
            }
            Tree::Prepared(index) => {
                sources.get(usize::from(*index)).map_or("?".into(), |s| arena.show(s.path))
            }
        };
        match step {
            Step::PropagateHost(flags) => write!(f, "propagation / {}", propagation_name(*flags)),
            Step::PropagateHostAt { target, flags } => {
                write!(f, "propagation {} {}", text(*target), propagation_name(*flags))
            }
            Step::AttachRoot { path, .. } => write!(f, "root {}", text(*path)),
            Step::OpenRoot(path) => write!(f, "root {}", text(*path)),
            Step::Mount { target, kind, flags, data, instead, .. } => {
                write!(f, "mount {} → {}", text(*kind), text(*target))?;
                write_flags(f, *flags)?;
                match text(*data) {
                    data if data.is_empty() => {}
                    data => write!(f, " [{data}]")?,
                }
                match instead {
                    Some(tree) => write!(f, ", or the host's {}", text(*tree)),
                    None => Ok(()),
                }
            }
            Step::CopyUp { target, data, attributes, .. } => {
                write!(f, "mount tmpfs → {} with a copy of what is there", text(*target))?;
                write_attributes(f, *attributes)?;
                match text(*data) {
                    data if data.is_empty() => Ok(()),
                    data => write!(f, " [{data}]"),
                }
            }
            Step::Remount { target, flags, .. } => {
                write!(f, "remount {}", text(*target))?;
                write_flags(f, *flags)
            }
            Step::Bind { tree: source, recursive, target, .. } => {
                let verb = if *recursive { "rbind" } else { "bind" };
                write!(f, "{verb} {} → {}", tree(source), text(*target))
            }
            Step::BindIfThere { tree: source, target } => {
                write!(f, "bind {} → {}, if it is there", tree(source), text(*target))
            }
            Step::BindInto { tree: source, name, .. } => {
                write!(f, "bind {} → {}", tree(source), text(*name))
            }
            Step::Attributes { target, attributes, recursive } => {
                let scope = if *recursive { " and below" } else { "" };
                write!(f, "attributes {}{scope}", text(*target))?;
                write_attributes(f, *attributes)
            }
            Step::Flags { target, attributes, source, .. } => {
                write!(f, "flags {}", text(*target))?;
                match text(*source) {
                    source if source.is_empty() => {}
                    source => write!(f, " of {source}")?,
                }
                write_attributes(f, *attributes)
            }
            Step::WholeAttributes { target, attributes } => {
                write!(f, "attributes {} and below", text(*target))?;
                write_attributes(f, *attributes)
            }
            Step::PartAttributes { target, .. } => {
                write!(f, "attributes {}, unless done with the whole", text(*target))
            }
            Step::Propagate { target, flags } => {
                write!(f, "propagation {} {}", text(*target), propagation_name(*flags))
            }
            Step::OpenDirectory(path) => write!(f, "in {}", text(*path)),
            Step::Device { name: path, node, mode, .. }
            | Step::DeviceAt { path, node, mode, .. } => {
                write!(f, "device {} {} {mode:04o}", text(*path), node_text(*node))
            }
            Step::Link { name: path, target, .. } | Step::LinkAt { path, target } => {
                write!(f, "link {} → {}", text(*path), text(*target))
            }
            Step::Mask { path, .. } => write!(f, "mask {}", text(*path)),
            Step::Readonly { path, .. } => write!(f, "read-only {}", text(*path)),
            Step::Directory(path) => write!(f, "directory {}", text(*path)),
            Step::RootReadonly => f.write_str("read-only /"),
            Step::Pivot { .. } => f.write_str("pivot_root"),
            Step::MoveRoot => f.write_str("move the root over the host's"),
            Step::Forget(place) => write!(f, "take away the host's {}", text(*place)),
            Step::Chroot => f.write_str("chroot"),
            Step::PropagateRoot(flags) => write!(f, "propagation / {}", propagation_name(*flags)),
        }
    }
}

/// As a list of devices in a config has it.
fn node_text(node: Node) -> String {
    match node {
        Node::File => "file".to_owned(),
        Node::Fifo => "p".to_owned(),
        Node::Character { major, minor } => format!("c {major}:{minor}"),
        Node::Block { major, minor } => format!("b {major}:{minor}"),
    }
}

fn propagation_name(flags: u64) -> String {
    let kinds = [
        (libc::MS_SHARED, "shared"),
        (libc::MS_SLAVE, "slave"),
        (libc::MS_PRIVATE, "private"),
        (libc::MS_UNBINDABLE, "unbindable"),
    ];
    let name = kinds.iter().find(|(flag, _)| flags & flag != 0).map_or("?", |(_, name)| name);
    let recursive = if flags & libc::MS_REC != 0 { "r" } else { "" };
    format!("{recursive}{name}")
}

fn write_flags(f: &mut fmt::Formatter<'_>, flags: u64) -> fmt::Result {
    let names = [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_NOSUID, "nosuid"),
        (libc::MS_NODEV, "nodev"),
        (libc::MS_NOEXEC, "noexec"),
        (libc::MS_NOATIME, "noatime"),
        (libc::MS_RELATIME, "relatime"),
        (libc::MS_STRICTATIME, "strictatime"),
        (libc::MS_NODIRATIME, "nodiratime"),
        (libc::MS_SYNCHRONOUS, "sync"),
    ];
    for (flag, name) in names {
        if flags & flag != 0 {
            write!(f, " {name}")?;
        }
    }
    Ok(())
}

fn write_attributes(f: &mut fmt::Formatter<'_>, attributes: Attributes) -> fmt::Result {
    let names = [
        (ATTR_RDONLY, "ro", "rw"),
        (ATTR_NOSUID, "nosuid", "suid"),
        (ATTR_NODEV, "nodev", "dev"),
        (ATTR_NOEXEC, "noexec", "exec"),
        (ATTR_NODIRATIME, "nodiratime", "diratime"),
        (ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
        (ATTR_NOATIME, "noatime", ""),
        (ATTR_STRICTATIME, "strictatime", ""),
    ];
    for (bit, on, off) in names {
        if attributes.set & bit != 0 {
            write!(f, " {on}")?;
        } else if attributes.clear & bit != 0 && !off.is_empty() {
            write!(f, " {off}")?;
        }
    }
    Ok(())
}
