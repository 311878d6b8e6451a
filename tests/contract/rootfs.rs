//! `root`: the root file system of the program.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use keel_tests::{Container, Scratch, requires};
use serde_json::{Value, json};

/// RT-ROOT-01: with `readonly` the root cannot be written, without it it can.
#[test]
fn readonly_holds() {
    for (readonly, errno) in [(true, 30), (false, 0)] {
        let container = Container::new(|config| {
            config["root"]["readonly"] = json!(readonly);
            config["process"]["args"] = json!(["/bin/probe", "open-write", "/etc/passwd"]);
        });
        assert_eq!(container.run().succeeds().json()["/etc/passwd"], errno, "readonly {readonly}");
    }
}

/// RT-ROOT-02: `path` may be absolute or relative to the bundle.
#[test]
fn takes_absolute_and_relative_paths() {
    for absolute in [true, false] {
        let container =
            Container::new(|config| config["process"]["args"] = json!(["cat", "/etc/passwd"]));
        let path =
            if absolute { container.rootfs().display().to_string() } else { "rootfs".to_owned() };
        container.change(|config| config["root"] = json!({"path": path}));
        assert!(container.run().succeeds().stdout.starts_with("root:x:0:0"));
    }
}

/// RT-ROOT-03: a root that does not exist is an error that names it, and nothing is left.
#[test]
fn refuses_a_missing_root() {
    let container = Container::new(|config| config["root"]["path"] = json!("nosuchroot"));
    container.run().fails_naming(&["nosuchroot"]);
    container.assert_nothing_left();
}

/// RT-ROOT-04: nothing of the host is to be seen: the old root is gone.
#[test]
fn the_old_root_is_gone() {
    let container = Container::new(|_| ());
    let seen = container.observe();
    let destinations: Vec<&str> = seen["mounts"]
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    assert_eq!(destinations[0], "/");
    for destination in &destinations[1..] {
        let known = ["/proc", "/dev", "/sys"].iter().any(|top| destination.starts_with(top));
        assert!(known, "{destination} is of the host: {destinations:?}");
    }
}

/// RT-ROOT-05: the program cannot climb out of the root.
#[test]
fn cannot_climb_out() {
    let container =
        Container::new(|config| config["process"]["args"] = json!(["ls", "/../../../../../.."]));
    fs::write(container.rootfs().join("mark-inside"), "").expect("a file");
    assert!(container.run().succeeds().stdout.contains("mark-inside"));
}

/// RT-ROOT-06: symbolic links in the root are the image's own: an absolute one leads into the image.
#[test]
fn links_lead_into_the_root() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["probe", "report"]);
        config["process"]["env"] = json!(["PATH=/tools"]);
    });
    symlink("/bin", container.rootfs().join("tools")).expect("a link");
    assert_eq!(container.observe()["args"][0], "probe");
}

/// RT-ROOT-07: `linux.rootfsPropagation` sets the root's propagation.
#[test]
fn sets_propagation() {
    for (word, seen) in [("private", json!([])), ("slave", json!(["master"])), ("", json!([]))] {
        let container = Container::new(|config| {
            if !word.is_empty() {
                config["linux"]["rootfsPropagation"] = json!(word);
            }
        });
        let report = container.observe();
        let root = &report["mounts"][0];
        // Where the host's own mounts are private there is no peer to be a slave of.
        let host_is_shared = fs::read_to_string("/proc/self/mountinfo")
            .expect("mountinfo")
            .lines()
            .any(|line| line.split(' ').nth(4) == Some("/") && line.contains("shared:"));
        // Without a word it is a slave too.
        let seen = if word.is_empty() && host_is_shared { json!(["master"]) } else { seen };
        if word != "slave" || host_is_shared {
            assert_eq!(root["propagation"], seen, "{word}");
        }
    }
}

/// RT-ROOT-08: `--no-pivot` runs the program too, for hosts whose root is a ramfs.
#[test]
fn runs_without_pivot() {
    let container =
        Container::new(|config| config["process"]["args"] = json!(["cat", "/etc/group"]));
    let outcome = container.call(&["run", "--no-pivot", container.id()]).succeeds();
    assert!(outcome.stdout.starts_with("root:x:0:"), "{}", outcome.report());
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("a program");
    assert!(status.success(), "{program} {args:?}");
}

fn user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().expect("an array").push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// RT-ROOT-09: a shared root passes mounts on inside, an unbindable one cannot be bound; neither fails.
#[test]
fn sets_shared_and_unbindable_propagation() {
    for (word, seen) in [
        ("shared", json!(["shared"])),
        ("rshared", json!(["shared"])),
        ("unbindable", json!(["unbindable"])),
        ("runbindable", json!(["unbindable"])),
        ("rprivate", json!([])),
        ("rslave", json!([])),
    ] {
        let container = Container::new(|config| config["linux"]["rootfsPropagation"] = json!(word));
        if !requires(container.runtime().is("keel"), "newer than the packaged peers") {
            return;
        }
        let report = container.observe();
        let host_is_shared = fs::read_to_string("/proc/self/mountinfo")
            .expect("mountinfo")
            .lines()
            .any(|line| line.split(' ').nth(4) == Some("/") && line.contains("shared:"));
        if word != "rslave" || !host_is_shared {
            assert_eq!(report["mounts"][0]["propagation"], seen, "{word}");
        }
        let outside = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!outside.contains(container.id()), "{word}: {outside}");
    }
}

/// RT-ROOT-10: `readonly` holds in a user namespace too, also where the root lies on a mount with flags that are
/// locked there.
#[test]
fn readonly_holds_in_a_user_namespace() {
    let container = Container::new(|config| {
        user_namespace(config);
        config["root"]["readonly"] = json!(true);
        config["process"]["args"] = json!(["/bin/probe", "open-write", "/etc/passwd"]);
    });
    let rootfs = container.rootfs().display().to_string();
    run("chown", &["-R", "100000:100000", &rootfs]);
    let host = Scratch::new();
    let place = host.display().to_string();
    run("mount", &["--bind", &rootfs, &place]);
    run("mount", &["-o", "remount,bind,nosuid,nodev", &place]);
    container.change(|config| config["root"]["path"] = json!(place));
    assert_eq!(container.run().succeeds().json()["/etc/passwd"], 30, "EROFS");
}

/// RT-ROOT-11: createContainer hooks run while the root can still be written.
#[test]
fn hooks_come_before_readonly() {
    let container = Container::new(|config| {
        config["root"]["readonly"] = json!(true);
        config["process"]["args"] = json!(["cat", "/made-by-hook"]);
    });
    let made = container.rootfs().join("made-by-hook");
    container.change(|config| {
        let script = format!("echo hook > {}", made.display());
        config["hooks"]["createContainer"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    });
    assert_eq!(container.run().succeeds().stdout, "hook\n");
}

/// RT-ROOT-12: with `--no-pivot` a program that changes its root once more finds nothing of the host.
#[test]
fn no_pivot_leaves_no_way_out() {
    let container = Container::new(|config| {
        for set in ["bounding", "effective", "permitted"] {
            let list = config["process"]["capabilities"][set].as_array_mut().expect("an array");
            list.push(json!("CAP_SYS_CHROOT"));
        }
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/sub/proc", "type": "proc", "source": "proc"}));
        mounts.push(json!({"destination": "/sub/bin", "type": "bind", "source": "rootfs/bin", "options": ["bind"]}));
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "exec 9</; chroot /sub sh -c 'cd -P /proc/self/fd/9 && cd -P ../../../../../../.. && /bin/busybox ls .'"
        ]);
    });
    if !requires(!container.runtime().is("crun"), "the packaged crun does otherwise") {
        return;
    }
    fs::write(container.rootfs().join("mark-inside"), "").expect("a file");
    let outcome = container.call(&["run", "--no-pivot", container.id()]).succeeds();
    assert!(outcome.stdout.contains("mark-inside"), "{}", outcome.report());
    assert!(!outcome.stdout.contains("boot"), "{}", outcome.report());
}
