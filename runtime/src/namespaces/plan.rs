//! From `linux.namespaces` and the fields about them to steps. Pure.
//!
//! Who does what: the parent makes all new namespaces with the one clone, but for two that must wait:
//! a cgroup namespace shows the cgroup its maker is in, and a time namespace takes its offsets before
//! anybody enters it. A pid namespace is entered by children only, so the parent's thread goes there
//! for the clone. With a new user namespace the parent also joins the others for the clone, because
//! inside the child would lack the right to. For a user namespace that is joined a process is sent ahead,
//! which joins all, and makes the child there: what is new belongs to that user namespace then.

use std::borrow::Cow;
use std::fmt;

use crate::arena::{Arena, Text};
use crate::config::linux::{IdMapping, Linux, NamespaceKind};
use crate::config::net_devices::NetDevice;
use crate::config::rules::{dotted_name, sysctl_namespace};
use crate::config::spec::Spec;
use crate::failure::Origin;

/// A namespace to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Its kind.
    pub kind: NamespaceKind,
    /// Its file.
    pub path: Text,
    /// Where in the config it comes from.
    pub origin: Origin,
    /// A kernel parameter that is set in it, as the config names it: then it may not be the host's.
    pub sysctl: Option<Text>,
}

/// A step of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Joins the namespace with this index in [`Plan::joins`], unless it is joined already.
    Join(u16, NamespaceKind),
    /// Joins it now, if this process has the right to: another user namespace than the one that is joined
    /// next may own it. Otherwise the right comes with that one.
    JoinEarly(u16, NamespaceKind),
    /// Becomes root of the user namespace.
    BecomeRoot,
    /// Makes a namespace now rather than with the clone.
    New(NamespaceKind),
    /// Makes a cgroup namespace, rooted at the cgroup the child is in.
    NewCgroup,
    /// Makes a time namespace with these offsets and enters it.
    NewTime(Text),
    /// Brings the loopback interface up.
    Loopback,
    /// Sets the host name.
    Hostname(Text),
    /// Sets the domain name.
    Domainname(Text),
    /// Sets a kernel parameter: path below procfs, value.
    Sysctl(Text, Text),
}

/// Everything about namespaces.
#[derive(Debug, Default)]
pub struct Plan {
    /// `CLONE_NEW*` flags of the clone.
    pub create: u64,
    /// Namespaces to join; the parent opens them all.
    pub joins: Vec<Join>,
    /// Indices of those that the parent's thread is in during the clone.
    pub parent_joins: Vec<u16>,
    /// Content of `uid_map`, empty without a new user namespace.
    pub uid_map: String,
    /// Content of `gid_map`.
    pub gid_map: String,
    /// Network devices that the parent moves into the namespace.
    pub net_devices: Vec<NetDevice>,
    /// Steps of a process that is sent ahead into a user namespace, to make the child there.
    pub ahead: Vec<(Origin, Step)>,
    /// Steps before the file system is built.
    pub early: Vec<(Origin, Step)>,
    /// Makes the cgroup namespace, after the cgroup was joined.
    pub cgroup: Option<(Origin, Step)>,
    /// Steps after the file system was built.
    pub late: Vec<(Origin, Step)>,
}

/// Compiles the config's namespaces.
#[must_use]
pub fn compile(spec: &Spec, arena: &mut Arena) -> Plan {
    let linux = &spec.linux;
    let mut plan = Plan { net_devices: linux.net_devices.clone(), ..Plan::default() };
    let user = linux.namespace(NamespaceKind::User);
    let user = user.map_or(User::Callers, |user| match user.path {
        None => User::New,
        Some(_) => User::Joined,
    });
    if user == User::New {
        plan.uid_map = id_map(&linux.uid_mappings);
        plan.gid_map = id_map(&linux.gid_mappings);
        plan.early.push((Origin::field("linux.uidMappings"), Step::BecomeRoot));
    }
    for kind in NamespaceKind::ALL {
        let position = linux.namespaces.iter().position(|n| n.kind == kind);
        let Some(position) = position else { continue };
        let origin = Origin::item("linux.namespaces", position);
        match &linux.namespaces[position].path {
            Some(path) => {
                let set =
                    linux.sysctl.iter().find(|(name, _)| sysctl_namespace(name) == Some(kind));
                let sysctl = set.map(|(name, _)| arena.add(format!("linux.sysctl: {name}")));
                let path = arena.add(path);
                join(&mut plan, Join { kind, path, origin, sysctl }, user);
            }
            // What the kernel makes with the namespace shall belong to the root that is mapped by then:
            // the root directory of the message queues.
            None if kind == NamespaceKind::Ipc && user == User::New => {
                plan.early.push((origin, Step::New(kind)));
            }
            None => create(&mut plan, kind, origin, linux, arena),
        }
    }
    join_ahead(&mut plan);
    if linux.creates(NamespaceKind::Network) {
        plan.early.push((Origin::field("loopback interface"), Step::Loopback));
    }
    if let Some(name) = &spec.hostname {
        plan.late.push((Origin::field("hostname"), Step::Hostname(arena.add(name))));
    }
    if let Some(name) = &spec.domainname {
        plan.late.push((Origin::field("domainname"), Step::Domainname(arena.add(name))));
    }
    for (index, (name, value)) in linux.sysctl.iter().enumerate() {
        // In a dotted name a slash stands for a dot of the file's name (sysctl.d(5)).
        let path: String = dotted_name(name)
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect();
        let path = arena.add(format!("sys/{path}"));
        plan.late.push((Origin::item("linux.sysctl", index), Step::Sysctl(path, arena.add(value))));
    }
    plan
}

/// The container's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Callers,
    New,
    Joined,
}

fn join(plan: &mut Plan, join: Join, user: User) {
    let Join { kind, origin, .. } = join;
    let index = u16::try_from(plan.joins.len()).unwrap_or(u16::MAX);
    plan.joins.push(join);
    let step = (origin, Step::Join(index, kind));
    let child_only = matches!(kind, NamespaceKind::Mount | NamespaceKind::Time);
    match user {
        User::Joined => plan.ahead.push(step),
        User::New if !child_only => plan.parent_joins.push(index),
        _ if kind == NamespaceKind::Pid => plan.parent_joins.push(index),
        _ => plan.early.push(step),
    }
}

/// Whoever has joined the user namespace has no right any more to namespaces that another one owns, and
/// who has not may lack the right to those that it owns. So all are tried before, and the rest after.
fn join_ahead(plan: &mut Plan) {
    let Some(&(origin, Step::Join(..))) = plan.ahead.first() else { return };
    // The user namespace comes first among those that are joined.
    let others: Vec<_> = plan.ahead.iter().skip(1).copied().collect();
    plan.ahead.insert(1, (origin, Step::BecomeRoot));
    let early = others.into_iter().map(|(origin, step)| match step {
        Step::Join(index, kind) => (origin, Step::JoinEarly(index, kind)),
        other => (origin, other),
    });
    plan.ahead.splice(0..0, early);
}

fn create(plan: &mut Plan, kind: NamespaceKind, origin: Origin, linux: &Linux, arena: &mut Arena) {
    match kind {
        NamespaceKind::Cgroup => plan.cgroup = Some((origin, Step::NewCgroup)),
        NamespaceKind::Time => {
            let mut offsets = String::new();
            for offset in &linux.time_offsets {
                offsets += &format!("{} {} {}\n", offset.clock, offset.seconds, offset.nanoseconds);
            }
            plan.early.push((origin, Step::NewTime(arena.add(offsets))));
        }
        _ => plan.create |= kind.flag(),
    }
}

fn id_map(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

fn path<'a>(joins: &[Join], index: u16, arena: &'a Arena) -> Cow<'a, str> {
    joins.get(usize::from(index)).map(|join| arena.show(join.path)).unwrap_or_default()
}

/// A step with the strings it refers to, for a human.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Step, pub &'a Arena, pub &'a [Join]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step, arena, joins) = self;
        match step {
            Step::Join(index, kind) => {
                write!(f, "join {} {}", kind.name(), path(joins, *index, arena))
            }
            Step::JoinEarly(index, kind) => {
                let path = path(joins, *index, arena);
                write!(f, "join {} {path}, if its owner permits that already", kind.name())
            }
            Step::BecomeRoot => f.write_str("become root of the user namespace"),
            Step::New(kind) => write!(f, "new {} namespace", kind.name()),
            Step::NewCgroup => f.write_str("new cgroup namespace"),
            Step::NewTime(offsets) => {
                write!(f, "new time namespace {}", arena.show(*offsets).replace('\n', "; "))
            }
            Step::Loopback => f.write_str("loopback up"),
            Step::Hostname(name) => write!(f, "hostname {}", arena.show(*name)),
            Step::Domainname(name) => write!(f, "domainname {}", arena.show(*name)),
            Step::Sysctl(path, value) => {
                write!(f, "sysctl {} = {}", arena.show(*path), arena.show(*value))
            }
        }
    }
}
