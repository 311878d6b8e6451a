//! The mount points that a restore needs in the root file system: criu mounts, but makes no place to mount
//! on. Pure; the steps are those of a creation, less the file systems.

use super::plan::{OnProcfs, Step, Tree};
use crate::arena::Arena;
use crate::config::mounts::{Bind, Mount};
use crate::config::spec::Spec;
use crate::failure::Origin;

/// Steps that make every missing mount point. Binds are attached on the way, since a later mount may have
/// its place in one: so the steps belong in a mount namespace that ends with them.
#[must_use]
pub fn mount_points(spec: &Spec, bundle: &str, arena: &mut Arena) -> Vec<(Origin, Step)> {
    let absolute = |path: &str| match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", bundle.trim_end_matches('/')),
    };
    let root = Origin::field("root.path");
    let path = arena.add(absolute(&spec.root_path));
    let mut steps = vec![
        (root, Step::PropagateHost(libc::MS_SLAVE | libc::MS_REC)),
        (root, Step::AttachRoot { tree: Tree::Path(path), path }),
    ];
    for (index, mount) in spec.mounts.iter().enumerate() {
        let makes_none = mount.kind.starts_with("cgroup") || mount.options.remount;
        if makes_none || is_covered(mount, &spec.mounts[..index]) {
            continue;
        }
        let target = arena.add(&mount.destination);
        let step = match mount.options.bind {
            Some(bind) => Step::Bind {
                tree: Tree::Path(arena.add(absolute(&mount.source))),
                recursive: bind == Bind::Recursive,
                target,
                link: mount.options.destination_link,
                procfs: OnProcfs::Nowhere,
            },
            None => Step::Directory(target),
        };
        steps.push((Origin::item("mounts", index), step));
    }
    steps
}

/// Whether a mount has its place in a file system that is itself restored, with all that is in it.
fn is_covered(mount: &Mount, earlier: &[Mount]) -> bool {
    let destination = mount.destination.trim_matches('/');
    earlier.iter().filter(|other| other.options.bind.is_none()).any(|other| {
        let below = destination.strip_prefix(other.destination.trim_matches('/'));
        below.is_some_and(|rest| rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn makes_places_but_for_those_that_are_restored() {
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
                {"destination": "/device", "type": "bind", "source": "x", "options": ["bind"]},
                {"destination": "/proc/cpuinfo", "type": "bind", "source": "/y", "options": ["bind"]},
                {"destination": "/device/within", "source": "/z", "options": ["rbind"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            ],
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        let spec = Spec::from_json(&config).unwrap().value;
        let mut arena = Arena::default();
        let steps = mount_points(&spec, "/b", &mut arena);
        let seen: Vec<String> = steps
            .iter()
            .map(|(origin, step)| match step {
                Step::Directory(target) => format!("{origin} {}", arena.show(*target)),
                Step::Bind { tree: Tree::Path(path), target, recursive, .. } => {
                    let (target, path) = (arena.show(*target), arena.show(*path));
                    format!("{origin} {path} on {target} {recursive}")
                }
                other => {
                    format!("{origin} {}", format!("{other:?}").split(['(', ' ']).next().unwrap())
                }
            })
            .collect();
        let expected = [
            "root.path PropagateHost",
            "root.path AttachRoot",
            "mounts[0] /proc",
            "mounts[1] /dev",
            "mounts[3] /b/x on /device false",
            "mounts[5] /z on /device/within true",
        ];
        assert_eq!(seen, expected);
    }
}
