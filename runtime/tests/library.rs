//! The library in a program with many threads: containers come and go while others allocate, and nothing of
//! the program is changed or left over. Needs root and Debian's static busybox.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use keel::container::id::ContainerId;
use keel::lifecycle::exec::{self, Changes, Source};
use keel::lifecycle::request::Request;
use keel::lifecycle::wait::{Waited, wait};
use keel::lifecycle::{create, delete, kill, start, state};

const THREADS: usize = 32;
const ROUNDS: usize = 3;

fn bundle(folder: &Path) -> PathBuf {
    let rootfs = folder.join("rootfs");
    for name in ["bin", "proc", "dev"] {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    let kinds = ["pid", "mount", "ipc", "uts"];
    let namespaces: Vec<_> = kinds.iter().map(|kind| serde_json::json!({"type": kind})).collect();
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/busybox", "sleep", "1000"],
            "env": ["PATH=/bin"],
        },
        // A /dev of its own: the containers share the root filesystem.
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
        ],
        "linux": {"namespaces": namespaces},
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder.to_owned()
}

/// What belongs to the whole process and must not change.
#[derive(Debug, PartialEq, Eq)]
struct Global {
    descriptors: usize,
    status: Vec<String>,
    directory: PathBuf,
    mounts: usize,
    children: String,
}

fn global() -> Global {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kept = ["Umask:", "SigBlk:", "SigIgn:", "SigCgt:", "ShdPnd:", "Seccomp:", "CapEff:"];
    let lines = status.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let children = tasks.map(|task| {
        std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()
    });
    Global {
        descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        status: lines.map(str::to_owned).collect(),
        directory: std::env::current_dir().unwrap(),
        // Others mount on the host meanwhile; every path of this test bears its name.
        mounts: std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .matches("keel-library-")
            .count(),
        children: children.collect(),
    }
}

fn one_life(root: &Path, bundle: &Path, name: &str) {
    let id = ContainerId::parse(name).unwrap();
    let request = Request::new(id.clone(), root, bundle);
    create::create(&request, None).unwrap();
    start::start(root, &id, None).unwrap();
    assert_eq!(wait(root, &id, 0).unwrap(), Waited::TimedOut);
    let run_inside = |args: &[&str]| {
        let args = args.iter().map(ToString::to_string).collect();
        let source = Source::Changed(Box::new(Changes { args, ..Changes::default() }));
        exec::spawn(root, &id, &exec::Request::new(source)).unwrap()
    };
    let process = run_inside(&["/bin/busybox", "sh", "-c", "exit 7"]);
    assert_eq!(process.wait(10_000).unwrap(), Waited::Status(7));
    assert_eq!(process.wait(0).unwrap(), Waited::Gone, "its status was given before");
    assert!(process.kill(SIGKILL).is_err(), "it was reaped");
    let process = run_inside(&["/bin/busybox", "sleep", "1000"]);
    assert!(Path::new(&format!("/proc/{}", process.pid())).exists());
    assert_eq!(process.wait(0).unwrap(), Waited::TimedOut);
    process.kill(SIGKILL).unwrap();
    assert_eq!(process.wait(10_000).unwrap(), Waited::Status(128 + SIGKILL));
    kill::kill(root, &id, SIGKILL, false).unwrap();
    assert_eq!(wait(root, &id, 10_000).unwrap(), Waited::Status(128 + SIGKILL));
    let container = state::Container::open(root, &id).unwrap();
    assert_eq!(container.status().unwrap().name(), "stopped");
    let cgroups = container.state.cgroup_paths.clone();
    delete::delete(root, &id, false).unwrap();
    for (key, path) in cgroups {
        assert!(!Path::new(&path).exists(), "{key}: {path}");
    }
}

const SIGKILL: i32 = 9;

#[test]
fn many_threads_create_containers_at_once() {
    let folder = std::env::temp_dir().join(format!("keel-library-{}", std::process::id()));
    let bundle = bundle(&folder);
    let root = folder.join("state");
    // What the first use brings to stay, such as the harness's own threads, is there before the count.
    one_life(&root, &bundle, &format!("keel-library-{}-warm", std::process::id()));
    let before = global();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut kept: Vec<Vec<u8>> = Vec::new();
                let mut size = 1_usize;
                while !done.load(Ordering::Relaxed) {
                    size = size.wrapping_mul(31) % 100_003 + 1;
                    kept.push(vec![1; size]);
                    if kept.len() > 64 {
                        kept.swap_remove(size % 64);
                    }
                }
            });
        }
        let makers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (root, bundle) = (&root, &bundle);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let name = format!("keel-library-{}-{number}-{round}", std::process::id());
                        one_life(root, bundle, &name);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = makers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for end in ended {
            end.unwrap();
        }
    });
    assert_eq!(global(), before);
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
