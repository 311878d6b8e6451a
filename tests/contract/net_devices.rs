//! `linux.netDevices`: network devices of the host that move into the container.

use std::process::Command;

use keel_tests::{Child, Container, Scratch, eventually, requires};
use serde_json::{Value, json};

/// A pair of connected devices on the host: one to move, one that stays and takes both along when it goes.
struct Pair {
    moves: String,
    stays: String,
    scratch: Scratch,
}

impl Pair {
    fn new() -> Self {
        let scratch = Scratch::new();
        // Fifteen bytes are the longest name of a device.
        let digits: String = scratch.name().chars().filter(char::is_ascii_digit).collect();
        let (moves, stays) = (format!("m{digits}"), format!("s{digits}"));
        ip(&["link", "add", &moves, "type", "veth", "peer", "name", &stays]);
        Self { moves, stays, scratch }
    }

    /// A network namespace that outlives its processes, as engines make them.
    fn namespace(&self) -> String {
        let pin = self.scratch.join("net");
        std::fs::write(&pin, "").expect("a file");
        let unshare = format!("--net={}", pin.display());
        let status = Command::new("unshare").args([&unshare, "true"]).status().expect("unshare");
        assert!(status.success(), "unshare {unshare}");
        pin.display().to_string()
    }

    fn is_on_the_host(&self) -> bool {
        std::path::Path::new("/sys/class/net").join(&self.moves).exists()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.stays]).status();
    }
}

fn ip(words: &[&str]) -> String {
    let output = Command::new("ip").args(words).output().expect("ip");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `ip` with the network namespace at a path.
fn ip_in(namespace: &str, words: &[&str]) -> String {
    let net = format!("--net={namespace}");
    let output = Command::new("nsenter").args([net.as_str(), "ip"]).args(words).output();
    String::from_utf8_lossy(&output.expect("nsenter").stdout).into_owned()
}

fn shows(words: &[&str], devices: Value) -> Container {
    Container::new(|config| {
        config["linux"]["netDevices"] = devices;
        config["process"]["args"] = json!(words);
    })
}

fn join(config: &mut Value, path: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
    for namespace in namespaces.iter_mut().filter(|namespace| namespace["type"] == "network") {
        namespace["path"] = json!(path);
    }
}

fn applies(container: &Container) -> bool {
    let known = !container.runtime().is("runc") && !container.runtime().is("crun");
    requires(known, "the packaged runc and crun are older than netDevices")
}

/// RT-NETDEV-01: a device of the host is in the container's network namespace and up, and gone from the
/// host; its number of bytes to a packet and its hardware address stay.
#[test]
fn moves_a_device() {
    let pair = Pair::new();
    ip(&["link", "set", &pair.moves, "mtu", "1400", "address", "02:00:00:00:77:01"]);
    ip(&["link", "set", &pair.stays, "up"]);
    let container =
        shows(&["busybox", "ip", "addr", "show", "dev", &pair.moves], json!({&pair.moves: {}}));
    if !applies(&container) {
        return;
    }
    let seen = container.run().succeeds().stdout;
    for word in ["mtu 1400", "02:00:00:00:77:01", ",UP"] {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    assert!(!pair.is_on_the_host());
}

/// RT-NETDEV-02: permanent addresses of global scope come along, of both families; others do not.
#[test]
fn keeps_global_addresses() {
    let pair = Pair::new();
    for address in ["10.77.1.5/24", "10.77.1.6/24", "fd77::5/64"] {
        ip(&["addr", "add", address, "dev", &pair.moves]);
    }
    ip(&["addr", "add", "10.77.2.7/24", "dev", &pair.moves, "scope", "link"]);
    ip(&[
        "addr",
        "add",
        "10.77.3.8/24",
        "dev",
        &pair.moves,
        "valid_lft",
        "900",
        "preferred_lft",
        "900",
    ]);
    let container = shows(
        &["busybox", "ip", "addr", "show", "dev", "in0"],
        json!({&pair.moves: {"name": "in0"}}),
    );
    if !applies(&container) {
        return;
    }
    let seen = container.run().succeeds().stdout;
    for address in ["inet 10.77.1.5/24", "inet 10.77.1.6/24", "inet6 fd77::5/64"] {
        assert!(seen.contains(address), "{address}: {seen}");
    }
    for address in ["10.77.2.7", "10.77.3.8"] {
        assert!(!seen.contains(address), "{address}: {seen}");
    }
}

/// RT-NETDEV-03: a device gets the name of the configuration; `%d` in it becomes a free number.
#[test]
fn renames() {
    let (first, second) = (Pair::new(), Pair::new());
    let container = Container::new(|config| {
        config["linux"]["netDevices"] =
            json!({&first.moves: {"name": "pod%d"}, &second.moves: {"name": "pod%d"}});
    });
    if !applies(&container) {
        return;
    }
    assert_eq!(container.observe()["interfaces"], json!(["lo", "pod0", "pod1"]));
}

/// RT-NETDEV-04: a name that is taken in the container's network namespace is an error, and the device
/// stays where it was.
#[test]
fn refuses_a_taken_name() {
    let (pair, other) = (Pair::new(), Pair::new());
    let namespace = pair.namespace();
    ip_in(&namespace, &["link", "add", "taken", "type", "veth"]);
    let container = Container::new(|config| {
        join(config, &namespace);
        config["linux"]["netDevices"] =
            json!({&pair.moves: {"name": "taken"}, &other.moves: {"name": "other"}});
    });
    if !applies(&container) {
        return;
    }
    container.create().fails_naming(&[&format!("linux.netDevices.{}", pair.moves), "exists"]);
    container.assert_nothing_left();
    assert!(pair.is_on_the_host() && other.is_on_the_host());
    container
        .change(|config| config["linux"]["netDevices"] = json!({&pair.moves: {"name": "taken%d"}}));
    container.run().succeeds();
    assert!(ip_in(&namespace, &["link", "show"]).contains("taken0"));
}

/// RT-NETDEV-05: a device stays in a network namespace that outlives the container.
#[test]
fn does_not_move_back_on_delete() {
    let pair = Pair::new();
    let namespace = pair.namespace();
    let container = Container::sleeping(|config| {
        join(config, &namespace);
        config["linux"]["netDevices"] = json!({&pair.moves: {"name": "kept0"}});
    });
    if !applies(&container) {
        return;
    }
    container.up();
    container.delete(&["--force"]).succeeds();
    assert!(!pair.is_on_the_host());
    assert!(ip_in(&namespace, &["link", "show"]).contains("kept0"));
}

/// RT-NETDEV-06: when the container does not come to be, the device is back on the host under its name,
/// up, with all its addresses.
#[test]
fn gives_back_after_a_failure() {
    let pair = Pair::new();
    ip(&["addr", "add", "10.77.4.5/24", "dev", &pair.moves]);
    ip(&["addr", "add", "10.77.5.5/24", "dev", &pair.moves, "scope", "link"]);
    ip(&["addr", "add", "fd77:4::5/64", "dev", &pair.moves]);
    ip(&["link", "set", &pair.moves, "up"]);
    for namespace in [None, Some(pair.namespace())] {
        let container = Container::new(|config| {
            if let Some(namespace) = &namespace {
                join(config, namespace);
            }
            config["linux"]["netDevices"] = json!({&pair.moves: {"name": "in0"}});
            config["process"]["args"] = json!(["/no/such/program"]);
        });
        if !applies(&container) {
            return;
        }
        container.create().fails_naming(&["/no/such/program"]);
        container.assert_nothing_left();
        let seen = ip(&["addr", "show", "dev", &pair.moves]);
        for word in ["10.77.4.5/24", "10.77.5.5/24 scope link", "fd77:4::5/64", ",UP"] {
            assert!(seen.contains(word), "{namespace:?}: {word}: {seen}");
        }
    }
}

/// RT-NETDEV-07: a device that is not there, a name that none can have, and the host's own network
/// namespace are errors that name the field.
#[test]
fn refuses_what_cannot_be() {
    let pair = Pair::new();
    let refused = |words: &[&str], delta: &dyn Fn(&mut Value)| {
        let container = Container::new(delta);
        if applies(&container) {
            container.create().fails_naming(words);
            container.assert_nothing_left();
        }
    };
    refused(&["linux.netDevices.nosuchdevice"], &|config| {
        config["linux"]["netDevices"] = json!({"nosuchdevice": {}});
    });
    refused(&["linux.netDevices.x.name"], &|config| {
        config["linux"]["netDevices"] = json!({"x": {"name": "longer-than-15-b"}});
    });
    refused(&["linux.netDevices", "without a NET namespace"], &|config| {
        config["linux"]["netDevices"] = json!({&pair.moves: {}});
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    refused(&["linux.netDevices"], &|config| {
        config["linux"]["netDevices"] = json!({&pair.moves: {}});
        join(config, "/proc/self/ns/net");
        config["mounts"].as_array_mut().expect("an array").retain(|mount| mount["type"] != "sysfs");
    });
    assert!(pair.is_on_the_host());
}

/// RT-NETDEV-08: a device moves into a container with a user namespace of its own.
#[test]
fn moves_into_a_user_namespace() {
    let pair = Pair::new();
    let container = Container::new(|config| {
        config["linux"]["netDevices"] = json!({&pair.moves: {"name": "in0"}});
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
        for key in ["uidMappings", "gidMappings"] {
            config["linux"][key] = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        }
    });
    if !applies(&container) {
        return;
    }
    assert_eq!(container.observe()["interfaces"], json!(["in0", "lo"]));
}

/// RT-NETDEV-09: a device moves into a new network namespace of a user namespace that is joined, with a pid
/// namespace of its own or a joined one.
#[test]
fn moves_beside_a_joined_user_namespace() {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "sleep",
        "100000",
    ]);
    let holder = Child::start(unshare);
    let sleeper = eventually("unshare forks", || {
        let children = format!("/proc/{0}/task/{0}/children", holder.pid());
        let child: u32 = std::fs::read_to_string(children).ok()?.trim().parse().ok()?;
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "sleep").then_some(child)
    });
    for joined in [&["user"][..], &["user", "pid"]] {
        let pair = Pair::new();
        let container = Container::new(|config| {
            config["linux"]["netDevices"] = json!({&pair.moves: {"name": "in0"}});
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
            for kind in joined {
                namespaces.retain(|namespace| namespace["type"] != *kind);
                namespaces
                    .push(json!({"type": kind, "path": format!("/proc/{sleeper}/ns/{kind}")}));
            }
            for mount in config["mounts"].as_array_mut().expect("an array") {
                if let Some(options) = mount["options"].as_array_mut() {
                    options.retain(|option| option != "gid=5");
                }
            }
        });
        if !applies(&container) {
            return;
        }
        assert_eq!(container.observe()["interfaces"], json!(["in0", "lo"]), "{joined:?}");
    }
}
