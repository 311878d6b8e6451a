//! A folder as text, so that two of them can be compared.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// One line for each entry: path, type and mode, owner, size of a file, target of a link. Times are left out.
pub fn listing(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(folder, folder, &mut lines);
    lines.sort();
    lines
}

fn list(top: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).expect("an entry has metadata");
        let name = path.strip_prefix(top).expect("below the top").display().to_string();
        let detail = if meta.is_file() {
            format!("{} bytes", meta.len())
        } else if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("a link has a target").display())
        } else {
            String::new()
        };
        lines.push(format!("{name} {:o} {}:{} {detail}", meta.mode(), meta.uid(), meta.gid()));
        if meta.is_dir() {
            list(top, &path, lines);
        }
    }
}
