//! `linux.memoryPolicy`: from which memory nodes the container's processes get their memory.

use super::error::Kind;
use super::field::Field;
use super::number_list;

/// The object, in the kernel's numbers (set_mempolicy(2)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*`.
    pub mode: u32,
    /// `MPOL_F_*`.
    pub flags: u32,
    /// The nodes as a mask of bits, empty for none.
    pub nodes: Vec<u64>,
}

/// The modes by name, with how many nodes each takes.
const MODES: &[(&str, u32, Nodes)] = &[
    ("MPOL_BIND", 2, Nodes::Some),
    ("MPOL_DEFAULT", 0, Nodes::None),
    ("MPOL_INTERLEAVE", 3, Nodes::Some),
    ("MPOL_LOCAL", 4, Nodes::None),
    ("MPOL_PREFERRED", 1, Nodes::Any),
    ("MPOL_PREFERRED_MANY", 5, Nodes::Some),
    ("MPOL_WEIGHTED_INTERLEAVE", 6, Nodes::Some),
];

const FLAGS: &[(&str, u32)] = &[
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nodes {
    None,
    Some,
    Any,
}

/// The names of the modes, sorted.
pub fn mode_names() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|(name, ..)| *name)
}

/// The names of the flags, sorted.
pub fn flag_names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|(name, _)| *name)
}

impl MemoryPolicy {
    /// Reads the object.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let nodes_field = field.get("nodes");
        let nodes = number_list::read(&nodes_field, "memory policy nodes").unwrap_or_default();
        let flags = flags(&field.get("flags"));
        let mode_field = field.get("mode");
        if !mode_field.is_present() {
            mode_field.refuse(Kind::Missing, "invalid memory policy mode \"\"");
        }
        let name = mode_field.string()?;
        let Some(&(_, mode, takes)) = MODES.iter().find(|(known, ..)| *known == name) else {
            let known = mode_names().collect::<Vec<_>>().join(", ");
            let detail = format!("invalid memory policy mode {name:?} (known: {known})");
            mode_field.refuse(Kind::Unsupported, detail);
            return None;
        };
        let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
        if takes == Nodes::None && count > 0 {
            let detail = format!("{name}: memory policy mode requires 0 nodes but got {count}");
            nodes_field.refuse(Kind::Conflict, detail);
        }
        // A list that was refused already is not missing too.
        if takes == Nodes::Some && count == 0 && nodes_field.string().is_none_or(str::is_empty) {
            let detail = format!("{name}: memory policy mode requires at least one node but got 0");
            nodes_field.refuse(Kind::Missing, detail);
        }
        Some(Self { mode, flags, nodes })
    }
}

fn flags(field: &Field<'_>) -> u32 {
    let bits = field.collect(|item| {
        let name = item.string()?;
        let found = FLAGS.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let known = flag_names().collect::<Vec<_>>().join(", ");
            let detail = format!("invalid memory policy flag {name:?} (known: {known})");
            item.refuse(Kind::Unsupported, detail);
        }
        found.map(|(_, bit)| *bit)
    });
    bits.into_iter().fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::json::Json;

    use super::*;
    use crate::config::field::Findings;

    fn read(policy: &Value) -> Result<MemoryPolicy, Vec<String>> {
        let findings = Findings::default();
        let read = MemoryPolicy::read(&Field::root(&Json::from(policy), &findings));
        let errors: Vec<String> = findings.into_parts().0.iter().map(ToString::to_string).collect();
        match read {
            Some(policy) if errors.is_empty() => Ok(policy),
            _ => Err(errors),
        }
    }

    #[test]
    fn reads_modes_nodes_and_flags() {
        let policy = json!({"mode": "MPOL_BIND", "nodes": "0,2-3",
            "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"]});
        let expected = MemoryPolicy { mode: 2, flags: 1 << 15 | 1 << 13, nodes: vec![0b1101] };
        assert_eq!(read(&policy), Ok(expected));
        for (mode, nodes) in [
            ("MPOL_DEFAULT", json!("")),
            ("MPOL_LOCAL", json!(null)),
            ("MPOL_PREFERRED", json!("")),
        ] {
            let policy = json!({"mode": mode, "nodes": nodes});
            assert_eq!(read(&policy).map(|policy| policy.nodes), Ok(Vec::new()), "{mode}");
        }
    }

    #[test]
    fn refuses_what_set_mempolicy_cannot_mean() {
        for (policy, field) in [
            (json!({}), "mode: missing"),
            (json!({"nodes": "0"}), "mode: missing"),
            (json!({"mode": "BIND", "nodes": "0"}), "mode: not supported"),
            (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "requires 0 nodes but got 8"),
            (json!({"mode": "MPOL_INTERLEAVE"}), "nodes: missing"),
            (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "nodes: invalid"),
            (json!({"mode": "MPOL_LOCAL", "flags": ["BAD"]}), "flags[0]: not supported"),
        ] {
            let errors = read(&policy).expect_err("refused");
            assert!(errors.len() == 1 && errors[0].contains(field), "{policy}: {errors:?}");
        }
    }

    #[test]
    fn lists_names_sorted() {
        assert!(mode_names().is_sorted() && flag_names().is_sorted());
    }
}
