//! Names and paths that try to climb out of the folder they belong to.

use std::fs;

use keel_tests::{Container, controller_folder, requires};
use serde_json::json;

/// SEC-ESC-01: keys of `unified` name files of the container's own cgroup (GHSA-5g49-rx9x-qfc6).
#[test]
fn unified_keys_stay_inside() {
    for key in ["../../memory.max", "a/b", "..", "../cgroup.procs", "/etc/passwd", ""] {
        let container =
            Container::new(|config| config["linux"]["resources"]["unified"] = json!({key: "1"}));
        let outcome = container.run();
        assert_ne!(outcome.status, 0, "{key:?}\n{}", outcome.report());
        container.assert_nothing_left();
    }
}

/// SEC-ESC-02: `cgroupsPath` with `..` stays below the cgroup mount.
#[test]
fn cgroups_path_stays_below_the_mount() {
    let container = Container::sleeping(|_| ());
    let path = json!(format!("/../../../../tmp/../{}", container.id()));
    container.change(|config| config["linux"]["cgroupsPath"] = path);
    // Refusing it is as good as cutting it off at the mount.
    if container.create().status == 0 {
        let folder = controller_folder(container.pid(), "pids").expect("a cgroup");
        assert!(!folder.display().to_string().contains(".."), "{}", folder.display());
        assert!(folder.join("cgroup.procs").exists(), "{}", folder.display());
    }
    assert!(!std::path::Path::new("/tmp").join(container.id()).join("cgroup.procs").exists());
}

/// SEC-ESC-03: `exec --cgroup` with `..` does not leave the container's cgroup.
#[test]
fn exec_cgroup_stays_inside() {
    let container = Container::sleeping(|_| ());
    container.up();
    for path in ["../..", "../../other", "pids:../.."] {
        let outcome =
            container.call(&["exec", "--cgroup", path, container.id(), "cat", "/proc/self/cgroup"]);
        if outcome.status == 0 {
            for line in outcome.stdout.lines().filter(|line| line.contains(":pids:")) {
                assert!(line.contains(container.id()), "{path}: {line}");
            }
        }
    }
}

/// SEC-ESC-04: an id that is a path reaches no file beside the state folder, in any command.
#[test]
fn ids_stay_inside() {
    let container = Container::new(|_| ());
    let precious = container.path("precious");
    fs::create_dir(&precious).expect("a folder");
    fs::write(precious.join("state.json"), "{}").expect("a file");
    for id in ["../precious", "..", ".", "a/../../precious", "/precious", "../../../../etc"] {
        for words in [
            &["delete", "--force", id][..],
            &["delete", id],
            &["state", id],
            &["kill", id, "KILL"],
            &["start", id],
            &["create", id],
        ] {
            let outcome = container.call(words);
            assert_ne!(outcome.status, 0, "{words:?}\n{}", outcome.report());
        }
    }
    assert!(precious.join("state.json").is_file(), "a file beside the state folder was removed");
    assert!(container.state_root().is_dir());
    assert!(container.rootfs().join("etc/passwd").is_file());
}

/// SEC-ESC-05: the state folder of a container is closed to other users.
#[test]
fn state_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let container = Container::sleeping(|_| ());
    // The test made the folder for `--root`; a runtime makes its own below with its own modes.
    let root = container.path("own-root");
    let mut command = container.runtime().command();
    command
        .arg("--root")
        .arg(&root)
        .args(["create", "-b"])
        .arg(container.bundle())
        .arg(container.id());
    container.finish(command).succeeds();
    let mode =
        |path: &std::path::Path| fs::metadata(path).expect("a folder").permissions().mode() & 0o777;
    let (outer, inner) = (mode(&root), mode(&root.join(container.id())));
    let mut command = container.runtime().command();
    command.arg("--root").arg(&root).args(["delete", "--force", container.id()]);
    container.finish(command).succeeds();
    assert_eq!(outer & 0o077, 0, "{outer:o}");
    assert_eq!(inner & 0o066, 0, "{inner:o}");
}

/// SEC-ESC-06: a call by another ABI's number does not pass a filter that names only the native one.
#[test]
fn other_abis_do_not_pass_the_filter() {
    let container = Container::new(|config| {
        // Everything is let through but one call, so that the ABI's bit is all that the probe changes.
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]});
        // 135 with the bit of x32.
        config["process"]["args"] = json!(["/bin/probe", "syscall", "1073741959", "8"]);
    });
    if !requires(cfg!(target_arch = "x86_64"), "x86_64") {
        return;
    }
    let outcome = container.run();
    if outcome.status == 0 {
        assert_ne!(outcome.json()["errno"], 0, "{}", outcome.report());
    }
}
