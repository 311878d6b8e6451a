//! `mounts`: the entries and what their options mean.

use super::error::Kind;
use super::field::Field;
use super::idmap::{IdMap, Words};

/// One entry of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, inside the rootfs.
    pub destination: String,
    /// The file system type, or empty.
    pub kind: String,
    /// What: a path for a bind, a device or a name otherwise.
    pub source: String,
    /// What the options ask for.
    pub options: Options,
    /// How the ids of its files are mapped.
    pub idmap: Option<IdMap>,
}

/// The options of a mount, sorted out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether this is a bind mount, and if so whether of the whole tree.
    pub bind: Option<Bind>,
    /// `MS_*` flags to set.
    pub set: u64,
    /// `MS_*` flags to clear.
    pub clear: u64,
    /// `MS_*` flags to set on the whole tree below.
    pub recursive_set: u64,
    /// `MS_*` flags to clear on the whole tree below.
    pub recursive_clear: u64,
    /// Propagation changes, `MS_*` with or without `MS_REC`, in order.
    pub propagation: Vec<u64>,
    /// The options that are the file system's own, comma-separated.
    pub data: String,
    /// Whether what is mounted there already is changed (`remount`).
    pub remount: bool,
    /// Whether a new tmpfs begins with a copy of the directory it covers (`tmpcopyup`).
    pub copy_up: bool,
    /// A source that is a symbolic link becomes such a link at the destination (`copy-symlink`).
    pub copy_link: bool,
    /// A source that is a symbolic link is mounted itself (`src-nofollow`).
    pub source_link: bool,
    /// A destination that is a symbolic link is covered itself (`dest-nofollow`).
    pub destination_link: bool,
    /// What `idmap` and `ridmap` say, until it is brought together with the mount's mappings.
    pub(super) idmap: Option<Words>,
}

impl Options {
    /// Those of a bind mount of a single mount with these `MS_*` flags.
    #[must_use]
    pub fn bind(set: u64) -> Self {
        Self { bind: Some(Bind::Single), set, ..Self::default() }
    }
}

/// How much of a tree a bind mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bind {
    /// The one mount.
    Single,
    /// The mount and all below it.
    Recursive,
}

#[derive(Clone, Copy)]
enum Effect {
    Set(u64),
    Clear(u64),
    RecursiveSet(u64),
    RecursiveClear(u64),
    Propagation(u64),
    Bind(Bind),
    Turn(Switch),
    IdMap,
    Refused,
    Nothing,
}

/// Options that do one thing of their own.
#[derive(Clone, Copy)]
enum Switch {
    Remount,
    CopyUp,
    CopyLink,
    SourceLink,
    DestinationLink,
}

use Effect::{Clear, Propagation, RecursiveClear, RecursiveSet, Refused, Set, Turn};

/// The options of runtime-spec, config.md, "Linux mount options", and crun's own, sorted by name.
/// Whatever is not listed belongs to the file system.
const TABLE: &[(&str, Effect)] = &[
    ("async", Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Clear(libc::MS_NOATIME)),
    ("bind", Effect::Bind(Bind::Single)),
    ("copy-symlink", Turn(Switch::CopyLink)),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Turn(Switch::DestinationLink)),
    ("dev", Clear(libc::MS_NODEV)),
    ("diratime", Clear(libc::MS_NODIRATIME)),
    ("dirsync", Set(libc::MS_DIRSYNC)),
    ("exec", Clear(libc::MS_NOEXEC)),
    ("idmap", Effect::IdMap),
    ("iversion", Set(libc::MS_I_VERSION)),
    ("lazytime", Set(libc::MS_LAZYTIME)),
    ("loud", Clear(libc::MS_SILENT)),
    ("mand", Set(libc::MS_MANDLOCK)),
    ("noatime", Set(libc::MS_NOATIME)),
    ("nodev", Set(libc::MS_NODEV)),
    ("nodiratime", Set(libc::MS_NODIRATIME)),
    ("noexec", Set(libc::MS_NOEXEC)),
    ("noiversion", Clear(libc::MS_I_VERSION)),
    ("nolazytime", Clear(libc::MS_LAZYTIME)),
    ("nomand", Clear(libc::MS_MANDLOCK)),
    ("norelatime", Clear(libc::MS_RELATIME)),
    ("nostrictatime", Clear(libc::MS_STRICTATIME)),
    ("nosuid", Set(libc::MS_NOSUID)),
    ("nosymfollow", Set(MS_NOSYMFOLLOW)),
    ("private", Propagation(libc::MS_PRIVATE)),
    ("rasync", Refused),
    ("ratime", RecursiveClear(libc::MS_NOATIME)),
    ("rbind", Effect::Bind(Bind::Recursive)),
    ("rdev", RecursiveClear(libc::MS_NODEV)),
    ("rdiratime", RecursiveClear(libc::MS_NODIRATIME)),
    ("rdirsync", Refused),
    ("relatime", Set(libc::MS_RELATIME)),
    ("remount", Turn(Switch::Remount)),
    ("rexec", RecursiveClear(libc::MS_NOEXEC)),
    ("ridmap", Effect::IdMap),
    ("rmand", Refused),
    ("rnoatime", RecursiveSet(libc::MS_NOATIME)),
    ("rnodev", RecursiveSet(libc::MS_NODEV)),
    ("rnodiratime", RecursiveSet(libc::MS_NODIRATIME)),
    ("rnoexec", RecursiveSet(libc::MS_NOEXEC)),
    ("rnomand", Refused),
    ("rnorelatime", RecursiveClear(libc::MS_RELATIME)),
    ("rnostrictatime", RecursiveClear(libc::MS_STRICTATIME)),
    ("rnosuid", RecursiveSet(libc::MS_NOSUID)),
    ("rnosymfollow", RecursiveSet(MS_NOSYMFOLLOW)),
    ("ro", Set(libc::MS_RDONLY)),
    ("rprivate", Propagation(libc::MS_PRIVATE | libc::MS_REC)),
    ("rrelatime", RecursiveSet(libc::MS_RELATIME)),
    ("rro", RecursiveSet(libc::MS_RDONLY)),
    ("rrw", RecursiveClear(libc::MS_RDONLY)),
    ("rshared", Propagation(libc::MS_SHARED | libc::MS_REC)),
    ("rslave", Propagation(libc::MS_SLAVE | libc::MS_REC)),
    ("rstrictatime", RecursiveSet(libc::MS_STRICTATIME)),
    ("rsuid", RecursiveClear(libc::MS_NOSUID)),
    ("rsymfollow", RecursiveClear(MS_NOSYMFOLLOW)),
    ("rsync", Refused),
    ("runbindable", Propagation(libc::MS_UNBINDABLE | libc::MS_REC)),
    ("rw", Clear(libc::MS_RDONLY)),
    ("shared", Propagation(libc::MS_SHARED)),
    ("silent", Set(libc::MS_SILENT)),
    ("slave", Propagation(libc::MS_SLAVE)),
    ("src-nofollow", Turn(Switch::SourceLink)),
    ("strictatime", Set(libc::MS_STRICTATIME)),
    ("suid", Clear(libc::MS_NOSUID)),
    ("symfollow", Clear(MS_NOSYMFOLLOW)),
    ("sync", Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Turn(Switch::CopyUp)),
    ("unbindable", Propagation(libc::MS_UNBINDABLE)),
];

/// `MS_NOSYMFOLLOW`, Linux 5.10, which libc does not name.
pub const MS_NOSYMFOLLOW: u64 = 256;

/// The names of all options that are not a file system's own, sorted: what `features` lists.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_, effect)| !matches!(effect, Refused)).map(|(name, _)| *name)
}

impl Mount {
    /// Reads one entry.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let destination = field.get("destination");
        let path = destination.required_string()?;
        if path.is_empty() {
            destination.refuse(Kind::Invalid, "is empty");
        } else if !path.starts_with('/') {
            destination.warn("a relative destination is deprecated; it is taken from /");
        }
        let options = Options::read(&field.get("options"));
        let mount = Self {
            destination: path.to_owned(),
            kind: field.get("type").string().unwrap_or_default().to_owned(),
            source: field.get("source").string().unwrap_or_default().to_owned(),
            options,
            idmap: None,
        };
        mount.check(field);
        Some(mount)
    }

    /// The names of its destination, one after the other.
    fn destination_names(&self) -> impl Iterator<Item = &str> {
        self.destination.split('/').filter(|name| !name.is_empty() && *name != ".")
    }

    /// Whether the destination is the directory `name` of the root, as it is written.
    #[must_use]
    pub fn is_at(&self, name: &str) -> bool {
        self.destination_names().eq([name])
    }

    /// Whether the destination lies directly in that directory, as it is written, and is written to its last name.
    #[must_use]
    pub fn is_in(&self, name: &str) -> bool {
        let last = self.destination.rsplit('/').next().unwrap_or_default();
        last != ".." && self.destination_names().eq([name, last])
    }

    /// Whether the destination is that directory of the root or lies somewhere in it, as it is written. What goes
    /// up again counts as everywhere.
    #[must_use]
    pub fn is_below(&self, name: &str) -> bool {
        let mut names = self.destination_names();
        names.next() == Some(name) || self.destination_names().any(|it| it == "..")
    }

    fn check(&self, field: &Field<'_>) {
        let Self { kind, source, options, .. } = self;
        if !self.destination.is_empty() && self.destination_names().next().is_none() {
            field.get("destination").refuse(Kind::Invalid, "is the rootfs itself");
        }
        if options.bind.is_some() {
            if source.is_empty() && !options.remount {
                field.get("source").refuse(Kind::Missing, "a bind mount needs a source");
            }
            if !options.data.is_empty() {
                let detail = format!("a bind mount takes no file system options: {}", options.data);
                field.get("options").refuse(Kind::Invalid, detail);
            }
        } else if options.remount {
            // What is there already has its type.
        } else if kind.is_empty() || kind == "bind" || kind == "none" {
            // runc takes a type of "bind" without the option as an ordinary, and failing, mount.
            let detail = "neither bind nor rbind among the options, and no file system type";
            field.get("type").refuse(Kind::Missing, detail);
        } else if self.is_at("proc") && kind != "proc" {
            // Whatever stands there is taken for procfs later (CVE-2019-16884).
            let detail =
                format!("{kind:?} cannot be mounted on /proc because it is not of type proc");
            field.get("type").refuse(Kind::Conflict, detail);
        } else if matches!(kind.as_str(), "proc" | "sysfs")
            && self.destination_names().next() == Some("proc")
            && !self.is_at("proc")
        {
            let detail = "cannot be mounted because it is inside /proc";
            field.get("destination").refuse(Kind::Conflict, detail);
        }
        if options.copy_up && (kind != "tmpfs" || options.bind.is_some()) {
            let detail = "tmpcopyup is for a new tmpfs";
            field.get("options").refuse(Kind::Conflict, detail);
        }
        let of_links = options.copy_link || options.source_link || options.destination_link;
        if of_links && options.bind.is_none() {
            let detail = "copy-symlink, src-nofollow and dest-nofollow are for bind mounts";
            field.get("options").refuse(Kind::Conflict, detail);
        }
    }
}

impl Options {
    fn read(field: &Field<'_>) -> Self {
        let mut options = Self::default();
        field.for_each(|item| {
            if let Some(name) = item.string() {
                options.apply(item, name);
            }
        });
        options
    }

    /// A later option wins over an earlier one about the same flag.
    fn apply(&mut self, field: &Field<'_>, name: &str) {
        let known = TABLE.binary_search_by(|(known, _)| (*known).cmp(name));
        match known.map(|at| TABLE[at].1) {
            Ok(Set(flag)) => {
                self.set |= flag;
                self.clear &= !flag;
            }
            Ok(Clear(flag)) => {
                self.clear |= flag;
                self.set &= !flag;
            }
            Ok(RecursiveSet(flag)) => {
                self.recursive_set |= flag;
                self.recursive_clear &= !flag;
            }
            Ok(RecursiveClear(flag)) => {
                self.recursive_clear |= flag;
                self.recursive_set &= !flag;
            }
            Ok(Propagation(kind)) => self.propagation.push(kind),
            Ok(Effect::Bind(bind)) => {
                self.bind =
                    Some(if self.bind == Some(Bind::Recursive) { Bind::Recursive } else { bind });
            }
            Ok(Turn(switch)) => self.turn_on(switch),
            Ok(Effect::IdMap) => self.idmap = Words::read(field, name),
            Ok(Effect::Nothing) => {}
            Ok(Refused) => {
                let detail = format!(
                    "{name:?} is about a file system as a whole: no kernel can change it for the mounts \
                     below a bind mount"
                );
                field.refuse(Kind::Unsupported, detail);
            }
            Err(_) if name.is_empty() => {}
            Err(_) => {
                if let Some(words) = Words::read(field, name) {
                    self.idmap = Some(words);
                    return;
                }
                if !self.data.is_empty() {
                    self.data.push(',');
                }
                self.data.push_str(name);
            }
        }
    }

    fn turn_on(&mut self, switch: Switch) {
        *match switch {
            Switch::Remount => &mut self.remount,
            Switch::CopyUp => &mut self.copy_up,
            Switch::CopyLink => &mut self.copy_link,
            Switch::SourceLink => &mut self.source_link,
            Switch::DestinationLink => &mut self.destination_link,
        } = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_table_sorted_for_the_search() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
