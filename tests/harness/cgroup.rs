//! Reading what the kernel holds for a container's cgroup, whichever version a controller is on.

use std::fs;
use std::path::{Path, PathBuf};

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
        if controller == "unified" && number == "0" {
            let hybrid = Path::new("/sys/fs/cgroup/unified");
            let mount = if hybrid.exists() { hybrid } else { Path::new("/sys/fs/cgroup") };
            return Some(mount.join(path));
        }
    }
    None
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
