//! Mappings beside the path of a user namespace: containerd and CRI-O write both. They are not applied, so they have to be
//! those that the namespace has.

use super::error::RuntimeError;
use crate::config::linux::{IdMapping, Linux, NamespaceKind};

/// Compares them once the container's process `pid` has joined the namespace.
///
/// # Errors
/// [`RuntimeError::Refused`], with the field and what the namespace has.
pub(super) fn check(linux: &Linux, pid: i32) -> Result<(), RuntimeError> {
    let joins = linux.namespace(NamespaceKind::User).is_some_and(|user| user.path.is_some());
    let sides = [
        ("linux.uidMappings", "uid_map", &linux.uid_mappings),
        ("linux.gidMappings", "gid_map", &linux.gid_mappings),
    ];
    for (field, file, wanted) in sides.into_iter().filter(|it| joins && !it.2.is_empty()) {
        let path = format!("/proc/{pid}/{file}");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| RuntimeError::Refused(format!("{field}: {path}: {error}")))?;
        if sorted(wanted.iter().map(of_config)) != sorted(text.lines().filter_map(of_kernel)) {
            let has: Vec<String> = text.lines().map(in_words).collect();
            return Err(RuntimeError::Refused(format!(
                "{field}: conflict: the user namespace that is joined has other mappings \
                 (container:host:size): {}; write these, or none",
                has.join(", ")
            )));
        }
    }
    Ok(())
}

fn sorted(mappings: impl Iterator<Item = [u32; 3]>) -> Vec<[u32; 3]> {
    let mut mappings: Vec<_> = mappings.collect();
    mappings.sort_unstable();
    mappings
}

fn of_config(mapping: &IdMapping) -> [u32; 3] {
    [mapping.container, mapping.host, mapping.size]
}

/// A line of `uid_map`: inside, outside, length (user_namespaces(7)).
fn of_kernel(line: &str) -> Option<[u32; 3]> {
    let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

fn in_words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(":")
}
