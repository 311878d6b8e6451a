//! `mounts`: the entries and what their options mean.

use super::error::Kind;
use super::field::Field;

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
    Refused(&'static str),
    Nothing,
}

use Effect::{Clear, Propagation, RecursiveClear, RecursiveSet, Refused, Set};

/// The options of runtime-spec, config.md, "Linux mount options", sorted by name. Whatever is not
/// listed belongs to the file system.
const TABLE: &[(&str, Effect)] = &[
    ("acl", Set(libc::MS_POSIXACL)),
    ("async", Clear(libc::MS_SYNCHRONOUS)),
    ("atime", Clear(libc::MS_NOATIME)),
    ("bind", Effect::Bind(Bind::Single)),
    ("defaults", Effect::Nothing),
    ("dev", Clear(libc::MS_NODEV)),
    ("diratime", Clear(libc::MS_NODIRATIME)),
    ("dirsync", Set(libc::MS_DIRSYNC)),
    ("exec", Clear(libc::MS_NOEXEC)),
    ("idmap", Refused("id-mapped mounts are not supported yet")),
    ("iversion", Set(libc::MS_I_VERSION)),
    ("lazytime", Set(libc::MS_LAZYTIME)),
    ("loud", Clear(libc::MS_SILENT)),
    ("mand", Set(libc::MS_MANDLOCK)),
    ("noacl", Clear(libc::MS_POSIXACL)),
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
    ("ratime", RecursiveClear(libc::MS_NOATIME)),
    ("rbind", Effect::Bind(Bind::Recursive)),
    ("rdev", RecursiveClear(libc::MS_NODEV)),
    ("rdiratime", RecursiveClear(libc::MS_NODIRATIME)),
    ("relatime", Set(libc::MS_RELATIME)),
    ("remount", Refused("a mount of a container cannot be a remount")),
    ("rexec", RecursiveClear(libc::MS_NOEXEC)),
    ("ridmap", Refused("id-mapped mounts are not supported yet")),
    ("rnoatime", RecursiveSet(libc::MS_NOATIME)),
    ("rnodev", RecursiveSet(libc::MS_NODEV)),
    ("rnodiratime", RecursiveSet(libc::MS_NODIRATIME)),
    ("rnoexec", RecursiveSet(libc::MS_NOEXEC)),
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
    ("runbindable", Propagation(libc::MS_UNBINDABLE | libc::MS_REC)),
    ("rw", Clear(libc::MS_RDONLY)),
    ("shared", Propagation(libc::MS_SHARED)),
    ("silent", Set(libc::MS_SILENT)),
    ("slave", Propagation(libc::MS_SLAVE)),
    ("strictatime", Set(libc::MS_STRICTATIME)),
    ("suid", Clear(libc::MS_NOSUID)),
    ("symfollow", Clear(MS_NOSYMFOLLOW)),
    ("sync", Set(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Refused("copying the covered directory into a tmpfs is not supported yet")),
    ("unbindable", Propagation(libc::MS_UNBINDABLE)),
];

/// `MS_NOSYMFOLLOW`, Linux 5.10, which libc does not name.
pub const MS_NOSYMFOLLOW: u64 = 256;

/// The names of all options that are not a file system's own, sorted: what `features` lists.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_, effect)| !matches!(effect, Refused(_))).map(|(name, _)| *name)
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
        let kind = field.get("type").string().unwrap_or_default();
        let source = field.get("source").string().unwrap_or_default();
        if options.bind.is_some() {
            if source.is_empty() {
                field.get("source").refuse(Kind::Missing, "a bind mount needs a source");
            }
            if !options.data.is_empty() {
                let detail = format!("a bind mount takes no file system options: {}", options.data);
                field.get("options").refuse(Kind::Invalid, detail);
            }
        } else if kind.is_empty() || kind == "bind" || kind == "none" {
            // runc takes a type of "bind" without the option as an ordinary, and failing, mount.
            let detail = "neither bind nor rbind among the options, and no file system type";
            field.get("type").refuse(Kind::Missing, detail);
        }
        Some(Self {
            destination: path.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options,
        })
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
            Ok(Effect::Nothing) => {}
            Ok(Refused(why)) => field.refuse(Kind::Unsupported, why),
            Err(_) if name.is_empty() => {}
            Err(_) => {
                if !self.data.is_empty() {
                    self.data.push(',');
                }
                self.data.push_str(name);
            }
        }
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
