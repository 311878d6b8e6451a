//! A root file system with two static programs in it: the probe and busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::{fixture, program};

const FOLDERS: [&str; 11] =
    ["bin", "dev", "etc", "home/web", "proc", "root", "run", "sys", "tmp", "usr", "var"];

const APPLETS: [&str; 29] = [
    "cat", "chmod", "cp", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls",
    "mkdir", "mount", "ps", "pwd", "readlink", "rm", "sh", "sleep", "stat", "stty", "tail", "test",
    "touch", "true", "tty", "umount", "wc",
];

/// Fills an empty folder. The programs are hard links: a copy made by this process could be open for
/// writing in a child that another test forks at that moment, and then would not start (ETXTBSY).
pub fn fill_rootfs(rootfs: &Path) {
    for folder in FOLDERS {
        fs::create_dir_all(rootfs.join(folder)).expect("a folder of the root file system");
    }
    fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    link(&program("keel-probe"), &rootfs.join("bin/probe"));
    link(&fixture("busybox"), &rootfs.join("bin/busybox"));
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n";
    fs::write(rootfs.join("etc/passwd"), passwd).expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:1000:\n").expect("group");
}

fn link(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_ok() {
        return;
    }
    // Another file system: a process of its own copies, for the reason above.
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}
