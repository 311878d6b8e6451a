//! From `linux.intelRdt` and what is in the resctrl file system to the directories and writes. Pure.

use std::path::{Path, PathBuf};

use crate::config::intel_rdt::IntelRdt;

/// What the compiler must know of the resctrl file system.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// `schemata` of the container's group, where the group is there already.
    pub group: Option<String>,
    /// Whether the container's monitoring group is there already.
    pub has_monitoring_group: bool,
    /// Whether masks of the level 3 cache can be set.
    pub has_cache: bool,
    /// Whether memory bandwidth can be set.
    pub has_bandwidth: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where the resctrl file system is mounted.
    pub mount: PathBuf,
    /// The container's group.
    pub group: PathBuf,
    /// What is written to its `schemata`, in one write.
    pub schemata: Option<String>,
    /// The container's monitoring group.
    pub monitoring: Option<PathBuf>,
    /// Directories that are made, in order.
    pub make: Vec<PathBuf>,
    /// Those of them that are removed with the container, in order.
    pub remove: Vec<PathBuf>,
}

/// Why the fields cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A group that somebody else should have made is not there.
    #[error(
        "linux.intelRdt.closID: clos dir not accessible: {} (must be pre-created when schemata, \
         l3CacheSchema and memBwSchema are empty)", .0.display()
    )]
    NoGroup(PathBuf),
    /// A group of somebody else has other limits.
    #[error(
        "linux.intelRdt.{field} ({wanted}) is not what {} has: {found:?}", group.display()
    )]
    Mismatch {
        /// The field.
        field: &'static str,
        /// What it says.
        wanted: String,
        /// The group.
        group: PathBuf,
        /// What `schemata` of the group says.
        found: String,
    },
    /// The machine cannot limit this.
    #[error("linux.intelRdt.{0} is specified in config, but Intel RDT/{1} is not enabled")]
    Unavailable(&'static str, &'static str),
}

/// The name of the container's group; empty for the root of the file system.
#[must_use]
pub fn group_name<'a>(config: &'a IntelRdt, id: &'a str) -> &'a str {
    match config.clos_id.as_deref() {
        Some("/") => "",
        Some(name) => name,
        None => id,
    }
}

/// Where the groups are: the container's, and its monitoring group.
#[must_use]
pub fn places(config: &IntelRdt, id: &str, mount: &Path) -> (PathBuf, PathBuf) {
    let group = match group_name(config, id) {
        "" => mount.to_owned(),
        name => mount.join(name),
    };
    let monitoring = group.join("mon_groups").join(id);
    (group, monitoring)
}

/// Compiles the fields.
///
/// # Errors
/// [`PlanError`].
pub fn compile(config: &IntelRdt, id: &str, facts: &Facts) -> Result<Plan, PlanError> {
    let (group, monitoring) = places(config, id, &facts.mount);
    if config.l3_cache_schema.is_some() && !facts.has_cache {
        return Err(PlanError::Unavailable("l3CacheSchema", "CAT"));
    }
    if config.mem_bw_schema.is_some() && !facts.has_bandwidth {
        return Err(PlanError::Unavailable("memBwSchema", "MBA"));
    }
    let named = config.clos_id.is_some();
    match &facts.group {
        Some(schemata) if named => compare(config, &group, schemata)?,
        None if named && !config.has_schemata() => return Err(PlanError::NoGroup(group)),
        _ => {}
    }
    let mut make = Vec::new();
    let mut remove = Vec::new();
    if facts.group.is_none() {
        make.push(group.clone());
    }
    let monitoring = config.enable_monitoring.then_some(monitoring);
    let made = monitoring.iter().filter(|_| !facts.has_monitoring_group).cloned();
    make.extend(made.clone());
    remove.extend(made);
    if !named && facts.group.is_none() {
        remove.push(group.clone());
    }
    Ok(Plan {
        mount: facts.mount.clone(),
        group,
        schemata: schemata(config),
        monitoring,
        make,
        remove,
    })
}

/// The lines in the order of the specification: cache, bandwidth, the others.
fn schemata(config: &IntelRdt) -> Option<String> {
    let first = config.l3_cache_schema.iter().chain(&config.mem_bw_schema);
    let lines: String = first.chain(&config.schemata).map(|line| format!("{line}\n")).collect();
    (!lines.is_empty()).then_some(lines)
}

/// A group that is there already must have what the fields say, whoever made it.
fn compare(config: &IntelRdt, group: &Path, schemata: &str) -> Result<(), PlanError> {
    for (field, wanted) in
        [("l3CacheSchema", &config.l3_cache_schema), ("memBwSchema", &config.mem_bw_schema)]
    {
        let Some(wanted) = wanted else { continue };
        let found: Vec<_> = values(schemata).collect();
        if !values(wanted).all(|value| found.contains(&value)) {
            return Err(PlanError::Mismatch {
                field,
                wanted: wanted.clone(),
                group: group.to_owned(),
                found: schemata.trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// Resource, cache id and value of each part of a schemata, as the kernel would understand them: it
/// writes leading zeros and small letters where a user may not.
fn values(schemata: &str) -> impl Iterator<Item = (String, String, String)> {
    let plain = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.trim_start_matches("0x").trim_start_matches('0');
        if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
    };
    schemata.lines().filter_map(|line| line.split_once(':')).flat_map(move |(resource, parts)| {
        let part = move |part: &str| {
            let (id, value) = part.split_once('=').unwrap_or((part, ""));
            (resource.trim().to_owned(), plain(id), plain(value))
        };
        parts.split(';').map(part).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn facts() -> Facts {
        Facts { mount: "/rc".into(), has_cache: true, has_bandwidth: true, ..Facts::default() }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn makes_a_group_of_its_own_and_takes_it_away() {
        let config = IntelRdt {
            mem_bw_schema: text("MB:0=20"),
            l3_cache_schema: text("L3:0=f"),
            schemata: vec!["L2:0=3".to_owned(), "MB:1=50".to_owned()],
            enable_monitoring: true,
            ..IntelRdt::default()
        };
        let plan = compile(&config, "web", &facts()).unwrap();
        assert_eq!(plan.schemata, text("L3:0=f\nMB:0=20\nL2:0=3\nMB:1=50\n"));
        let (group, monitoring) = ("/rc/web".into(), "/rc/web/mon_groups/web".into());
        assert_eq!(plan.make, [PathBuf::clone(&group), PathBuf::clone(&monitoring)]);
        assert_eq!(plan.remove, [monitoring, group]);
    }

    #[test]
    fn takes_a_named_group_and_leaves_it() {
        let config = IntelRdt { clos_id: text("gold"), ..IntelRdt::default() };
        let missing = compile(&config, "web", &facts()).unwrap_err();
        assert!(missing.to_string().contains("must be pre-created"), "{missing}");
        let there = Facts { group: text("L3:0=ff"), ..facts() };
        let plan = compile(&config, "web", &there).unwrap();
        assert_eq!((plan.group, plan.schemata), ("/rc/gold".into(), None));
        assert_eq!((plan.make, plan.remove), (vec![], vec![]));
        let config = IntelRdt { l3_cache_schema: text("L3:0=ff"), ..config };
        let plan = compile(&config, "web", &facts()).unwrap();
        assert_eq!((plan.make.len(), plan.remove.len()), (1, 0), "made, and left for others");
    }

    #[test]
    fn compares_with_a_named_group() {
        let group = Facts { group: text("    L3:0=00ff;1=0f0\n    MB:0= 100;1=  20\n"), ..facts() };
        for (cache, bandwidth, field) in [
            ("L3:1=F0;0=ff", "MB:1=20", None),
            ("L3:0=0f", "MB:1=20", Some("l3CacheSchema")),
            ("L3:0=ff", "MB:1=30", Some("memBwSchema")),
            ("L3:2=ff", "MB:1=20", Some("l3CacheSchema")),
        ] {
            let config = IntelRdt {
                clos_id: text("gold"),
                l3_cache_schema: text(cache),
                mem_bw_schema: text(bandwidth),
                ..IntelRdt::default()
            };
            let found = compile(&config, "web", &group).err().map(|error| error.to_string());
            assert_eq!(found.is_some(), field.is_some(), "{cache} {bandwidth}: {found:?}");
            assert!(found.unwrap_or_default().contains(field.unwrap_or_default()));
        }
    }

    #[test]
    fn uses_the_root_and_a_monitoring_group_in_it() {
        let config =
            IntelRdt { clos_id: text("/"), enable_monitoring: true, ..IntelRdt::default() };
        let plan = compile(&config, "web", &Facts { group: text(""), ..facts() }).unwrap();
        assert_eq!(plan.group, PathBuf::from("/rc"));
        assert_eq!(plan.make, [PathBuf::from("/rc/mon_groups/web")]);
        assert_eq!(plan.remove, plan.make);
    }

    #[test]
    fn leaves_what_was_there() {
        let config = IntelRdt { enable_monitoring: true, ..IntelRdt::default() };
        let there = Facts { group: text(""), has_monitoring_group: true, ..facts() };
        let plan = compile(&config, "web", &there).unwrap();
        assert_eq!((plan.make, plan.remove), (vec![], vec![]));
    }

    #[test]
    fn says_what_the_machine_cannot_limit() {
        let bare = Facts { has_cache: false, has_bandwidth: false, ..facts() };
        let cache = IntelRdt { l3_cache_schema: text("L3:0=f"), ..IntelRdt::default() };
        let error = compile(&cache, "web", &bare).unwrap_err().to_string();
        assert!(error.contains("l3CacheSchema") && error.contains("CAT"), "{error}");
        let bandwidth = IntelRdt { mem_bw_schema: text("MB:0=5"), ..IntelRdt::default() };
        let error = compile(&bandwidth, "web", &bare).unwrap_err().to_string();
        assert!(error.contains("memBwSchema") && error.contains("MBA"), "{error}");
    }
}
