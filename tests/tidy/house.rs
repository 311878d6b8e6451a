//! The house rules that a machine can check on every file.

use std::fs;

use keel_tests::{files, folders, project_root, rust_files};

/// HOUSE-04: unsafe code stands in `sys` modules only.
#[test]
fn unsafe_code_is_in_sys() {
    let mut wrong = Vec::new();
    for file in rust_files("") {
        if file.path.contains("/sys/") || file.path.ends_with("/sys.rs") {
            continue;
        }
        let code = file.code();
        let words: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        // The lint's own name is one word; the keyword is another.
        if words.contains(&"unsafe") || code.contains("allow(unsafe_code)") {
            wrong.push(file.path);
        }
    }
    assert!(wrong.is_empty(), "unsafe outside sys: {wrong:#?}");
}

/// HOUSE-05: every file begins with what it is for.
#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<String> = rust_files("")
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.path)
        .collect();
    assert!(wrong.is_empty(), "no `//!` at the top: {wrong:#?}");
}

/// HOUSE-06: no file is named after nothing.
#[test]
fn no_room_without_a_noun() {
    let banned = ["util", "utils", "common", "helper", "helpers", "misc", "types", "stuff"];
    let mut wrong = Vec::new();
    for file in rust_files("") {
        if file.path.split(['/', '.']).any(|word| banned.contains(&word)) {
            wrong.push(file.path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-07: nothing is left to do in code, and nothing is ignored in tests.
#[test]
fn nothing_is_left_open() {
    let mut wrong = Vec::new();
    for file in rust_files("") {
        let code = file.code();
        for word in ["todo!", "unimplemented!", "#[ignore"] {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-08: nothing names the machine it was written on.
#[test]
fn nothing_names_a_machine() {
    // Written in halves, so that this file does not name them either.
    let banned =
        [["/wo", "rk/"], ["/root/", ".cargo"], ["target-", "tests"], ["/tmp/", "keel-findings"]];
    let mut wrong = Vec::new();
    for extension in ["rs", "md", "toml", "yml", "json", "sh", "txt"] {
        for file in files("", extension) {
            for halves in banned {
                let word = halves.concat();
                if file.text.contains(&word) {
                    wrong.push(format!("{}: {word}", file.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-09: ARCHITECTURE.md names every folder of the three parts.
#[test]
fn the_map_is_complete() {
    let map = fs::read_to_string(project_root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut missing = Vec::new();
    for part in ["runtime/src", "image-lib/src", "shim/src"] {
        for folder in folders(part) {
            let Some(inner) = folder.strip_prefix(&format!("{part}/")) else { continue };
            if inner.contains("/testdata") || inner.contains("/golden") || inner.contains("/case") {
                continue;
            }
            if !map.contains(&format!("`{inner}/`")) {
                missing.push(folder);
            }
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md does not name {missing:#?}");
}

/// HOUSE-10: files are made inside a root file system by descriptor, never by `File::create` (CVE-2024-45310).
#[test]
fn the_rootfs_is_not_written_by_path() {
    let mut wrong = Vec::new();
    for file in rust_files("runtime/src/rootfs") {
        if file.path.ends_with("tests.rs") {
            continue;
        }
        for call in ["File::create", "fs::write", "fs::create_dir", "fs::remove", "OpenOptions"] {
            if file.code().contains(call) {
                wrong.push(format!("{}: {call}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-11: no shell script is longer than fifty lines.
#[test]
fn scripts_are_short() {
    let in_tests = |name: &str| format!("tests/{name}");
    let mut scripts = vec![".ci/run".to_owned()];
    scripts.extend(["run", "run-guest", "setup", "setup-newer", "setup-roots"].map(in_tests));
    scripts.extend(["engine", "podman", "stage"].map(|name| in_tests(&format!("labs/{name}"))));
    scripts.extend(["build", "cluster"].map(|name| in_tests(&format!("labs/kubernetes/{name}"))));
    scripts.extend(files("tests", "sh").into_iter().map(|file| file.path));
    for script in scripts {
        let text = fs::read_to_string(project_root().join(&script)).expect("a script");
        assert!(text.lines().count() <= 50, "{script} has {} lines", text.lines().count());
    }
}
