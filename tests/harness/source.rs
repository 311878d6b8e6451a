//! The repository's own files, for the tests that hold its shape.

use std::fs;
use std::path::{Path, PathBuf};

use crate::project_root;

/// One text file of the repository.
#[derive(Debug)]
pub struct SourceFile {
    /// Its path relative to the repository's root, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// The code alone: comments, string literals and the inline test module are left out.
    pub fn code(&self) -> String {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        without_comments_and_strings(&self.text[..tests])
    }
}

/// All Rust files below a folder of the repository, sorted by path; `""` is the whole repository.
pub fn rust_files(below: &str) -> Vec<SourceFile> {
    files(below, "rs")
}

/// All files with an extension below a folder of the repository.
pub fn files(below: &str, extension: &str) -> Vec<SourceFile> {
    let root = project_root();
    let mut found = Vec::new();
    walk(&root.join(below), &mut |path| {
        if path.extension().is_some_and(|seen| seen == extension) {
            let relative = path.strip_prefix(&root).expect("below the root");
            let text = fs::read_to_string(path).expect("a text file");
            found.push(SourceFile { path: relative.display().to_string(), text });
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// All folders below a folder of the repository, relative to the repository's root.
pub fn folders(below: &str) -> Vec<String> {
    let root = project_root();
    let mut found = Vec::new();
    walk(&root.join(below), &mut |path| {
        let folder = path.parent().and_then(|folder| folder.strip_prefix(&root).ok());
        let folder = folder.map(|folder| folder.display().to_string()).unwrap_or_default();
        if !found.contains(&folder) {
            found.push(folder);
        }
    });
    found.sort();
    found
}

fn walk(folder: &Path, each: &mut impl FnMut(&PathBuf)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, each);
            }
        } else {
            each(&path);
        }
    }
}

/// A small lexer: enough to tell code from comments and string literals.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            string(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
        rest = &rest[skip..];
    }
    out
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map(|at| 1 + hashes + 1 + at + end.len())
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
