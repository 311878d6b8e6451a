//! Where in the container's cgroups a process of exec goes: to the container's own, or with `--cgroup`
//! to sub-cgroups of them.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::state::Container;
use crate::cgroup;
use crate::cgroup::router::HierarchyKind;
use crate::container::state_file::{State, SystemdUnit};
use crate::init::entrance::Entrances;
use crate::procfs::Procfs;
use crate::sys::open::{CWD, OpenFlags, openat};
use crate::trace;

/// Where version 2 is mounted when it is alone.
const V2_MOUNT: &str = "/sys/fs/cgroup";

/// Who brings the process into the cgroups.
#[derive(Debug)]
pub(super) enum Way {
    /// Itself, through these files.
    Files(Entrances),
    /// The user's systemd, which may take it out of where it is: into its unit, or to this place below.
    Systemd(SystemdUnit, PathBuf),
}

impl Way {
    /// The way to the container's cgroups, or to sub-cgroups of them; `below` are the values of `--cgroup`.
    ///
    /// # Errors
    /// As [`open`].
    pub(super) fn find(container: &Container, below: &[String]) -> Result<Self, RuntimeError> {
        let cgroups = container.cgroups();
        let unit = container.state.systemd_unit.as_ref().filter(|unit| unit.user);
        if let Some((unit, directory)) = unit.zip(cgroups.get(""))
            && !may_move_to(directory)?
        {
            let choices = Choices::parse(below, &[""]).map_err(RuntimeError::Refused)?;
            let place = choices.of("").cloned().unwrap_or_default();
            return Ok(Self::Systemd(unit.clone(), place));
        }
        Ok(Self::Files(open(container, below)?))
    }
}

/// Whether this process may move a child of its own to a v2 cgroup: whoever does so has to have the right
/// to write to the files of the nearest cgroup that is above both (cgroups(7), “Delegation containment
/// rules”), which a user has below its own systemd, and not when it comes from a session beside it.
fn may_move_to(directory: &Path) -> Result<bool, RuntimeError> {
    let procfs = Procfs::open().map_err(RuntimeError::Procfs)?;
    let layout = cgroup::layout(&procfs)?;
    let mut hierarchies = layout.hierarchies().iter();
    let v2 = hierarchies.find(|hierarchy| matches!(hierarchy.kind, HierarchyKind::V2 { .. }));
    let Some(v2) = v2 else { return Ok(true) };
    let own = v2.mount_point.join(v2.own.trim_start_matches('/'));
    let both = own.components().zip(directory.components());
    let above: PathBuf = both.take_while(|(one, other)| one == other).map(|(one, _)| one).collect();
    Ok(open_to_write(&above.join("cgroup.procs")).is_ok())
}

/// The files through which a process enters the container's cgroups, or sub-cgroups of them; `below` are
/// the values of `--cgroup`.
///
/// # Errors
/// A value that is none, in runc's words, or a sub-cgroup that cannot be entered.
fn open(container: &Container, below: &[String]) -> Result<Entrances, RuntimeError> {
    let cgroups = container.cgroups();
    let keys: Vec<&str> = cgroups.iter().map(|(key, _)| key).collect();
    let choices = Choices::parse(below, &keys).map_err(RuntimeError::Refused)?;
    let is_hybrid = keys.iter().any(|key| !key.is_empty());
    let mut opened: Vec<&Path> = Vec::new();
    let mut entrances = Entrances::default();
    for (key, directory) in cgroups.iter() {
        if opened.contains(&directory) {
            continue;
        }
        opened.push(directory);
        let choice = choices.of(key);
        let place = choice.map_or(directory.to_owned(), |below| directory.join(below));
        let file = place.join(if key.is_empty() { "cgroup.procs" } else { "tasks" });
        let moved = || match choice {
            None if key.is_empty() && !is_hybrid => cgroup_of_first(&container.state, directory),
            _ => None,
        };
        match open_to_write(&file) {
            Ok(fd) if key.is_empty() && choice.is_none() => {
                entrances.push_either(fd, moved(), container.state.rootless);
            }
            Ok(fd) => entrances.push(fd),
            Err(_) if let Some(fd) = moved() => {
                entrances.push_either(fd, None, container.state.rootless);
            }
            // Left out at creation for want of rights, and not asked for now.
            Err(error) if choice.is_none() && error.errno == libc::ENOENT => {}
            // The container's creator has no right over it; its processes are where their parents were.
            Err(error)
                if choice.is_none() && container.state.rootless && is_refusal(error.errno) => {}
            // A path without controllers means those of v1, where there are any.
            Err(error) if key.is_empty() && is_hybrid && error.errno == libc::ENOENT => {
                let file = open_to_write(&directory.join("cgroup.procs"));
                entrances.push(file.map_err(RuntimeError::system("cgroup.procs"))?);
            }
            Err(error) => {
                let what = format!("error adding pid to {}", file.display());
                return Err(RuntimeError::system(what)(error));
            }
        }
    }
    Ok(entrances)
}

/// Where the container's first process is now, by cgroup version 2: it may have moved, because the cgroup it
/// was given takes no processes once controllers were delegated from there, or is gone since.
fn cgroup_of_first(state: &State, own: &Path) -> Option<OwnedFd> {
    let path = CString::new(format!("{}/cgroup", state.process.pid)).ok()?;
    let text = String::from_utf8(Procfs::open().ok()?.read(&path).ok()?).ok()?;
    let place = moved_to(&text, own)?;
    let opened = open_to_write(&place.join("cgroup.procs")).ok()?;
    trace::step(
        trace::place!(),
        format_args!("the container's first process is in {}", place.display()),
    );
    Some(opened)
}

/// The directory of a version 2 cgroup as `/proc/PID/cgroup` tells it, where it is another than `own`.
fn moved_to(text: &str, own: &Path) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let outside = path.split('/').any(|name| name == "..") || path.ends_with(" (deleted)");
    let place = Path::new(V2_MOUNT).join(path);
    (!outside && own.starts_with(V2_MOUNT) && place != own).then_some(place)
}

fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::EACCES | libc::EPERM | libc::EROFS)
}

fn open_to_write(path: &Path) -> Result<OwnedFd, crate::sys::error::SyscallError> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    openat(CWD, &path, OpenFlags::O_WRONLY | OpenFlags::O_NOFOLLOW, 0)
}

/// The values of `--cgroup`: a place for each controller, or one for all.
#[derive(Debug, Default)]
struct Choices {
    all: Option<PathBuf>,
    each: Vec<(String, PathBuf)>,
}

impl Choices {
    /// Reads the values; `known` are the container's controllers.
    fn parse(values: &[String], known: &[&str]) -> Result<Self, String> {
        let mut choices = Self::default();
        for value in values {
            let Some((controllers, path)) = value.split_once(':') else {
                if values.len() > 1 {
                    return Err(format!(
                        "invalid --cgroup argument: {value} (missing <controller>: prefix)"
                    ));
                }
                choices.all = Some(below(value)?);
                continue;
            };
            for controller in controllers.split(',') {
                if choices.each.iter().any(|(name, _)| name == controller) {
                    return Err(format!(
                        "invalid --cgroup argument(s): controller {controller} specified multiple times"
                    ));
                }
                if !known.contains(&controller) {
                    return Err(format!("unknown controller {controller} in SubCgroupPaths"));
                }
                choices.each.push((controller.to_owned(), below(path)?));
            }
        }
        Ok(choices)
    }

    fn of(&self, key: &str) -> Option<&PathBuf> {
        let named = self.each.iter().find(|(name, _)| name == key).map(|(_, path)| path);
        named.or(self.all.as_ref())
    }
}

/// A path below the container's cgroup; what leads out of it is refused.
fn below(path: &str) -> Result<PathBuf, String> {
    let mut clean = PathBuf::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if !clean.pop() {
                    return Err(format!("bad sub cgroup path: {path} is not a sub cgroup path"));
                }
            }
            name => clean.push(name),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<Choices, String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        Choices::parse(&values, &["", "cpu", "memory"])
    }

    #[test]
    fn finds_where_the_first_process_moved() {
        let own = Path::new("/sys/fs/cgroup/c");
        let moved = |text: &str| moved_to(text, own);
        assert_eq!(moved("0::/c/inner\n"), Some(PathBuf::from("/sys/fs/cgroup/c/inner")));
        assert_eq!(moved("1:cpu:/x\n0::/\n"), Some(PathBuf::from("/sys/fs/cgroup/")));
        for text in ["0::/c\n", "0::/../x\n", "0::/c/inner (deleted)\n", "1:cpu:/c/inner\n", ""] {
            assert_eq!(moved(text), None, "{text}");
        }
        assert_eq!(moved_to("0::/c/inner\n", Path::new("/mnt/c")), None);
    }

    #[test]
    fn reads_a_place_for_all_and_for_each() {
        let one = parse(&["/a/./b/../c"]).unwrap_or_default();
        assert_eq!(one.of("cpu"), Some(&PathBuf::from("a/c")));
        let two = parse(&["cpu:x", "memory:/y"]).unwrap_or_default();
        assert_eq!(two.of("cpu"), Some(&PathBuf::from("x")));
        assert_eq!(two.of("memory"), Some(&PathBuf::from("y")));
        assert_eq!(two.of(""), None);
    }

    #[test]
    fn refuses_in_runcs_words() {
        for (values, words) in [
            (&["../x"][..], "bad sub cgroup path: ../x is not a sub cgroup path"),
            (&["cpu:a/../../b"], "bad sub cgroup path: a/../../b is not a sub cgroup path"),
            (&["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"),
            (
                &["cpu:a", "cpu:b"],
                "invalid --cgroup argument(s): controller cpu specified multiple times",
            ),
            (&["nosuch:a"], "unknown controller nosuch in SubCgroupPaths"),
        ] {
            assert_eq!(parse(values).err().as_deref(), Some(words), "{values:?}");
        }
    }
}
