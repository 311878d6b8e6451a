//! `root`: the root file system of the program.

use std::fs;
use std::os::unix::fs::symlink;

use keel_tests::Container;
use serde_json::json;

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
