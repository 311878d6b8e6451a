//! What is in the resctrl file system, and the steps of [`super::plan`] in it. All of it is the parent's.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::plan::{Facts, Plan, PlanError, places};
use crate::config::intel_rdt::IntelRdt;

/// Why a group could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ResctrlError {
    /// The kernel has no resctrl, or nobody mounted it.
    #[error(
        "linux.intelRdt is specified in config, but Intel RDT is not enabled: no resctrl file system is mounted"
    )]
    NotMounted,
    /// The fields do not fit the machine, or each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A file or directory could not be read, made, written or removed.
    #[error("linux.intelRdt: {what} {}{}", path.display(), told(status))]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says of its last refusal.
        status: String,
        /// Why.
        source: io::Error,
    },
}

fn told(status: &str) -> String {
    if status.is_empty() { String::new() } else { format!(" (last_cmd_status: {status})") }
}

/// Where the resctrl file system is mounted.
///
/// # Errors
/// [`ResctrlError::NotMounted`].
pub fn mount_point(mountinfo: &str) -> Result<PathBuf, ResctrlError> {
    let is_resctrl = |line: &&str| {
        line.split_once(" - ").is_some_and(|(_, right)| right.split(' ').next() == Some("resctrl"))
    };
    let line = mountinfo.lines().find(is_resctrl);
    let point = line.and_then(|line| line.split(' ').nth(4));
    point.map(PathBuf::from).ok_or(ResctrlError::NotMounted)
}

/// What the compiler must know.
///
/// # Errors
/// [`ResctrlError::File`] when a group that is there cannot be read.
pub fn look(config: &IntelRdt, id: &str, mount: PathBuf) -> Result<Facts, ResctrlError> {
    let (group, monitoring) = places(config, id, &mount);
    let schemata = group.join("schemata");
    let (has_cache, has_bandwidth) = abilities(&mount);
    Ok(Facts {
        group: match group.exists() {
            false => None,
            true => {
                let read = fs::read_to_string(&schemata);
                Some(read.map_err(|source| failed(&mount, "read", &schemata, source))?)
            }
        },
        has_monitoring_group: monitoring.exists(),
        has_cache,
        has_bandwidth,
        mount,
    })
}

/// Makes the groups and writes the limits. After a failure nothing that was made is left.
///
/// # Errors
/// [`ResctrlError::File`].
pub fn prepare(plan: &Plan) -> Result<(), ResctrlError> {
    let mut made = Vec::new();
    let done = make(plan, &mut made);
    if done.is_err() {
        made.reverse();
        // The first error is the one to tell.
        let _ = remove(&made);
    }
    done
}

fn make(plan: &Plan, made: &mut Vec<PathBuf>) -> Result<(), ResctrlError> {
    let write_limits = || match &plan.schemata {
        Some(text) => write(plan, &plan.group.join("schemata"), text),
        None => Ok(()),
    };
    let is_group = |path: &&PathBuf| **path == plan.group;
    for path in plan.make.iter().filter(is_group) {
        make_directory(plan, path, made)?;
    }
    write_limits()?;
    for path in plan.make.iter().filter(|path| !is_group(path)) {
        make_directory(plan, path, made)?;
    }
    Ok(())
}

fn make_directory(plan: &Plan, path: &Path, made: &mut Vec<PathBuf>) -> Result<(), ResctrlError> {
    fs::create_dir(path).map_err(|source| failed(&plan.mount, "make", path, source))?;
    made.push(path.to_owned());
    Ok(())
}

/// Writes other lines to a group's `schemata`, and gives what it held before.
///
/// # Errors
/// [`ResctrlError::File`]; the kernel takes all lines or none.
pub fn change(mount: &Path, group: &Path, lines: &str) -> Result<String, ResctrlError> {
    let path = group.join("schemata");
    let former = fs::read_to_string(&path);
    let former = former.map_err(|source| failed(mount, "read", &path, source))?;
    append(&path, lines).map_err(|source| failed(mount, "write", &path, source))?;
    Ok(former)
}

/// Whether the machine can limit the level 3 cache, and memory bandwidth.
#[must_use]
pub fn abilities(mount: &Path) -> (bool, bool) {
    let has = |names: &[&str]| names.iter().any(|name| mount.join("info").join(name).exists());
    (has(&["L3", "L3CODE", "L3DATA"]), has(&["MB"]))
}

/// Puts a process into its groups. The monitoring group comes last: a process must be in the group above.
///
/// # Errors
/// [`ResctrlError::File`].
pub fn enter<'a>(groups: impl IntoIterator<Item = &'a Path>, pid: i32) -> Result<(), ResctrlError> {
    for group in groups {
        let path = group.join("tasks");
        append(&path, &pid.to_string()).map_err(|source| {
            let (what, status) = ("write", String::new());
            ResctrlError::File { what, path, status, source }
        })?;
    }
    Ok(())
}

/// Removes groups; those that are gone are no error.
///
/// # Errors
/// The first that could not be removed; the others are.
pub fn remove<P: AsRef<Path>>(groups: &[P]) -> Result<(), ResctrlError> {
    let removed = groups.iter().map(|group| match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| ResctrlError::File {
            what: "remove",
            path: group.as_ref().to_owned(),
            status: String::new(),
            source,
        }),
    });
    removed.fold(Ok(()), Result::and)
}

fn write(plan: &Plan, path: &Path, text: &str) -> Result<(), ResctrlError> {
    append(path, text).map_err(|source| failed(&plan.mount, "write", path, source))
}

/// One write(2), as the files of the kernel want it.
fn append(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn failed(mount: &Path, what: &'static str, path: &Path, source: io::Error) -> ResctrlError {
    let status = fs::read_to_string(mount.join("info/last_cmd_status")).unwrap_or_default();
    let status = match status.trim() {
        "ok" => String::new(),
        status => status.to_owned(),
    };
    ResctrlError::File { what, path: path.to_owned(), status, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount() {
        let text = "21 1 0:20 / /sys rw - sysfs sysfs rw\n30 21 0:9 / /sys/fs/resctrl rw,nosuid shared:3 - resctrl resctrl rw\n";
        assert_eq!(mount_point(text).ok(), Some(PathBuf::from("/sys/fs/resctrl")));
        assert!(mount_point("21 1 0:20 / /resctrl rw - sysfs resctrl rw\n").is_err());
    }
}
