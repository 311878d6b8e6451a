//! Id-mapped mounts: `uidMappings` and `gidMappings` of a mount, its options `idmap` and `ridmap`, and
//! crun's form `idmap=uids=0-1000-10#10-3000-5;gids=@0-1-10`.

use super::error::Kind;
use super::field::Field;
use super::linux::{IdMapping, Linux, NamespaceKind, id_mapping};
use super::mounts::Mount;

/// How the ids of a mount are mapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap {
    /// For all mounts below the source too.
    pub recursive: bool,
    /// The mapping; `None` is the one of the container's user namespace.
    pub maps: Option<Maps>,
}

/// A mapping of users and groups: from the file system's ids (`container`) to the host's (`host`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maps {
    /// Users.
    pub uids: Vec<IdMapping>,
    /// Groups.
    pub gids: Vec<IdMapping>,
}

/// What the options of a mount say about a mapping. Ranges with `@` are counted from the container's
/// user namespace, which is known only when the whole document is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Words {
    recursive: bool,
    ranges: Option<[Vec<Range>; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    mapping: IdMapping,
    relative: bool,
}

impl Words {
    /// Reads `idmap`, `ridmap`, or either with a mapping after `=`; `None` for any other option.
    pub(super) fn read(field: &Field<'_>, option: &str) -> Option<Self> {
        let (name, value) = option.split_once('=').map_or((option, None), |(n, v)| (n, Some(v)));
        let recursive = match name {
            "idmap" => false,
            "ridmap" => true,
            _ => return None,
        };
        let ranges = value.map(|value| {
            ranges(value).unwrap_or_else(|wrong| {
                let detail = format!(
                    "{wrong:?} (wanted: uids=ID-HOST-SIZE#…;gids=ID-HOST-SIZE#…, each with @ before \
                     it where HOST is an id of the container)"
                );
                field.refuse(Kind::Invalid, detail);
                <[Vec<Range>; 2]>::default()
            })
        });
        Some(Self { recursive, ranges })
    }
}

/// The ranges of users and of groups, or the part that is none.
fn ranges(value: &str) -> Result<[Vec<Range>; 2], &str> {
    let mut both = <[Vec<Range>; 2]>::default();
    for list in value.split(';') {
        let (side, ranges) = match list.split_once('=') {
            Some(("uids", ranges)) => (&mut both[0], ranges),
            Some(("gids", ranges)) => (&mut both[1], ranges),
            _ => return Err(list),
        };
        for text in ranges.split('#') {
            side.push(range(text).ok_or(text)?);
        }
    }
    Ok(both)
}

fn range(text: &str) -> Option<Range> {
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut numbers = numbers.split('-').map(|number| {
        number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u32>().ok()).flatten()
    });
    let mut next = || numbers.next().flatten();
    let mapping = IdMapping { container: next()?, host: next()?, size: next()? };
    numbers.next().is_none().then_some(Range { mapping, relative })
}

/// Brings the fields and options of every mount together, and refuses what contradicts itself.
/// `root` is the whole document.
pub(super) fn resolve(mounts: &mut [Mount], linux: &Linux, root: &Field<'_>) {
    if mounts.is_empty() {
        return;
    }
    let list = root.get("mounts");
    let mut count = 0;
    list.for_each(|_| count += 1);
    // An entry that could not be read has its findings already, and then nothing is run.
    if count != mounts.len() {
        return;
    }
    let mut mounts = mounts.iter_mut();
    list.for_each(|field| {
        if let Some(mount) = mounts.next() {
            resolve_one(mount, linux, field);
        }
    });
}

fn resolve_one(mount: &mut Mount, linux: &Linux, field: &Field<'_>) {
    let words = mount.options.idmap.take();
    let [uids, gids] = ["uidMappings", "gidMappings"].map(|name| field.get(name));
    if words.is_none() && !uids.is_present() && !gids.is_present() {
        return;
    }
    let options = field.get("options");
    let recursive = words.as_ref().is_some_and(|words| words.recursive);
    let ranges = words.and_then(|words| words.ranges);
    let fields = uids.is_present() || gids.is_present();
    let maps = match ranges {
        Some(_) if fields => {
            let detail = "a mapping in the option and one in uidMappings and gidMappings";
            options.refuse(Kind::Conflict, detail);
            None
        }
        Some([uids, gids]) => Some(Maps {
            uids: absolute(uids, &linux.uid_mappings, &options),
            gids: absolute(gids, &linux.gid_mappings, &options),
        }),
        None if fields => {
            Some(Maps { uids: uids.collect(id_mapping), gids: gids.collect(id_mapping) })
        }
        None => None,
    };
    check(mount, maps.as_ref(), linux, field);
    mount.idmap = Some(IdMap { recursive, maps });
}

/// What runtime-spec, config.md, and the kernel ask for (mount_setattr(2), user_namespaces(7)).
fn check(mount: &Mount, maps: Option<&Maps>, linux: &Linux, field: &Field<'_>) {
    let options = field.get("options");
    if mount.options.bind.is_none() {
        options.refuse(Kind::Conflict, "ids can be mapped on bind mounts only");
    }
    let Some(maps) = maps else {
        if linux.namespace(NamespaceKind::User).is_none() {
            let detail = "idmap without uidMappings and gidMappings takes those of the container's \
                          user namespace, and there is none";
            options.refuse(Kind::Missing, detail);
        }
        return;
    };
    for (name, side) in [("uidMappings", &maps.uids), ("gidMappings", &maps.gids)] {
        let member = field.get(name);
        if side.is_empty() {
            member.refuse(Kind::Missing, "users and groups must both be mapped");
        }
        if side.iter().any(|mapping| mapping.size == 0) {
            member.refuse(Kind::Invalid, "a mapping of no ids");
        }
    }
}

fn absolute(ranges: Vec<Range>, namespace: &[IdMapping], options: &Field<'_>) -> Vec<IdMapping> {
    let one = |range: Range| {
        let mut mapping = range.mapping;
        if !range.relative {
            return Some(mapping);
        }
        let holding = namespace.iter().find(|known| {
            mapping.host >= known.container && mapping.host - known.container < known.size
        });
        let host = holding.and_then(|known| {
            u32::try_from(u64::from(mapping.host - known.container) + u64::from(known.host)).ok()
        });
        match host {
            Some(host) => mapping.host = host,
            None => {
                let detail = format!(
                    "no mapping of the container's user namespace holds the id {} of a range with @",
                    mapping.host
                );
                options.refuse(Kind::Conflict, detail);
            }
        }
        host.map(|_| mapping)
    };
    ranges.into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_short_form() {
        let [uids, gids] = ranges("uids=0-1-10#10-11-10;gids=@0-100-10").unwrap();
        assert_eq!(uids.len(), 2);
        assert_eq!(uids[1].mapping, IdMapping { container: 10, host: 11, size: 10 });
        assert!(!uids[0].relative);
        assert!(gids[0].relative);
    }

    #[test]
    fn names_what_is_no_range() {
        for (value, wrong) in [
            ("uids=0-1", "0-1"),
            ("uids=0-1-2-3", "0-1-2-3"),
            ("uids=+0-1-2", "+0-1-2"),
            ("uids=0--2", "0--2"),
            ("uids=", ""),
            ("users=0-1-2", "users=0-1-2"),
            ("", ""),
            ("uids=0-4294967296-1", "0-4294967296-1"),
        ] {
            assert_eq!(ranges(value), Err(wrong), "{value}");
        }
    }
}
