//! The text form of golden cases.

use std::collections::BTreeMap;
use std::fs;

use crate::project_root;

/// One Dockerfile and what must come of it.
#[derive(Debug, Default)]
pub(super) struct Case {
    /// What it shows.
    pub(super) title: String,
    /// `FILE:LINE`, for messages.
    pub(super) place: String,
    /// The Dockerfile.
    pub(super) dockerfile: String,
    /// A shell script that fills the context.
    pub(super) context: Option<String>,
    /// Further words of the command line.
    pub(super) flags: Vec<String>,
    /// The configuration's `config` object: a key and its JSON to a line.
    pub(super) config: Option<String>,
    /// What differs from the base image: an entry to a line.
    pub(super) files: Option<String>,
    /// The stages and steps that are done: a stage to a line, in the order of the Dockerfile.
    pub(super) graph: Option<String>,
    /// `created_by` of the history above the base's.
    pub(super) history: Option<String>,
    /// Lines that commands write.
    pub(super) output: Option<String>,
    /// The error: blocks of lines that must stand in the messages as they are.
    pub(super) errors: Vec<String>,
    /// All warnings.
    pub(super) warnings: Option<String>,
    /// Why buildah is not asked.
    pub(super) without_buildah: Option<String>,
}

/// The cases of `tests/build/cases/NAME.txt`, in order.
pub(super) fn read(name: &str) -> Vec<Case> {
    let path = format!("tests/build/cases/{name}.txt");
    let text = fs::read_to_string(project_root().join(&path)).expect("a file of cases");
    let mut cases: Vec<Case> = Vec::new();
    let mut heading = String::new();
    let mut body = String::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("=== ") {
            finish(&mut cases, &heading, &mut body);
            let place = format!("{path}:{}", index + 1);
            cases.push(Case { title: title.to_owned(), place, ..Case::default() });
            heading = "dockerfile".to_owned();
        } else if let Some(section) = line.strip_prefix("--- ") {
            finish(&mut cases, &heading, &mut body);
            heading = section.to_owned();
        } else if !heading.is_empty() {
            body.push_str(line);
            body.push('\n');
        }
    }
    finish(&mut cases, &heading, &mut body);
    let mut seen = BTreeMap::new();
    for case in &cases {
        if let Some(other) = seen.insert(&case.title, &case.place) {
            panic!("{} and {other} have the same title", case.place);
        }
    }
    assert!(!cases.is_empty(), "{path} has no cases");
    cases
}

fn finish(cases: &mut [Case], heading: &str, body: &mut String) {
    let Some(case) = cases.last_mut() else { return };
    // Cases are set apart by blank lines, which belong to neither.
    let text = format!("{}\n", body.trim_end_matches('\n'));
    body.clear();
    let block = text.trim_end_matches('\n').to_owned();
    let (word, rest) = heading.split_once(' ').unwrap_or((heading, ""));
    match word {
        "dockerfile" => case.dockerfile = text,
        "context" => case.context = Some(text),
        "flags" => case.flags = block.split_whitespace().map(str::to_owned).collect(),
        "config" => case.config = Some(block),
        "files" => case.files = Some(block),
        "graph" => case.graph = Some(block),
        "history" => case.history = Some(block),
        "output" => case.output = Some(block),
        "error" => case.errors.push(block),
        "warnings" => case.warnings = Some(block),
        "buildah" if !rest.is_empty() => case.without_buildah = Some(rest.to_owned()),
        _ => panic!("{}: there is no section {heading:?}", case.place),
    }
}
