//! The layer rule of the runtime: a room uses lower layers only, siblings do not meet, plans are pure.
//!
//! The table is data in ARCHITECTURE.md, so that the picture a newcomer reads cannot drift from the code.

use std::collections::BTreeMap;
use std::fs;

use keel_tests::{project_root, rust_files};

/// Room → layer, from the lines `| 3 | rootfs · namespaces | … |` of ARCHITECTURE.md.
fn table() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(project_root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut layers = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(layer) = cells.first().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        for room in cells.get(1).unwrap_or(&"").split('·') {
            layers.insert(room.trim().trim_matches('`').to_owned(), layer);
        }
    }
    assert!(layers.len() >= 10, "ARCHITECTURE.md has no layer table: {layers:?}");
    layers
}

/// The room of a file of runtime/src: its folder, or its own name at the top.
fn room(path: &str) -> &str {
    let inner = path.strip_prefix("runtime/src/").unwrap_or(path);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

/// Rooms named in `crate::…` paths, those of `use crate::{a, b}` too.
fn used(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            rooms.push(word);
        } else {
            rooms.push(rest.to_owned());
        }
    }
    let head = |text: String| -> String {
        text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    rooms.into_iter().map(head).filter(|room| !room.is_empty()).collect()
}

/// HOUSE-01: a room of the runtime uses only rooms of lower layers, as ARCHITECTURE.md draws them.
#[test]
fn rooms_use_lower_layers_only() {
    let layers = table();
    let mut wrong = Vec::new();
    for file in rust_files("runtime/src") {
        let own = room(&file.path);
        if matches!(own, "lib" | "main" | "bin") {
            continue;
        }
        let Some(layer) = layers.get(own) else {
            wrong.push(format!(
                "{}: the room {own} stands in no layer of ARCHITECTURE.md",
                file.path
            ));
            continue;
        };
        for other in used(&file.code()) {
            // Names at the top of the crate that are no rooms are macros and re-exports of lib.rs.
            let Some(below) = layers.get(&other) else { continue };
            if other != own && below >= layer && !(*layer == 0 && *below == 0) {
                wrong.push(format!(
                    "{}: {own} (layer {layer}) uses {other} (layer {below})",
                    file.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-02: a room's plan is pure: it uses the configuration and what is below, and of `sys` only types, no calls.
#[test]
fn plans_make_no_system_calls() {
    let layers = table();
    let mut wrong = Vec::new();
    let mut plans = 0;
    for file in rust_files("runtime/src") {
        // The rooms of layer 3; above them a plan is put together from theirs, and a command prints it.
        let is_plan = file.path.ends_with("/plan.rs") || file.path.contains("/plan/");
        if !is_plan || layers.get(room(&file.path)) != Some(&3) {
            continue;
        }
        plans += 1;
        let code = file.code();
        for other in used(&code) {
            if other != room(&file.path) && layers.get(&other).is_some_and(|layer| *layer > 1) {
                wrong.push(format!("{} uses {other}", file.path));
            }
        }
        wrong.extend(
            calls_of_sys(&code).into_iter().map(|call| format!("{} uses {call}", file.path)),
        );
        for call in ["std::fs", "std::process", "rustix::", "nix::"] {
            if code.contains(call) {
                wrong.push(format!("{} uses {call}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(plans >= 4, "only {plans} rooms have a plan.rs");
}

/// What a file takes from `crate::sys` that is neither a type nor a constant: last words in small letters.
fn calls_of_sys(code: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for (at, _) in code.match_indices("crate::sys::") {
        let rest = &code[at + "crate::sys::".len()..];
        let end = rest.find([';', '(', ' ', ')', '<']).unwrap_or(rest.len());
        let path = match rest.find('{') {
            Some(open) if open < end || rest[..open].ends_with("::") => {
                &rest[..rest.find('}').unwrap_or(rest.len())]
            }
            _ => &rest[..end],
        };
        let (module, leaves) = path.split_once('{').unwrap_or(("", path));
        for leaf in leaves.split(',').map(str::trim).filter(|leaf| !leaf.is_empty()) {
            let last = leaf.rsplit("::").next().unwrap_or(leaf);
            let owner = leaf.rsplit("::").nth(1).unwrap_or("");
            let is_type = |word: &str| word.starts_with(|c: char| c.is_ascii_uppercase());
            if !is_type(last) && !is_type(owner) {
                calls.push(format!("sys::{module}{leaf}"));
            }
        }
    }
    calls
}

/// HOUSE-03: the runtime and the image library do not know each other.
#[test]
fn the_two_parts_do_not_meet() {
    for (manifest, other) in
        [("runtime", "keel-image"), ("image-lib", "keel ="), ("image-lib/cli", "keel =")]
    {
        let text = fs::read_to_string(project_root().join(manifest).join("Cargo.toml"))
            .expect("a manifest");
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or("");
        assert!(
            !dependencies.lines().any(|line| line.starts_with(other)),
            "{manifest} depends on {other}"
        );
    }
}
