//! The options of mounts beyond the usual: flags of bind mounts, options for whole trees, links, remounts, and
//! destinations that may not be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use keel_tests::{Container, Scratch, requires};
use serde_json::{Value, json};

fn add(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("mounts is an array").push(mount);
}

fn bind_at(destination: &str, source: &Path, options: Value) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn tmpfs_at(destination: &str, options: Value) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn shell(config: &mut Value, script: &str) {
    config["process"]["args"] = json!(["sh", "-c", script]);
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("a program");
    assert!(status.success(), "{program} {args:?}");
}

fn mount_tmpfs(path: &Path, options: &str) {
    fs::create_dir_all(path).expect("a folder");
    run("mount", &["-t", "tmpfs", "-o", options, "keel-tests", &path.display().to_string()]);
}

/// The options of the last mount at a destination.
#[track_caller]
fn options_at(seen: &Value, destination: &str) -> Vec<String> {
    let mounts = seen["mounts"].as_array().expect("an array");
    let mount = mounts.iter().rfind(|mount| mount["destination"] == destination);
    let mount = mount.unwrap_or_else(|| panic!("nothing at {destination}: {mounts:#?}"));
    let options = mount["options"].as_array().expect("an array").iter();
    options.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn without(call: &str) -> bool {
    std::env::var("KEEL_WITHOUT").unwrap_or_default().contains(call)
}

fn is_keel(container: &Container, reason: &str) -> bool {
    requires(container.runtime().is("keel"), reason)
}

/// RT-MOPT-01: an option for the whole tree holds at its top and below; one with the opposite meaning undoes what
/// stands there.
#[test]
fn recursive_options_reach_below() {
    if !requires(
        !without("mount_setattr"),
        "mount_setattr: without it they are refused (RT-MOPT-02)",
    ) {
        return;
    }
    for (below, option, there, gone) in [
        ("rw", "rro", "ro", "rw"),
        ("ro", "rrw", "rw", "ro"),
        ("suid", "rnosuid", "nosuid", ""),
        ("nosuid", "rsuid", "", "nosuid"),
        ("dev", "rnodev", "nodev", ""),
        ("nodev", "rdev", "", "nodev"),
        ("exec", "rnoexec", "noexec", ""),
        ("noexec", "rexec", "", "noexec"),
        ("diratime", "rnodiratime", "nodiratime", ""),
        ("nodiratime", "rdiratime", "", "nodiratime"),
        ("relatime", "rnoatime", "noatime", "relatime"),
        ("noatime", "ratime", "relatime", "noatime"),
        ("noatime", "rrelatime", "relatime", "noatime"),
        ("relatime", "rstrictatime", "", "relatime"),
        ("strictatime", "rnostrictatime", "relatime", ""),
        ("noatime", "rnorelatime", "relatime", "noatime"),
        ("symfollow", "rnosymfollow", "nosymfollow", ""),
        ("nosymfollow", "rsymfollow", "", "nosymfollow"),
    ] {
        let host = Scratch::new();
        mount_tmpfs(&host.join("top"), below);
        // What is below a read-only mount needs its folder first.
        run("mount", &["-o", "remount,rw", &host.join("top").display().to_string()]);
        mount_tmpfs(&host.join("top/sub"), below);
        run(
            "mount",
            &["-o", &format!("remount,bind,{below}"), &host.join("top").display().to_string()],
        );
        let container = Container::new(|config| {
            add(config, bind_at("/data", &host.join("top"), json!(["rbind", option])));
        });
        let atime = option.contains("atime");
        if !requires(
            container.runtime().is("keel") || !atime,
            "the packaged peers mix up access times",
        ) {
            continue;
        }
        let seen = container.observe();
        for place in ["/data", "/data/sub"] {
            let options = options_at(&seen, place);
            let has = |word: &str| options.iter().any(|seen| seen == word);
            assert!(there.is_empty() || has(there), "{below} {option} at {place}: {options:?}");
            assert!(gone.is_empty() || !has(gone), "{below} {option} at {place}: {options:?}");
        }
    }
}

/// RT-MOPT-02: options that the kernel cannot carry out are errors, none is left out.
#[test]
fn unsupported_options_are_errors() {
    let host = Scratch::new();
    let container = Container::new(|_| ());
    if !is_keel(&container, "KEEL_WITHOUT is keel's") {
        return;
    }
    for option in ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow", "rrw"] {
        let container = Container::new(|config| {
            add(config, bind_at("/data", &host, json!(["rbind", option])));
        });
        let mut command = container.command(&["create", container.id()]);
        command.env("KEEL_WITHOUT", "mount_setattr");
        container.finish(command).fails_naming(&["mounts[7]", "Linux 5.12"]);
        container.assert_nothing_left();
    }
    for option in ["rsync", "rasync", "rdirsync", "rmand", "rnomand"] {
        let container = Container::new(|config| {
            add(config, bind_at("/data", &host, json!(["rbind", option])));
        });
        container.create().fails_naming(&["mounts[7].options[1]", option]);
    }
}

/// RT-MOPT-03: flags of a bind mount are the ones that were asked for; without any the source's stay, and a clearing
/// word counts as asking.
#[test]
fn bind_flags_replace_the_sources() {
    if !requires(
        !Container::new(|_| ()).runtime().is("crun"),
        "the packaged crun changes them always",
    ) {
        return;
    }
    for (options, wanted) in [
        (json!(["bind"]), &["nosuid", "nodev", "noexec"][..]),
        (json!(["bind", "ro"]), &["ro"]),
        (json!(["bind", "nosuid"]), &["nosuid"]),
        (json!(["bind", "rw"]), &[]),
        (json!(["bind", "exec"]), &[]),
        (json!(["bind", "noexec", "ro", "nodev"]), &["ro", "nodev", "noexec"]),
    ] {
        let host = Scratch::new();
        mount_tmpfs(&host.join("source"), "nosuid,nodev,noexec");
        let container = Container::new(|config| {
            add(config, bind_at("/data", &host.join("source"), options.clone()));
        });
        let clears = wanted.is_empty();
        if !requires(
            container.runtime().is("keel") || !clears,
            "the packaged peers leave clearing words out",
        ) {
            continue;
        }
        let seen = options_at(&container.observe(), "/data");
        let flags: Vec<&str> = ["ro", "nosuid", "nodev", "noexec"]
            .into_iter()
            .filter(|flag| seen.iter().any(|word| word == flag))
            .collect();
        assert_eq!(flags, wanted, "{options}: {seen:?}");
    }
}

/// RT-MOPT-04: a locked flag that shall go is an error that names it; one that nobody asked to go stays.
#[test]
fn locked_flags_are_named() {
    let host = Scratch::new();
    // To an ordinary user every mount of the host has its flags locked.
    mount_tmpfs(&host.join("source"), "nosuid,nodev,noexec");
    let bound = |options: Value| {
        Container::rootless(|config| {
            add(config, bind_at("/data", &host.join("source"), options));
        })
    };
    let container = bound(json!(["bind", "ro"]));
    if !is_keel(&container, "the packaged runc fails on a locked flag that nobody asked to go") {
        return;
    }
    let options = options_at(&container.observe(), "/data");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.iter().any(|seen| seen == flag), "{flag}: {options:?}");
    }
    let container = bound(json!(["bind", "ro", "exec", "dev"]));
    let source = host.join("source").display().to_string();
    let text = "cannot clear locked flags nodev noexec";
    container.run().fails_naming(&["mounts[", &source, text]);
    container.assert_nothing_left();
    // The setting of access times is one of three values: another one means that this one goes.
    let container = bound(json!(["bind", "noatime"]));
    container.run().fails_naming(&["mounts[", &source, "cannot clear locked flags relatime"]);
    container.assert_nothing_left();
}

/// RT-MOPT-05: a bind mount takes no options of a file system: they would change the host's too.
#[test]
fn refuses_data_for_a_bind() {
    let host = Scratch::new();
    let container = Container::new(|config| {
        add(config, bind_at("/data", &host, json!(["bind", "size=1m"])));
    });
    if !is_keel(&container, "the packaged peers leave them out") {
        return;
    }
    container.run().fails_naming(&["mounts[7].options", "size=1m"]);
    container.assert_nothing_left();
}

/// RT-MOPT-06: every option of the specification's table is understood: none reaches the file system, which would
/// refuse it.
#[test]
fn knows_every_option_of_the_table() {
    let container = Container::new(|_| ());
    if !is_keel(&container, "the packaged peers are older than the table") {
        return;
    }
    for option in [
        "async",
        "atime",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "private",
        "relatime",
        "ro",
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "unbindable",
        "nomand",
        "tmpcopyup",
    ] {
        let container = Container::new(|config| {
            add(config, tmpfs_at("/data", json!([option])));
            config["process"]["args"] = json!(["true"]);
        });
        let outcome = container.run();
        assert_eq!(outcome.status, 0, "{option}: {}", outcome.report());
    }
    let listed = container.call(&["features"]).succeeds().json();
    let listed: Vec<&str> = listed["mountOptions"]
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for option in
        ["bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "mand", "rro", "rsymfollow"]
    {
        assert!(listed.contains(&option), "{option}: {listed:?}");
    }
}

/// RT-MOPT-07: propagation words hold for every type of mount, the last one for good.
#[test]
fn propagation_holds_for_any_type() {
    for (words, seen) in [
        (json!(["shared"]), json!(["shared"])),
        (json!(["rprivate"]), json!([])),
        (json!(["unbindable"]), json!(["unbindable"])),
        (json!(["rshared", "rslave"]), json!([])),
    ] {
        let container = Container::new(|config| add(config, tmpfs_at("/data", words.clone())));
        if !requires(!container.runtime().is("crun"), "crun runs in a slave mount namespace here") {
            return;
        }
        let report = container.observe();
        let mounts = report["mounts"].as_array().expect("an array");
        let mount = mounts.iter().find(|mount| mount["destination"] == "/data").expect("the mount");
        assert_eq!(mount["propagation"], seen, "{words}");
    }
}

/// RT-MOPT-08: `remount` changes what is mounted there already.
#[test]
fn remount_changes_what_is_there() {
    let host = Scratch::new();
    let container = Container::new(|config| {
        add(config, tmpfs_at("/data", json!(["size=64k"])));
        add(
            config,
            json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "size=128k", "ro"]}),
        );
        add(config, bind_at("/bound", &host, json!(["bind"])));
        add(
            config,
            json!({"destination": "/bound", "type": "bind", "options": ["bind", "remount", "ro", "noexec"]}),
        );
    });
    if !is_keel(&container, "the packaged peers mount anew") {
        return;
    }
    let seen = container.observe();
    assert!(options_at(&seen, "/data").contains(&"ro".to_owned()));
    let mounts = seen["mounts"].as_array().expect("an array");
    let sized = mounts.iter().filter(|mount| mount["destination"] == "/data").collect::<Vec<_>>();
    assert_eq!(sized.len(), 1, "{sized:?}");
    assert!(sized[0]["super"].to_string().contains("size=128k"), "{sized:?}");
    let bound = options_at(&seen, "/bound");
    assert!(bound.contains(&"ro".to_owned()) && bound.contains(&"noexec".to_owned()), "{bound:?}");
}

/// RT-MOPT-09: a read-only tmpfs becomes so after the destinations in it were made.
#[test]
fn a_readonly_tmpfs_may_hold_other_mounts() {
    let container = Container::new(|config| {
        add(config, tmpfs_at("/box", json!(["ro"])));
        add(config, tmpfs_at("/box/in", json!([])));
        shell(config, "touch /box/in/file && touch /box/file");
    });
    if !requires(!container.runtime().is("crun"), "the packaged crun does it at once") {
        return;
    }
    container.run().exits(1).says(&["/box/file", "Read-only file system"]);
}

/// RT-MOPT-10: the root file system itself is no destination, written so or reached by a link.
#[test]
fn refuses_the_rootfs_as_destination() {
    for destination in ["/", "/.", "//", "/link"] {
        let container = Container::new(|config| add(config, tmpfs_at(destination, json!([]))));
        if !is_keel(&container, "the packaged peers are older than the rule") {
            return;
        }
        symlink("/", container.rootfs().join("link")).expect("a link");
        container.create().fails_naming(&["mounts[7]", "rootfs itself"]);
        container.assert_nothing_left();
    }
}

/// RT-MOPT-11: a relative destination is taken from the root, with a warning.
#[test]
fn takes_relative_destinations_with_a_warning() {
    let container = Container::new(|config| {
        add(config, tmpfs_at("relative/place", json!(["mode=0751"])));
        config["process"]["args"] = json!(["stat", "-c", "%a", "/relative/place"]);
    });
    let outcome = container.run().succeeds();
    assert_eq!(outcome.stdout, "751\n");
    if is_keel(&container, "the peers have other words") {
        outcome.says(&["mounts[7].destination", "relative"]);
    }
}

/// RT-MOPT-12: only procfs is mounted on /proc, only the files that lxcfs shows are covered in it (CVE-2019-19921).
#[test]
fn guards_proc() {
    let host = Scratch::new();
    fs::write(host.join("file"), "covered\n").expect("a file");
    let file = host.join("file");
    let container = Container::new(|_| ());
    if !requires(!container.runtime().is("crun"), "crun allows mounts over /proc") {
        return;
    }
    for covered in ["/proc/uptime", "/proc/meminfo", "/proc/sys/kernel/ns_last_pid"] {
        let container = Container::new(|config| {
            add(config, bind_at(covered, &file, json!(["bind"])));
            config["linux"]["readonlyPaths"] = json!([]);
            config["process"]["args"] = json!(["cat", covered]);
        });
        assert_eq!(container.run().succeeds().stdout, "covered\n", "{covered}");
    }
    for mount in [
        bind_at("/proc/version", &file, json!(["bind"])),
        bind_at("/proc", &host, json!(["bind"])),
        tmpfs_at("/proc", json!([])),
        tmpfs_at("/proc/sys", json!([])),
        json!({"destination": "/proc/bus", "type": "sysfs", "source": "sysfs"}),
        json!({"destination": "/etc/../proc/bus", "type": "sysfs", "source": "sysfs"}),
        bind_at("/link", &file, json!(["bind"])),
    ] {
        let container = Container::new(|config| add(config, mount.clone()));
        symlink("/proc/sysrq-trigger", container.rootfs().join("link")).expect("a link");
        let newer = mount["type"] != "bind";
        if !requires(container.runtime().is("keel") || !newer, "the packaged runc allows some") {
            continue;
        }
        container.run().fails_naming(&["proc"]);
        container.assert_nothing_left();
    }
    let container = Container::new(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts[0] = bind_at("/proc", Path::new("/proc"), json!(["rbind"]));
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("an array")
            .retain(|n| n["type"] != "pid");
        config["process"]["args"] = json!(["cat", "/proc/self/comm"]);
    });
    assert_eq!(container.run().succeeds().stdout, "cat\n");
}

/// RT-MOPT-13: a destination that is a link to nothing is made where the link leads, inside the root.
#[test]
fn makes_what_dangling_links_lead_to() {
    for (target, made) in
        [("/absent/deep", "absent/deep"), ("../../absent", "absent"), ("beside", "links/beside")]
    {
        let host = Scratch::new();
        fs::write(host.join("mark"), "").expect("a file");
        let container = Container::new(|config| {
            config["root"]["readonly"] = json!(false);
            add(config, bind_at("/links/one", &host, json!(["bind"])));
            config["process"]["args"] = json!(["ls", &format!("/{made}")]);
        });
        if !requires(!container.runtime().is("crun"), "the packaged crun refuses some") {
            return;
        }
        fs::create_dir(container.rootfs().join("links")).expect("a folder");
        symlink(target, container.rootfs().join("links/one")).expect("a link");
        assert_eq!(container.run().succeeds().stdout, "mark\n", "{target}");
        assert!(container.rootfs().join(made).is_dir(), "{made}");
        assert!(!Path::new("/absent").exists(), "made on the host");
    }
}

/// RT-MOPT-14: a file goes on a file and a folder on a folder; the rest is an error.
#[test]
fn files_go_on_files() {
    let host = Scratch::new();
    fs::write(host.join("file"), "").expect("a file");
    for (destination, source) in [("/etc", host.join("file")), ("/etc/passwd", host.to_path_buf())]
    {
        let container =
            Container::new(|config| add(config, bind_at(destination, &source, json!(["bind"]))));
        let place = if container.runtime().is("crun") { &destination[1..] } else { destination };
        container.run().fails_naming(&[place]);
        container.assert_nothing_left();
    }
}

/// RT-MOPT-15: the whole of the host may be bound, with everything below.
#[test]
fn binds_the_hosts_root() {
    let mark = Scratch::new();
    fs::write(mark.join("mark"), "seen\n").expect("a file");
    let container = Container::new(|config| {
        add(config, bind_at("/host", Path::new("/"), json!(["rbind", "ro"])));
        let file = format!("/host{}/mark", mark.display());
        config["process"]["args"] =
            json!(["sh", "-c", format!("cat {file}; cat /host/proc/self/comm")]);
    });
    assert_eq!(container.run().succeeds().stdout, "seen\ncat\n");
}

/// RT-MOPT-16: hundreds of mounts need few open files, also more with a user namespace than there may be.
#[test]
fn many_mounts_need_few_descriptors() {
    let host = Scratch::new();
    for (limit, user_namespace, mounts) in [("-S -n 320", false, 500), ("-n 1024", true, 1500)] {
        let container = Container::new(|config| {
            for number in 0..mounts {
                add(config, bind_at(&format!("/many/{number}"), &host, json!(["bind", "ro"])));
            }
            if user_namespace {
                config["linux"]["namespaces"]
                    .as_array_mut()
                    .expect("an array")
                    .push(json!({"type": "user"}));
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            }
            shell(config, "grep -c ' /many/' /proc/self/mountinfo");
        });
        if user_namespace {
            run("chown", &["-R", "100000:100000", &container.rootfs().display().to_string()]);
        }
        let reason = "Go keeps many descriptors, runc 1.1 one for each mount";
        if !requires(container.runtime().is("keel"), reason) {
            continue;
        }
        let plain = container.command(&["run", container.id()]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" \"$@\""));
        command.arg(plain.get_program()).args(plain.get_args()).current_dir(container.bundle());
        let seen = container.finish(command).succeeds().stdout;
        assert_eq!(seen, format!("{mounts}\n"), "{limit}");
    }
}

/// RT-MOPT-17: crun's words about links: the link itself is copied, mounted, or covered.
#[test]
fn does_as_asked_with_links() {
    let host = Scratch::new();
    fs::write(host.join("file"), "text\n").expect("a file");
    symlink("file", host.join("link")).expect("a link");
    let container = Container::new(|config| {
        add(config, bind_at("/copied", &host.join("link"), json!(["bind", "copy-symlink"])));
        add(config, bind_at("/plain", &host.join("file"), json!(["bind", "copy-symlink"])));
        add(config, bind_at("/same", &host.join("link"), json!(["bind", "src-nofollow"])));
        add(
            config,
            bind_at(
                "/covered",
                &host.join("link"),
                json!(["bind", "src-nofollow", "dest-nofollow"]),
            ),
        );
        shell(config, "readlink /copied; cat /plain; readlink /same; readlink /covered; cat /kept");
    });
    if !is_keel(&container, "the words are newer than the packaged crun") {
        return;
    }
    fs::write(container.rootfs().join("kept"), "kept\n").expect("a file");
    symlink("/kept", container.rootfs().join("covered")).expect("a link");
    assert_eq!(container.run().succeeds().stdout, "file\ntext\nfile\nfile\nkept\n");

    let container = Container::new(|config| {
        add(config, bind_at("/copied", &host.join("link"), json!(["bind", "copy-symlink"])));
    });
    symlink("elsewhere", container.rootfs().join("copied")).expect("a link");
    container.create().fails_naming(&["mounts[7]", "another file is already there"]);
    container.assert_nothing_left();
}

/// RT-MOPT-18: `norelatime` leaves another setting of access times as it is, a locked one too.
#[test]
fn norelatime_leaves_other_settings() {
    let host = Scratch::new();
    mount_tmpfs(&host.join("source"), "noatime");
    for user_namespace in [false, true] {
        let container = Container::new(|config| {
            add(
                config,
                bind_at("/data", &host.join("source"), json!(["bind", "norelatime", "ro"])),
            );
            if user_namespace {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
                namespaces.push(json!({"type": "user"}));
                for key in ["uidMappings", "gidMappings"] {
                    config["linux"][key] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                }
            }
        });
        let options = options_at(&container.observe(), "/data");
        assert!(options.iter().any(|seen| seen == "noatime"), "{options:?}");
    }
}
