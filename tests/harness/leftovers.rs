//! What a container may leave on the host: cgroups, mounts, processes, state.

use std::fs;
use std::path::{Path, PathBuf};

/// Mount points below a folder, in the order of mountinfo.
pub(crate) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(folder))
        .collect()
}

/// Cgroup folders of the given name in every hierarchy, outer ones first.
pub(crate) fn cgroups_named(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        if right.starts_with("cgroup") {
            // A user's systemd has its scopes five levels down.
            find_named(Path::new(point), name, 5, &mut found);
        }
    }
    found
}

fn find_named(folder: &Path, name: &str, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(path.clone());
        }
        if depth > 0 {
            find_named(&path, name, depth - 1, found);
        }
    }
}

/// Processes that are in a cgroup of the name, or that were started with the name in an argument.
pub(crate) fn processes_of(name: &str) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == own || is_zombie(pid) {
            continue;
        }
        let cgroup = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if cgroup.contains(name) || String::from_utf8_lossy(&arguments).contains(name) {
            found.push(pid);
        }
    }
    found
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// One line for each thing that carries the test's unique name and should be gone.
pub(crate) fn named(name: &str, folder: &Path, state: &Path) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(cgroups_named(name).iter().map(|path| format!("cgroup {}", path.display())));
    found.extend(mounts_below(folder).iter().map(|path| format!("mount {}", path.display())));
    found.extend(processes_of(name).iter().map(|pid| {
        let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("process {pid} ({})", arguments.replace('\0', " ").trim())
    }));
    if state.exists() {
        found.push(format!("state {}", state.display()));
    }
    found
}
