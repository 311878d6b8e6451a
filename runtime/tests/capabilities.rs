//! The names and numbers of capabilities, as another library has them.

use keel::config::process::{capability_name, capability_number};

#[test]
fn names_and_numbers_are_those_of_caps() {
    let all = caps::all();
    assert!(all.len() > 40, "{all:?}");
    for capability in &all {
        let name = capability.to_string();
        assert_eq!(capability_number(&name), Some(capability.index()), "{name}");
        assert_eq!(capability_name(capability.index()), Some(name));
    }
    let last = all.iter().map(caps::Capability::index).max().unwrap_or_default();
    assert_eq!(capability_name(last + 1), None);
}
