//! Reading what the kernel holds for a container's cgroup, whichever version a controller is on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::requires;

/// The folder of a process's cgroup for one controller (`memory`, `pids`, `unified`, …).
pub fn controller_folder(pid: i32, controller: &str) -> Option<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    for line in table.lines() {
        let mut fields = line.splitn(3, ':');
        let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.trim_start_matches('/');
        if names.split(',').any(|name| name == controller) {
            return Some(Path::new("/sys/fs/cgroup").join(controller).join(path));
        }
        // Where version 2 is alone it has every controller.
        let alone = Path::new("/sys/fs/cgroup");
        let is_alone = alone.join("cgroup.controllers").exists();
        if number == "0" && (is_alone || controller == "unified") {
            let mount = if is_alone { alone.to_owned() } else { alone.join("unified") };
            return Some(mount.join(path));
        }
    }
    None
}

/// Whether a controller is mounted on version 1; else the test is skipped.
#[must_use]
pub fn version_1(controller: &str) -> bool {
    let there = Path::new("/sys/fs/cgroup").join(controller).join("cgroup.procs").exists();
    requires(there, &format!("the {controller} controller on version 1"))
}

/// Freezes or thaws the cgroup in a folder, behind the runtime's back.
#[track_caller]
pub fn freeze(folder: &Path, frozen: bool) {
    let v2 = folder.join("cgroup.freeze");
    let (file, word) = match (v2.exists(), frozen) {
        (true, _) => (v2, if frozen { "1" } else { "0" }),
        (false, true) => (folder.join("freezer.state"), "FROZEN"),
        (false, false) => (folder.join("freezer.state"), "THAWED"),
    };
    fs::write(&file, word).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// One file of a process's cgroup, trimmed.
#[track_caller]
pub fn cgroup_value(pid: i32, controller: &str, file: &str) -> String {
    let folder = controller_folder(pid, controller)
        .unwrap_or_else(|| panic!("process {pid} is in no {controller} cgroup"));
    let path = folder.join(file);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}
