//! The requirements and their proofs: no row without a test that exists, no test without a row.

use std::collections::BTreeMap;
use std::fs;

use keel_tests::{SourceFile, files, project_root, rust_files};

/// A row of a table in specs/.
struct Row {
    table: String,
    id: String,
    room: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for file in files("specs", "md") {
        for line in file.text.lines() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if !line.starts_with('|') || cells.len() != 4 || !is_id(cells[0]) {
                continue;
            }
            rows.push(Row {
                table: file.path.clone(),
                id: cells[0].to_owned(),
                room: cells[2].trim_matches('`').to_owned(),
                test: cells[3].trim_matches('`').to_owned(),
            });
        }
    }
    assert!(rows.len() > 100, "specs/ has {} rows", rows.len());
    rows
}

/// Words of capitals and digits with dashes between them, ending in a number: `RT-MOUNT-03`.
fn is_id(word: &str) -> bool {
    let mut parts: Vec<&str> = word.split('-').collect();
    let last = parts.pop().unwrap_or_default();
    !parts.is_empty()
        && last.len() >= 2
        && last.bytes().all(|byte| byte.is_ascii_digit())
        && parts.iter().all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
}

/// What containers compile: their tests are theirs.
const OF_CONTAINERS: &str = "tests/build/projects/";

fn test_files(below: &str) -> Vec<SourceFile> {
    let mut files = rust_files(below);
    files.retain(|file| !file.path.starts_with(OF_CONTAINERS));
    files
}

/// Test id → requirement id, from the first line of each test's doc comment.
fn proofs() -> BTreeMap<String, String> {
    let mut proofs = BTreeMap::new();
    for file in test_files("tests") {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            if *line != "#[test]" {
                continue;
            }
            let doc = lines[..at].iter().rev().take_while(|line| line.starts_with("///")).last();
            let id =
                doc.and_then(|doc| doc.strip_prefix("/// ")).and_then(|doc| doc.split(':').next());
            let name = lines[at..]
                .iter()
                .find_map(|line| line.strip_prefix("fn "))
                .and_then(|rest| rest.split('(').next())
                .expect("a test has a name");
            let test = format!("{}::{name}", file.path);
            let id = id
                .filter(|id| is_id(id))
                .unwrap_or_else(|| panic!("{test} bears no requirement id"));
            proofs.insert(test, id.to_owned());
        }
    }
    proofs
}

/// HOUSE-12: each row names a test that exists and bears the row's id, and a room that exists.
#[test]
fn no_row_without_a_test() {
    let proofs = proofs();
    let mut wrong = Vec::new();
    for row in rows() {
        match proofs.get(&row.test) {
            Some(id) if *id == row.id => {}
            Some(id) => wrong
                .push(format!("{}: {} names {}, which bears {id}", row.table, row.id, row.test)),
            None => wrong.push(format!(
                "{}: {} names {}, which does not exist",
                row.table, row.id, row.test
            )),
        }
        if !project_root().join(&row.room).exists() {
            wrong
                .push(format!("{}: the room {} of {} does not exist", row.table, row.room, row.id));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-13: each test under tests/ stands in exactly one row.
#[test]
fn no_test_without_a_row() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows() {
        *count.entry(row.test).or_default() += 1;
    }
    let wrong: Vec<String> = proofs()
        .into_iter()
        .filter(|(test, _)| count.get(test) != Some(&1))
        .map(|(test, id)| format!("{id} {test}: {} rows", count.get(&test).unwrap_or(&0)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// HOUSE-14: requirement ids are unique.
#[test]
fn ids_are_unique() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for row in rows() {
        if let Some(other) = seen.insert(row.id.clone(), row.test.clone()) {
            panic!("{} stands for {other} and for {}", row.id, row.test);
        }
    }
}

/// HOUSE-15: every contract test file is named in tests/Cargo.toml, so that it runs.
#[test]
fn every_test_file_runs() {
    let manifest = fs::read_to_string(project_root().join("tests/Cargo.toml")).expect("a manifest");
    for folder in ["contract", "security", "faults", "image", "build", "shim", "tidy"] {
        for file in test_files(&format!("tests/{folder}")) {
            let path = file.path.trim_start_matches("tests/");
            assert!(manifest.contains(&format!("path = \"{path}\"")), "{path} is not declared");
        }
    }
}
