//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use keel_tests::{Container, requires};
use serde_json::{Value, json};

fn add(config: &mut Value, options: Value) {
    let mount =
        json!({"destination": "/box", "type": "tmpfs", "source": "tmpfs", "options": options});
    config["mounts"].as_array_mut().expect("an array").push(mount);
}

fn shell(config: &mut Value, script: &str) {
    config["process"]["args"] = json!(["sh", "-c", script]);
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("a program");
    assert!(status.success(), "{program} {args:?}");
}

/// A container with a folder `/box` in its image.
fn with_box(options: Value, script: &str) -> Container {
    let container = Container::new(|config| {
        config["root"]["readonly"] = json!(false);
        add(config, options);
        shell(config, script);
    });
    fs::create_dir(container.rootfs().join("box")).expect("a folder");
    container
}

/// RT-COPYUP-01: files, folders and links are there with their owners and modes.
#[test]
fn copies_files_folders_and_links() {
    let container = with_box(
        json!(["nosuid", "tmpcopyup"]),
        "cd /box && cat in/file && readlink link && find . | sort | xargs stat -c '%n %a %u:%g'",
    );
    let folder = container.rootfs().join("box");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1750)).expect("chmod");
    fs::create_dir(folder.join("in")).expect("a folder");
    fs::write(folder.join("in/file"), "text\n").expect("a file");
    fs::write(folder.join("set"), "").expect("a file");
    chown(folder.join("in"), Some(7), Some(8)).expect("chown");
    chown(folder.join("in/file"), Some(9), Some(10)).expect("chown");
    fs::set_permissions(folder.join("in"), fs::Permissions::from_mode(0o715)).expect("chmod");
    fs::set_permissions(folder.join("in/file"), fs::Permissions::from_mode(0o604)).expect("chmod");
    fs::set_permissions(folder.join("set"), fs::Permissions::from_mode(0o755)).expect("chmod");
    symlink("/etc/../nowhere", folder.join("link")).expect("a link");
    if !requires(!container.runtime().is("crun"), "the packaged crun gives the tmpfs another mode")
    {
        return;
    }
    let outcome = container.run().succeeds();
    assert_eq!(
        outcome.stdout,
        "text\n/etc/../nowhere\n. 1750 0:0\n./in 715 7:8\n./in/file 604 9:10\n./link 777 0:0\n./set 755 0:0\n"
    );
}

/// RT-COPYUP-02: so are set-id bits, devices, fifos, extended attributes and times.
#[test]
fn copies_all_there_is_to_a_file() {
    let container = with_box(
        json!(["tmpcopyup"]),
        "cd /box && stat -c '%n %F %a %t:%T %u:%g' dev pipe set && stat -c %Y set folder && ls -ln --full-time link | tr -s ' ' | cut -d' ' -f3,4,6",
    );
    if !requires(container.runtime().is("keel"), "the packaged peers copy less") {
        return;
    }
    let folder = container.rootfs().join("box");
    let path = |name: &str| folder.join(name).display().to_string();
    run("mknod", &["-m", "640", &path("dev"), "c", "1", "3"]);
    run("mkfifo", &["-m", "622", &path("pipe")]);
    fs::write(folder.join("set"), "").expect("a file");
    fs::create_dir(folder.join("folder")).expect("a folder");
    fs::write(folder.join("folder/in"), "").expect("a file");
    symlink("x", folder.join("link")).expect("a link");
    for name in ["dev", "pipe", "set"] {
        chown(folder.join(name), Some(11), Some(12)).expect("chown");
    }
    run("chown", &["-h", "13:14", &path("link")]);
    fs::set_permissions(folder.join("set"), fs::Permissions::from_mode(0o6751)).expect("chmod");
    for name in ["set", "folder", "link"] {
        run("touch", &["-h", "-d", "@86400", &path(name)]);
    }
    let outcome = container.run().succeeds();
    assert_eq!(
        outcome.stdout,
        "dev character special file 640 1:3 11:12\npipe fifo 622 0:0 11:12\n\
         set regular empty file 6751 0:0 11:12\n86400\n86400\n13 14 1970-01-02\n"
    );
}

/// RT-COPYUP-03: extended attributes come along: file capabilities still count.
#[test]
fn copies_extended_attributes() {
    let container = Container::sleeping(|config| add(config, json!(["tmpcopyup"])));
    if !requires(container.runtime().is("keel"), "the packaged peers copy less") {
        return;
    }
    let file = container.rootfs().join("box/tool");
    fs::create_dir(container.rootfs().join("box")).expect("a folder");
    fs::write(&file, "").expect("a file");
    let value = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&file, "security.capability", value, flags).expect("an attribute");
    let pid = container.up();
    let mut seen = [0_u8; 64];
    let copy = format!("/proc/{pid}/root/box/tool");
    let length = rustix::fs::getxattr(&copy, "security.capability", &mut seen[..]).expect("there");
    assert_eq!(&seen[..length], value);
}

/// RT-COPYUP-04: what is written goes to the tmpfs and not to the image.
#[test]
fn leaves_the_image_alone() {
    let container =
        with_box(json!(["tmpcopyup"]), "cd /box && echo new > old && touch more && cat old");
    let folder = container.rootfs().join("box");
    fs::write(folder.join("old"), "old").expect("a file");
    assert_eq!(container.run().succeeds().stdout, "new\n");
    assert_eq!(fs::read_to_string(folder.join("old")).expect("a file"), "old");
    assert!(!folder.join("more").exists());
}

/// RT-COPYUP-05: with `ro` the copy cannot be written; where nothing is covered the tmpfs is empty.
#[test]
fn goes_with_other_options() {
    let container = with_box(
        json!(["tmpcopyup", "ro", "mode=0711", "size=64k"]),
        "stat -c %a /box; cat /box/old; touch /box/x",
    );
    fs::write(container.rootfs().join("box/old"), "old\n").expect("a file");
    if !requires(container.runtime().is("keel"), "the packaged peers look at the size only") {
        return;
    }
    let outcome = container.run();
    assert_eq!(outcome.stdout, "711\nold\n", "{}", outcome.report());
    outcome.says(&["Read-only file system"]);

    let container = with_box(json!(["tmpcopyup"]), "ls /box");
    fs::remove_dir(container.rootfs().join("box")).expect("rmdir");
    assert_eq!(container.run().succeeds().stdout, "");
}

/// RT-COPYUP-06: a folder that does not fit is an error that says so; nothing is left.
#[test]
fn tells_when_it_does_not_fit() {
    let container = with_box(json!(["tmpcopyup", "size=64k"]), "true");
    fs::write(container.rootfs().join("box/big"), vec![1_u8; 1 << 20]).expect("a file");
    let outcome = container.run();
    if requires(!container.runtime().is("crun"), "crun has other words") {
        outcome.fails_naming(&["/box", "no space left on device"]);
    }
    container.assert_nothing_left();
    let outside = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!outside.contains("runctmpdir"), "{outside}");
}

/// RT-COPYUP-07: folders nested without end are an error and not the end of the runtime.
#[test]
fn bounds_the_depth() {
    let container = with_box(json!(["tmpcopyup"]), "true");
    if !requires(container.runtime().is("keel"), "the bound is keel's") {
        return;
    }
    let deep = container.rootfs().join("box").join("d/".repeat(200));
    fs::create_dir_all(deep).expect("folders");
    container.run().fails_naming(&["/box", "nested too deeply"]);
    container.assert_nothing_left();
}

/// RT-COPYUP-08: only a tmpfs can begin with a copy.
#[test]
fn refuses_other_types() {
    let container = Container::new(|config| {
        let mount = json!({"destination": "/box", "type": "bind", "source": "/tmp", "options": ["bind", "tmpcopyup"]});
        config["mounts"].as_array_mut().expect("an array").push(mount);
    });
    if !requires(container.runtime().is("keel"), "the packaged runc leaves the option out") {
        return;
    }
    container.run().fails_naming(&["mounts[7].options", "tmpcopyup"]);
    container.assert_nothing_left();
}
