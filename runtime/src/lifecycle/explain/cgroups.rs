//! Whether this caller may make the cgroups that a bundle needs, enter them and set limits there: who is not
//! root may where a part of the hierarchy was delegated to it (cgroups(7), "Cgroup delegation").

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::super::error::RuntimeError;
use super::super::host::{Rights, plan_cgroups};
use super::super::request::Request;
use super::Cause;
use crate::cgroup::{Directory, DirectoryKind, Layout, Plan, layout};
use crate::config::spec::Spec;
use crate::procfs::Procfs;
use crate::sys::open::{CWD, can_write};

const DELEGATE: &str = "have a part of the hierarchy delegated to this user and call keel from within it (systemd-run \
                        --user --scope -p Delegate=yes keel …), give --systemd-cgroup, or ask for neither limits \
                        nor a cgroup";

/// Adds a cause for everything that this caller may not do with the cgroups of a creation.
pub(super) fn check(request: &Request, spec: &Spec, causes: &mut Vec<Cause>) {
    if request.systemd_cgroup {
        // Made by systemd, which says itself what it does not permit.
        return;
    }
    // What cannot be planned is a cause already.
    let Ok((plan, layout)) = planned(request, spec) else { return };
    for (index, directory) in plan.directories.iter().enumerate() {
        let limit = plan.writes.iter().find(|write| write.directory == index);
        let field = match limit {
            Some(limit) => limit.origin.to_string(),
            // Without one the container does without this cgroup.
            None if directory.optional => continue,
            None => "linux.cgroupsPath".to_owned(),
        };
        let found = refused(directory, &layout, &controllers(&plan, index), &can_write_to);
        causes.extend(found.map(|(errno, what)| Cause {
            kind: "cgroup-delegation",
            field,
            errno,
            what,
            hint: DELEGATE.to_owned(),
        }));
    }
}

fn planned(request: &Request, spec: &Spec) -> Result<(Plan, Layout), RuntimeError> {
    let rootless = match request.rootless {
        Some(rootless) => rootless,
        None => Rights::own()?.in_user_namespace,
    };
    let (plan, _) = plan_cgroups(spec, &request.id, false, rootless)?;
    Ok((plan, layout(&Procfs::open().map_err(RuntimeError::Procfs)?)?))
}

/// The controllers that the limits of a directory need: files are named after them.
fn controllers(plan: &Plan, index: usize) -> Vec<String> {
    let files =
        plan.writes.iter().filter(|write| write.directory == index).map(|write| &write.file);
    let mut all: Vec<String> =
        files.filter_map(|file| Some(file.split_once('.')?.0.to_owned())).collect();
    all.dedup();
    all.retain(|name| name != "cgroup");
    all
}

fn can_write_to(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    can_write(CWD, &path).is_ok()
}

/// The errno that making, entering or limiting a directory comes to, and what is in the way.
fn refused(
    directory: &Directory,
    layout: &Layout,
    controllers: &[String],
    can_write: &dyn Fn(&Path) -> bool,
) -> Option<(&'static str, String)> {
    let path = directory.path();
    let there = path.ancestors().find(|one| one.exists())?;
    if there != path && !can_write(there) {
        let (path, there) = (path.display(), there.display());
        return Some(("EACCES", format!("{path} cannot be made: {there} is not this user's")));
    }
    match &directory.kind {
        DirectoryKind::V1 => None,
        DirectoryKind::V1Cpuset { cpus, mems } => [cpus, mems].into_iter().find_map(|name| {
            let file = there.join(name);
            let is_empty = text_of(&file).is_empty();
            (is_empty && !can_write(&file)).then(|| {
                let what = "is empty and may not be written by this user";
                ("EACCES", format!("{} {what}, so that no process can enter", file.display()))
            })
        }),
        DirectoryKind::V2 { .. } => {
            let from_root = handed_down(&directory.mount_point, &path);
            let missing =
                from_root.iter().find_map(|parent| not_enabled(parent, controllers, can_write));
            missing.or_else(|| cannot_move(&path, layout, can_write))
        }
    }
}

/// The directories from the mount point to the parent of `path` that are there, the first one first.
fn handed_down(mount_point: &Path, path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|one| one.starts_with(mount_point));
    let mut all: Vec<PathBuf> = above.filter(|one| one.is_dir()).map(Path::to_owned).collect();
    all.reverse();
    all
}

/// A controller that `parent` does not hand down and that this caller cannot make it hand down.
fn not_enabled(
    parent: &Path,
    controllers: &[String],
    can_write: &dyn Fn(&Path) -> bool,
) -> Option<(&'static str, String)> {
    let file = parent.join("cgroup.subtree_control");
    let enabled = text_of(&file);
    let lacks = |name: &&String| !enabled.split_whitespace().any(|one| one == name.as_str());
    let name = controllers.iter().find(lacks)?;
    let shown = file.display();
    if !can_write(&file) {
        return Some((
            "EACCES",
            format!("{shown} lacks {name} and may not be written by this user"),
        ));
    }
    let available = text_of(&parent.join("cgroup.controllers"));
    if !available.split_whitespace().any(|one| one == name) {
        return Some(("ENOENT", format!("{} does not have {name}", parent.display())));
    }
    let has_processes = !text_of(&parent.join("cgroup.procs")).is_empty();
    // Only the root of the hierarchy may have both.
    (has_processes && parent.join("cgroup.type").exists()).then(|| {
        let why = "has processes of its own, so that it cannot hand down controllers";
        ("EBUSY", format!("{} {why} ({name})", parent.display()))
    })
}

/// To move a process, its mover must be allowed to write to `cgroup.procs` of the nearest directory above both
/// places.
fn cannot_move(
    path: &Path,
    layout: &Layout,
    can_write: &dyn Fn(&Path) -> bool,
) -> Option<(&'static str, String)> {
    let own = layout.hierarchies().get(layout.v2()?)?;
    let from = own.mount_point.join(own.own.trim_start_matches('/'));
    let common = path.ancestors().find(|one| from.starts_with(one))?;
    let file = common.join("cgroup.procs");
    (file.exists() && !can_write(&file)).then(|| {
        let (from, file) = (from.display(), file.display());
        let why = "which a move from there needs";
        ("EACCES", format!("this user's cgroup is {from}, and it may not write to {file}, {why}"))
    })
}

fn text_of(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A folder that looks like a hierarchy of version 2, with `user` below it delegated.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("keel-explain-{name}-{}", std::process::id()));
            let tree = Self(root);
            for (folder, enabled) in [("", "memory pids"), ("user", "memory"), ("user/shell", "")] {
                std::fs::create_dir_all(tree.0.join(folder)).unwrap();
                tree.put(&format!("{folder}/cgroup.controllers"), "memory pids");
                tree.put(&format!("{folder}/cgroup.subtree_control"), enabled);
                tree.put(&format!("{folder}/cgroup.procs"), "");
                if !folder.is_empty() {
                    tree.put(&format!("{folder}/cgroup.type"), "domain");
                }
            }
            tree
        }

        fn put(&self, file: &str, text: &str) {
            std::fs::write(self.0.join(file.trim_start_matches('/')), text).unwrap();
        }

        /// What is in the way of a container at `below` for a user whose shell is in `own`, who may write to
        /// what `may` says.
        fn refused(
            &self,
            below: &str,
            own: &str,
            controllers: &[&str],
            may: fn(&str) -> bool,
        ) -> Option<(&'static str, String)> {
            let mounts = format!("30 1 0:26 / {} rw - cgroup2 cgroup2 rw\n", self.0.display());
            let layout = Layout::parse(&format!("0::{own}\n"), &mounts).unwrap();
            let directory = Directory {
                mount_point: self.0.clone(),
                below: below.to_owned(),
                keys: vec![String::new()],
                kind: DirectoryKind::V2 { enable: Vec::new() },
                optional: false,
            };
            let controllers: Vec<String> = controllers.iter().map(|&one| one.to_owned()).collect();
            let may_write =
                |path: &Path| may(path.strip_prefix(&self.0).unwrap().to_str().unwrap());
            let found = refused(&directory, &layout, &controllers, &may_write)?;
            Some((found.0, found.1.replace(&format!("{}/", self.0.display()), "")))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn in_user(path: &str) -> bool {
        path.starts_with("user")
    }

    #[test]
    fn finds_nothing_within_what_was_delegated() {
        let tree = Tree::new("whole");
        assert_eq!(tree.refused("user/c", "/user/shell", &["memory"], in_user), None);
        // The user can hand it down itself.
        assert_eq!(tree.refused("user/c", "/user/shell", &["pids"], in_user), None);
    }

    #[test]
    fn names_the_file_that_is_in_the_way() {
        let tree = Tree::new("parts");
        let no_subtree = |path: &str| in_user(path) && !path.ends_with("subtree_control");
        for (below, own, controller, may, errno, words) in [
            (
                "c",
                "/user/shell",
                "memory",
                in_user as fn(&str) -> bool,
                "EACCES",
                "is not this user's",
            ),
            ("user/c", "/", "memory", in_user, "EACCES", "may not write to cgroup.procs"),
            ("user/c", "/other", "memory", in_user, "EACCES", "may not write to cgroup.procs"),
            (
                "user/c",
                "/user/shell",
                "pids",
                no_subtree,
                "EACCES",
                "user/cgroup.subtree_control lacks pids",
            ),
            ("user/c", "/user/shell", "io", |_| true, "ENOENT", "does not have io"),
        ] {
            let found = tree.refused(below, own, &[controller], may).unwrap();
            assert!(found.0 == errno && found.1.contains(words), "{below} {own} {found:?}");
        }
        tree.put("user/cgroup.procs", "77");
        let found = tree.refused("user/c", "/user/shell", &["pids"], in_user).unwrap();
        assert!(found.0 == "EBUSY" && found.1.starts_with("user has processes"), "{found:?}");
    }
}
