//! Docker's rules, case by case. The rootfs of the tests is made in the system's temporary folder.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::fsroot::Root;
use crate::spec::Config;

struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tree(name: &str) -> Tree {
    let path = std::env::temp_dir().join(format!("keel-bundle-{}-{name}", std::process::id()));
    fs::create_dir_all(path.join("etc")).unwrap();
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n7:x:70:71::/:\n";
    fs::write(path.join("etc/passwd"), passwd).unwrap();
    fs::write(path.join("etc/group"), "root:x:0:\nweb:x:34:\nextra:x:99:web,root\n").unwrap();
    Tree(path)
}

fn spec(config: &Config, options: &Options) -> Result<Value, BundleError> {
    let tree = tree(&format!("{:p}", config));
    let root = Root::open(&tree.0).unwrap();
    let spec = Spec::new(config, &root, options)?;
    Ok(serde_json::from_slice(&spec.to_json()).unwrap())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn looks_users_up_in_the_image() {
    let tree = tree("users");
    let root = Root::open(&tree.0).unwrap();
    for (text, uid, gid, further, home) in [
        ("", 0, 0, vec![0, 99], "/root"),
        ("web", 33, 34, vec![34, 99], "/srv"),
        ("33", 33, 34, vec![34, 99], "/srv"),
        ("web:root", 33, 0, vec![0], "/srv"),
        ("1234", 1234, 0, vec![0], "/"),
        ("1234:567", 1234, 567, vec![567], "/"),
        ("7", 70, 71, vec![71], "/"),
    ] {
        let ids = user::lookup(&root, text).unwrap();
        assert_eq!((ids.uid, ids.gid, ids.home.as_str()), (uid, gid, home), "{text}");
        assert_eq!(ids.additional_gids, further, "{text}");
    }
    assert!(matches!(user::lookup(&root, "nobody"), Err(BundleError::User { .. })));
    assert!(matches!(user::lookup(&root, "web:none"), Err(BundleError::Group { .. })));
    fs::remove_file(tree.0.join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink("/proc/self/status", tree.0.join("etc/passwd")).unwrap();
    // The link leads into the image, where there is no such file, and not to the host's.
    assert_eq!(user::lookup(&root, "0").unwrap().home, "/");
}

#[test]
fn joins_entrypoint_and_command() {
    let image = Config {
        entrypoint: Some(words("entry -e")),
        cmd: Some(words("cmd")),
        ..Config::default()
    };
    let args = |config: &Config, options: &Options| {
        spec(config, options).map(|spec| spec["process"]["args"].clone())
    };
    let none = Options::default();
    assert_eq!(args(&image, &none).unwrap(), serde_json::json!(["entry", "-e", "cmd"]));
    let given = Options { args: words("a b"), ..Options::default() };
    assert_eq!(args(&image, &given).unwrap(), serde_json::json!(["entry", "-e", "a", "b"]));
    let reset = Options { entrypoint: Some(words("sh")), ..Options::default() };
    assert_eq!(args(&image, &reset).unwrap(), serde_json::json!(["sh"]));
    let empty = Options { entrypoint: Some(vec![]), ..Options::default() };
    assert!(matches!(args(&image, &empty), Err(BundleError::NoCommand)));
    assert!(matches!(args(&Config::default(), &none), Err(BundleError::NoCommand)));
}

#[test]
fn merges_the_environment() {
    let image = Config {
        env: words("A=1 B=2 A=3"),
        user: "web".to_owned(),
        cmd: Some(words("x")),
        ..Config::default()
    };
    let options = Options { env: words("B=4 HOME=/h"), ..Options::default() };
    let env = spec(&image, &options).unwrap()["process"]["env"].clone();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(env, serde_json::json!([path, "A=3", "B=4", "HOME=/h"]));
}

#[test]
fn counts_capabilities_and_limits() {
    let image = Config { cmd: Some(words("x")), ..Config::default() };
    let options = Options {
        cap_add: words("sys_admin"),
        cap_drop: words("ALL"),
        memory_bytes: Some(64 << 20),
        nano_cpus: Some(500_000_000),
        pids_limit: Some(50),
        network: Network::Host,
        ..Options::default()
    };
    let spec_value = spec(&image, &options).unwrap();
    let bounding = &spec_value["process"]["capabilities"]["bounding"];
    assert_eq!(*bounding, serde_json::json!(["CAP_SYS_ADMIN"]));
    let resources = &spec_value["linux"]["resources"];
    assert_eq!(resources["memory"]["swap"], 128 << 20);
    assert_eq!(resources["cpu"]["quota"], 50_000);
    assert_eq!(resources["pids"]["limit"], 50);
    let calls = spec_value["linux"]["seccomp"]["syscalls"].to_string();
    assert!(
        calls.contains("\"mount\"") && !calls.contains("\"clone3\"],\"action\":\"SCMP_ACT_ERRNO")
    );
    assert!(!spec_value["linux"]["namespaces"].to_string().contains("network"));
    let unknown = Options { cap_add: words("fly"), ..Options::default() };
    assert!(matches!(spec(&image, &unknown), Err(BundleError::Capability { .. })));
}
