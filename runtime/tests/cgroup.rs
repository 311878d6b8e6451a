//! Real cgroups on this machine, whatever its mixture of versions: made, entered, limited, frozen,
//! killed and removed as root; and compared with what runc writes for the same limits.
//!
//! Needs root and Debian's runc and busybox-static. Every test works in a cgroup of its own and
//! removes it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test panics")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keel::cgroup::router::Controller;
use keel::cgroup::{self, Applied, CgroupError, Layout, Location, Paths, Privilege, apply, plan};
use keel::config::field::{Field, Findings};
use keel::config::json::Json;
use keel::config::resources::Resources;
use keel::sys::process::{Clone3, clone3};
use serde_json::{Value, json};

fn layout() -> Layout {
    cgroup::layout(fs::File::open("/proc").unwrap().as_fd()).unwrap()
}

fn resources(json: &Value) -> Resources {
    let findings = Findings::default();
    let resources = Resources::read(&Field::root(&Json::from(json), &findings)).unwrap();
    assert_eq!(findings.into_parts().0, []);
    resources
}

/// A cgroup of this test; removed with its processes and its parent when dropped.
struct Scratch {
    parent: String,
    location: Location,
    layout: Layout,
}

impl Scratch {
    fn new(name: &str) -> Self {
        let parent = format!("keel-test-{name}-{}", std::process::id());
        let location = Location::new(Some(&format!("/{parent}/box")), "box").unwrap();
        Self { parent, location, layout: layout() }
    }

    fn apply(&self, json: &Value) -> Result<Applied, CgroupError> {
        let plan = plan(&resources(json), &self.layout, &self.location, Privilege::Full).unwrap();
        apply(&plan, cgroup::Opening::Now)
    }

    /// Every directory of the parent that exists.
    fn left(&self) -> Vec<PathBuf> {
        let hierarchies = self.layout.hierarchies().iter();
        let parents = hierarchies.map(|hierarchy| hierarchy.mount_point.join(&self.parent));
        parents.filter(|path| path.exists()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let parents = self.left().into_iter();
        let paths = Paths::new(parents.map(|path| (path.display().to_string(), path)));
        let keyed = self.layout.hierarchies().iter().filter_map(|hierarchy| {
            let path = hierarchy.mount_point.join(&self.parent);
            let key = hierarchy.mount_point.file_name()?.to_str()?.replace("unified", "");
            path.exists().then_some((key, path))
        });
        let _ = Paths::new(keyed).signal_all(9);
        let _ = paths.remove();
    }
}

/// A process that puts itself into every cgroup as a container process does, and then waits.
fn enter(applied: &Applied) -> Child {
    let mut script = String::new();
    for member in &applied.members {
        script += &format!("echo 0 > {}\n", member.join_path().display());
    }
    script += "exec sleep 60\n";
    let mut child = Command::new("/bin/busybox");
    let child = child.args(["sh", "-ec", &script]).stdin(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    wait_until(|| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"))
    });
    child
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..200 {
        if condition() {
            return;
        }
        let status = Command::new("/bin/busybox").args(["usleep", "10000"]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
    panic!("waited two seconds in vain");
}

/// The files of a container's cgroups that limits are written to, by controller and name.
fn files(paths: &Paths) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (key, path) in paths.iter() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let counts = ["usage", "failcnt", "stat", "shown_ram", "pressure", "peak", "current"];
            let varies = counts.iter().any(|word| name.contains(word))
                || name.starts_with("tasks")
                || name.starts_with("cgroup.procs")
                || name.starts_with("cgroup.threads")
                || name.contains("kmem.slabinfo")
                || name.starts_with("cgroup.events")
                // What the parent gives on v2; ours is not at the top, where runc's is.
                || name == "cgroup.controllers"
                || (key.is_empty() && name.starts_with("hugetlb."));
            if let Ok(text) = fs::read_to_string(entry.path())
                && !varies
            {
                all.insert(format!("{key}:{name}"), text);
            }
        }
    }
    all
}

/// What runc leaves in the files of a container's cgroups for these limits.
fn files_of_runc(name: &str, json: &Value) -> BTreeMap<String, String> {
    let id = format!("keel-cgroup-{name}-{}", std::process::id());
    let root = std::env::temp_dir().join(&id);
    let bundle = root.join("bundle");
    fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
    fs::copy("/bin/busybox", bundle.join("rootfs/bin/busybox")).expect("busybox is installed");
    let runc = |args: &[&str]| {
        let errors = fs::File::create(root.join("errors")).unwrap();
        let status = Command::new("runc")
            .arg("--root")
            .arg(root.join("state"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .status();
        let text = fs::read_to_string(root.join("errors")).unwrap();
        assert!(status.expect("runc is installed").success(), "runc {args:?}: {text}");
    };
    let bundle_arg = bundle.to_str().unwrap();
    runc(&["spec", "-b", bundle_arg]);
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["args"] = json!(["/bin/busybox", "sleep", "60"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    config["linux"]["resources"] = json.clone();
    fs::write(&path, config.to_string()).unwrap();
    runc(&["run", "-d", "-b", bundle_arg, &id]);
    let state = fs::read(root.join("state").join(&id).join("state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    let paths = state["cgroup_paths"].as_object().unwrap().iter();
    let paths = paths.map(|(key, path)| (key.clone(), path.as_str().unwrap().into()));
    let files = files(&Paths::new(paths));
    runc(&["delete", "--force", &id]);
    let _ = fs::remove_dir_all(&root);
    files
}

fn compare_with_runc(name: &str, json: &Value) {
    let scratch = Scratch::new(name);
    let applied = scratch.apply(json).unwrap();
    let ours = files(&applied.paths());
    let mut theirs = files_of_runc(name, json);
    // runc 1.1 does not know the first, and maps shares to the second in a straight line.
    theirs.remove("cpu:cpu.cfs_burst_us");
    theirs.retain(|file, _| !file.starts_with(":cpu.weight"));
    for (file, text) in theirs {
        assert_eq!(ours.get(&file), Some(&text), "{file}");
    }
    applied.undo();
    assert!(scratch.left().is_empty());
}

#[test]
fn writes_what_runc_writes() {
    let devices = json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "b", "major": 7, "minor": 0, "access": "rw"},
        {"allow": true, "type": "c", "major": 10, "access": "r"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "w"},
        {"allow": false, "type": "b", "major": 7, "minor": 0, "access": "w"}]);
    let mut limits = json!({"devices": devices,
        "memory": {"limit": 104_857_600, "reservation": 52_428_800, "swap": 209_715_200,
            "swappiness": 10, "disableOOMKiller": true},
        "cpu": {"shares": 512, "quota": 50000, "period": 200_000}, "pids": {"limit": 33}});
    // Kernels exist without these.
    if layout().of(Controller::Cpuset).is_some() {
        limits["cpu"]["cpus"] = json!("0");
        limits["cpu"]["mems"] = json!("0");
    }
    if layout().v1_of(Controller::Blkio).is_some() {
        limits["blockIO"] = json!({"weight": 500});
    }
    compare_with_runc("limits", &limits);
}

#[test]
fn writes_what_runc_writes_without_limits() {
    compare_with_runc("none", &json!({}));
    let privileged = json!({"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "access": "rwm"}], "memory": {"limit": -1}, "pids": {"limit": -1}});
    compare_with_runc("privileged", &privileged);
}

#[test]
fn limits_a_controller_of_v2_beside_v1() {
    let scratch = Scratch::new("hugetlb");
    if scratch.layout.of(Controller::Hugetlb).is_none() {
        return;
    }
    let json = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]});
    let applied = scratch.apply(&json).unwrap();
    let hugetlb = applied.paths();
    let unified = hugetlb.get("hugetlb").or_else(|| hugetlb.get("")).unwrap();
    let found = ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"];
    let found = found.iter().find_map(|name| fs::read_to_string(unified.join(name)).ok());
    assert_eq!(found.unwrap().trim(), "4194304");
    applied.undo();
    assert!(scratch.left().is_empty());
}

#[test]
fn enters_freezes_kills_and_removes() {
    let scratch = Scratch::new("life");
    let applied = scratch.apply(&json!({"pids": {"limit": 5}})).unwrap();
    let paths = applied.paths();
    let mut child = enter(&applied);
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(paths.pids().unwrap(), [pid]);
    assert_eq!(paths.all_pids().unwrap(), [pid]);
    for path in paths.directories() {
        let list = fs::read_to_string(path.join("cgroup.procs")).unwrap();
        assert_eq!(list.trim(), pid.to_string(), "{}", path.display());
    }

    assert!(!paths.is_frozen().unwrap());
    paths.freeze().unwrap();
    assert!(paths.is_frozen().unwrap());
    let error = scratch.apply(&json!({})).unwrap_err();
    assert!(matches!(error, CgroupError::NotEmpty { count: 1, .. }), "{error}");
    paths.thaw().unwrap();
    assert!(!paths.is_frozen().unwrap());

    paths.freeze().unwrap();
    paths.signal_all(9).unwrap();
    assert_eq!(child.wait().unwrap().code(), None);
    paths.remove().unwrap();
    for path in paths.directories() {
        assert!(!path.exists(), "{}", path.display());
    }
    // A second time there is nothing left to remove, to list or to freeze.
    paths.remove().unwrap();
    assert_eq!(paths.all_pids().unwrap(), [0; 0]);
    assert!(!paths.is_frozen().unwrap());
}

#[test]
fn signals_every_process_and_keeps_a_pause() {
    let scratch = Scratch::new("signal");
    let applied = scratch.apply(&json!({})).unwrap();
    let mut children = [enter(&applied), enter(&applied)];
    let paths = applied.paths();
    paths.freeze().unwrap();
    paths.signal_all(15).unwrap();
    assert!(paths.is_frozen().unwrap());
    paths.thaw().unwrap();
    for child in &mut children {
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(15));
    }
    paths.remove().unwrap();
}

#[test]
fn removes_what_a_container_made_below() {
    let scratch = Scratch::new("below");
    let applied = scratch.apply(&json!({})).unwrap();
    let paths = applied.paths();
    for path in paths.directories() {
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::create_dir(path.join("a/d")).unwrap();
    }
    paths.remove().unwrap();
    assert!(paths.directories().all(|path| !path.exists()));
}

#[test]
fn reuses_an_empty_cgroup_and_keeps_it_on_failure() {
    let scratch = Scratch::new("reuse");
    let low = json!({"memory": {"limit": 10_485_760, "swap": 10_485_760},
        "cpu": {"quota": 10000, "burst": 10000}});
    drop(scratch.apply(&low).unwrap());
    // Above the old limit with swap, and a quota below the old burst: neither order of writing suits.
    let high = json!({"memory": {"limit": 20_971_520, "swap": 20_971_520},
        "cpu": {"quota": 5000, "burst": 2000}});
    let applied = scratch.apply(&high).unwrap();
    let paths = applied.paths();
    let read = |key: &str, name: &str| {
        paths.get(key).and_then(|path| fs::read_to_string(path.join(name)).ok())
    };
    if let Some(limit) = read("memory", "memory.limit_in_bytes") {
        assert_eq!(limit.trim(), "20971520");
        assert_eq!(read("cpu", "cpu.cfs_burst_us").as_deref().map(str::trim), Some("2000"));
    }
    assert!(scratch.apply(&json!({"cpu": {"period": 1}})).is_err());
    assert!(paths.directories().all(Path::exists), "what was there before stays");
}

#[test]
fn takes_back_everything_when_a_limit_is_refused() {
    let scratch = Scratch::new("refused");
    let error = scratch.apply(&json!({"cpu": {"period": 1}})).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("linux.resources.cpu.period: cannot write \""), "{text}");
    assert_eq!(error.errno(), Some(libc::EINVAL), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("kernel's range")), "{error:?}");
    assert!(scratch.left().is_empty());
}

#[test]
fn leaves_alone_what_is_no_cgroup() {
    let directory = std::env::temp_dir().join(format!("keel-no-cgroup-{}", std::process::id()));
    fs::create_dir_all(directory.join("precious")).unwrap();
    let paths = Paths::new([("cpu".to_owned(), directory.clone())]);
    assert!(matches!(paths.remove(), Err(CgroupError::NoCgroup { .. })));
    assert!(directory.join("precious").exists());
    fs::remove_dir_all(&directory).unwrap();
}

/// On a host whose v2 mount has no controllers, v2's part can still be tried as if it were alone.
#[test]
fn confines_devices_by_a_program_on_v2() {
    let Some(mount_point) = layout().v2_mount_point().map(Path::to_owned) else { return };
    let mount = format!("1 1 0:1 / {} rw - cgroup2 cgroup2 rw\n", mount_point.display());
    let layout = Layout::parse("0::/\n", &mount).unwrap();
    assert!(layout.is_v2_only());
    let mut scratch = Scratch::new("bpf");
    scratch.layout = layout;
    let rules = json!([{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]);
    let applied = scratch.apply(&json!({ "devices": rules })).unwrap();
    let procs = applied.members[0].path.join("cgroup.procs");
    let nodes = std::env::temp_dir().join(format!("keel-nodes-{}", std::process::id()));
    fs::create_dir_all(&nodes).unwrap();
    let run = |script: &str| {
        let script = format!("echo 0 > {}; cd {}; {script}", procs.display(), nodes.display());
        Command::new("/bin/busybox").args(["sh", "-ec", &script]).status().unwrap().success()
    };
    assert!(run("mknod log c 1 11; mknod port c 1 4; mknod disk b 7 9"));
    assert!(run("true < /dev/null; true > /dev/zero; true < log"));
    for denied in ["true > log", "true <> log", "true < port", "true < disk"] {
        assert!(!run(&format!("{denied} 2>/dev/null")), "{denied}");
    }
    fs::remove_dir_all(&nodes).unwrap();
    applied.paths().remove().unwrap();
}

/// The way of a container process: cloned into the v2 directory, and into the others by itself.
#[test]
fn enters_by_clone_and_by_its_own_hand() {
    let scratch = Scratch::new("clone");
    let applied = scratch.apply(&json!({})).unwrap();
    let unified = applied.unified();
    let joins: Vec<_> = applied.joins(unified.is_some()).collect();
    let (wait, release) = keel::sys::open::pipe().unwrap();
    let options = Clone3 { cgroup: unified, ..Clone3::default() };
    let child = clone3(&options, || {
        let entered = joins.iter().all(|join| keel::sys::open::write_all(join, b"0").is_ok());
        // The parent has its own end for writing; this one would keep the pipe open.
        let _ = keel::sys::open::dup_onto(&wait, release.as_raw_fd());
        let _ = keel::sys::open::read(&wait, &mut [0]);
        i32::from(!entered)
    })
    .unwrap();
    let line = format!("/{}/box", scratch.parent);
    wait_until(|| {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", child.pid)).unwrap();
        text.lines().filter(|found| found.ends_with(&line)).count() == applied.members.len()
    });
    assert_eq!(applied.paths().all_pids().unwrap(), [child.pid]);
    drop(release);
    let ended = keel::sys::process::wait_child(&child.pidfd).unwrap();
    assert_eq!(ended, keel::sys::process::Ended::Exited(0));
    applied.undo();
    assert!(scratch.left().is_empty());
}

#[test]
fn kills_a_process_that_left_the_v2_cgroup() {
    let scratch = Scratch::new("stray");
    let applied = scratch.apply(&json!({})).unwrap();
    let paths = applied.paths();
    let Some(unified) = paths.get("").filter(|_| paths.directories().count() > 1) else { return };
    let mut child = enter(&applied);
    let root = unified.parent().and_then(Path::parent).unwrap();
    fs::write(root.join("cgroup.procs"), child.id().to_string()).unwrap();
    paths.signal_all(9).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    paths.remove().unwrap();
}

#[test]
fn refuses_a_place_in_use() {
    let scratch = Scratch::new("unused");
    let applied = scratch.apply(&json!({})).unwrap();
    let mut child = enter(&applied);
    let error = scratch.apply(&json!({})).unwrap_err().to_string();
    assert!(
        error.starts_with("container's cgroup is not empty: 1 process(es) found in "),
        "{error}"
    );
    applied.paths().signal_all(9).unwrap();
    child.wait().unwrap();
    applied.paths().freeze().unwrap();
    assert!(matches!(scratch.apply(&json!({})), Err(CgroupError::Frozen { .. })));
    applied.paths().thaw().unwrap();
    applied.paths().remove().unwrap();
}
