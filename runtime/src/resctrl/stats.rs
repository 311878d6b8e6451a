//! What the kernel counts in a container's groups of the resctrl file system, and what limits it. All of it
//! is read anew for each sample; a file that the machine does not have leaves its figure out.

use std::fs;
use std::path::Path;

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// The level 3 cache, where masks of it can be set.
    pub cache: Option<Cache>,
    /// Memory bandwidth, where it can be limited.
    pub bandwidth: Option<Bandwidth>,
    /// The lines of the group's `schemata`.
    pub schemata: Vec<String>,
    /// Bytes moved, for each node, where the container is monitored and the machine counts them.
    pub traffic: Option<Vec<Traffic>>,
    /// Bytes of the level 3 cache in use, for each node; as above.
    pub occupancy: Option<Vec<u64>>,
}

/// Of the level 3 cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cache {
    /// The mask of all its parts, as the kernel writes it.
    pub mask: String,
    /// How many parts a group has at least.
    pub parts_min: u64,
    /// How many groups there may be.
    pub groups: u64,
    /// The root's line.
    pub root_schema: String,
    /// The group's line.
    pub schema: String,
}

/// Of memory bandwidth, in per cent or megabytes a second, as it was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bandwidth {
    /// Limits are rounded to this.
    pub step: u64,
    /// Whether the delay grows with the limit, 1 for yes.
    pub linear: u64,
    /// The lowest limit.
    pub min: u64,
    /// How many groups there may be.
    pub groups: u64,
    /// The root's line.
    pub root_schema: String,
    /// The group's line.
    pub schema: String,
}

/// Bytes between the processors of a node and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// All of them.
    pub total: u64,
    /// Those with the node's own memory.
    pub local: u64,
}

/// Takes a sample of `group`, and of the monitoring group where there is one.
#[must_use]
pub fn sample(mount: &Path, group: &Path, monitoring: Option<&Path>) -> Stats {
    let (root, own) = (read(mount, "schemata"), read(group, "schemata"));
    let number = |name: &str| read(mount, name).parse().unwrap_or(0);
    let has = |name: &str| mount.join("info").join(name).exists();
    let figures = |name: &str| monitoring.and_then(|group| figures(group, name));
    let (total, local) = (figures("mbm_total_bytes"), figures("mbm_local_bytes"));
    Stats {
        cache: has("L3").then(|| Cache {
            mask: read(mount, "info/L3/cbm_mask"),
            parts_min: number("info/L3/min_cbm_bits"),
            groups: number("info/L3/num_closids"),
            root_schema: line(&root, "L3"),
            schema: line(&own, "L3"),
        }),
        bandwidth: has("MB").then(|| Bandwidth {
            step: number("info/MB/bandwidth_gran"),
            linear: number("info/MB/delay_linear"),
            min: number("info/MB/min_bandwidth"),
            groups: number("info/MB/num_closids"),
            root_schema: line(&root, "MB"),
            schema: line(&own, "MB"),
        }),
        schemata: own.lines().map(|line| line.trim().to_owned()).collect(),
        traffic: (total.is_some() || local.is_some()).then(|| pairs(total, local)),
        occupancy: figures("llc_occupancy"),
    }
}

/// A file's text without white space around it; empty where it cannot be read.
fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned()
}

/// The line of a resource; empty where there is none.
fn line(schemata: &str, resource: &str) -> String {
    let is_of = |line: &&str| line.split(':').next() == Some(resource);
    schemata.lines().map(str::trim).find(is_of).unwrap_or_default().to_owned()
}

/// A figure of each node that has it, by the nodes' names; nothing where none has.
fn figures(monitoring: &Path, name: &str) -> Option<Vec<u64>> {
    let nodes = fs::read_dir(monitoring.join("mon_data")).ok()?;
    let mut nodes: Vec<_> = nodes.flatten().map(|node| node.path()).collect();
    nodes.sort_unstable();
    nodes.retain(|node| node.join(name).exists());
    // A processor that cannot count at the moment says `Unavailable`.
    let figures: Vec<_> = nodes.iter().map(|node| read(node, name).parse().unwrap_or(0)).collect();
    (!figures.is_empty()).then_some(figures)
}

fn pairs(total: Option<Vec<u64>>, local: Option<Vec<u64>>) -> Vec<Traffic> {
    let (total, local) = (total.unwrap_or_default(), local.unwrap_or_default());
    let at = |list: &[u64], index: usize| list.get(index).copied().unwrap_or(0);
    let count = total.len().max(local.len());
    (0..count).map(|i| Traffic { total: at(&total, i), local: at(&local, i) }).collect()
}
