//! The sandbox's root: the files that all containers of the pod share, and the pod's /dev/shm.
//!
//! All of it lies in memory, on the bundle's `rootfs`: whoever unmounts that (the shim, `delete`, containerd itself) has
//! cleaned up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle;
use crate::error::Error;
use crate::limits;
use crate::messages::Mount;
use crate::rootfs_mounts;
use crate::sandbox::pod::Pod;

/// Destinations in the pod's containers, each with its place below the sandbox's root.
const FILES: [(&str, &str); 3] = [
    ("/etc/hosts", "etc/hosts"),
    ("/etc/hostname", "etc/hostname"),
    ("/etc/resolv.conf", "etc/resolv.conf"),
];

const SHM: &str = "shm";
const SHM_IN_POD: &str = "/dev/shm";

/// Makes it in a bundle.
pub(crate) fn make(pod: &Pod, rootfs: &Path) -> Result<(), Error> {
    let (uid, gid) = pod.root_owner();
    let owner = [format!("uid={uid}"), format!("gid={gid}")];
    let tmpfs = |target: &str, options: &[&str]| Mount {
        kind: "tmpfs".to_owned(),
        source: "keel-sandbox".to_owned(),
        target: target.to_owned(),
        options: options.iter().map(|it| (*it).to_owned()).chain(owner.clone()).collect(),
    };
    let root = tmpfs("", &["nosuid", "nodev", "noexec", "mode=755", "size=4m"]);
    rootfs_mounts::mount_all(&[root], rootfs)?;
    let tell = |path: PathBuf| move |error: io::Error| Error::file(path.display(), &error);
    for folder in ["etc", "dev", "proc", SHM] {
        let path = rootfs.join(folder);
        fs::create_dir(&path).map_err(tell(path))?;
    }
    let hostname = match pod.hostname.as_str() {
        "" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    let hosts = read_of_host("/etc/hosts")?;
    let resolv_conf = match &pod.resolv_conf {
        Some(text) => text.clone().into_bytes(),
        None => read_of_host("/etc/resolv.conf")?,
    };
    let texts = [hosts, format!("{hostname}\n").into_bytes(), resolv_conf, Vec::new()];
    for (name, text) in FILES.iter().map(|it| it.1).chain(["pause"]).zip(texts) {
        let path = rootfs.join(name);
        fs::write(&path, text).map_err(tell(path))?;
    }
    if pod.has_host_ipc() {
        return Ok(());
    }
    // As large as Kubernetes has it everywhere.
    let shm = tmpfs(SHM, &["nosuid", "nodev", "noexec", "mode=1777", "size=64m"]);
    rootfs_mounts::mount_all(&[shm], rootfs)
}

/// A host without one of these files has pods in which it is empty.
fn read_of_host(path: &str) -> Result<Vec<u8>, Error> {
    match bundle::read_bounded(Path::new(path), limits::HOST_FILE_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => text.map_err(|error| Error::file(path, &error)),
    }
}

/// Gives a container of the pod what its configuration has not: containerd leaves these mounts to whoever made the sandbox.
pub(crate) fn share(rootfs: &Path, config: &Path) -> Result<(), Error> {
    let tell = |error: &io::Error| Error::file(config.display(), error);
    let text = bundle::read_bounded(config, limits::CONFIG_BYTES).map_err(|error| tell(&error))?;
    let mut value: Value = serde_json::from_slice(&text).map_err(|error| tell(&error.into()))?;
    if !add_mounts(rootfs, &mut value) {
        return Ok(());
    }
    let new = config.with_extension("json.new");
    fs::write(&new, value.to_string()).map_err(|error| tell(&error))?;
    fs::rename(new, config).map_err(|error| tell(&error))
}

/// Whether any was missing.
fn add_mounts(rootfs: &Path, config: &mut Value) -> bool {
    let readonly = config["root"]["readonly"] == true;
    let own_ipc = config["linux"]["namespaces"].as_array();
    let own_ipc = own_ipc.is_some_and(|list| list.iter().any(|it| it["type"] == "ipc"));
    let Some(mounts) = config["mounts"].as_array_mut() else { return false };
    let has = |mounts: &[Value], place: &str| {
        let same = |it: &Value| it["destination"].as_str().map(Path::new) == Some(Path::new(place));
        mounts.iter().any(same)
    };
    // Without a place for the pod's, containerd gives each container a memory of its own there.
    let is_default = |it: &Value| it["destination"] == SHM_IN_POD && it["type"] == "tmpfs";
    let before = mounts.len();
    mounts.retain(|it| !is_default(it));
    let mut added = mounts.len() < before;
    let mut add = |destination: &str, source: PathBuf, mode: &str| {
        if !has(mounts, destination) {
            added = true;
            mounts.push(json!({"destination": destination, "type": "bind", "source": source,
                "options": ["rbind", "rprivate", mode, "nosuid", "nodev", "noexec"]}));
        }
    };
    for (destination, place) in FILES {
        add(destination, rootfs.join(place), if readonly { "ro" } else { "rw" });
    }
    let shm = if own_ipc { rootfs.join(SHM) } else { PathBuf::from(SHM_IN_POD) };
    add(SHM_IN_POD, shm, "rw");
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_what_it_has_not() {
        let mut config = json!({
            "root": {"readonly": true},
            "mounts": [{"destination": "/dev/shm", "type": "tmpfs"}, {"destination": "/etc/hosts/"}],
            "linux": {"namespaces": [{"type": "ipc", "path": "/proc/7/ns/ipc"}]},
        });
        assert!(add_mounts(Path::new("/b/rootfs"), &mut config));
        let mounts = config["mounts"].as_array().expect("mounts");
        assert_eq!(mounts.len(), 4, "{mounts:?}");
        assert_eq!(mounts[2]["source"], "/b/rootfs/etc/resolv.conf");
        assert_eq!(mounts[2]["options"][2], "ro");
        assert_eq!(mounts[3]["source"], "/b/rootfs/shm");
        assert!(!add_mounts(Path::new("/b/rootfs"), &mut config));
    }

    #[test]
    fn without_an_ipc_namespace_shared_memory_is_the_hosts() {
        let mut config = json!({"root": {}, "mounts": []});
        assert!(add_mounts(Path::new("/b/rootfs"), &mut config));
        assert_eq!(config["mounts"][3]["source"], "/dev/shm");
    }
}
