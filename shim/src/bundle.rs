//! What the shim reads and writes in a bundle: annotations and namespaces of config.json, and its own records.
//!
//! `shim.json` is a journal: it is written before the runtime is asked to create, and removed when the container
//! was deleted. So `delete` knows whether anything is left to undo, and by which runtime.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::limits;
use crate::options::Options;

/// The socket of the shim that looks after the bundle. containerd 1.6 finds the shim by it after a restart.
const ADDRESS: &str = "address";
const JOURNAL: &str = "shim.json";
const OPTIONS: &str = "options.json";
/// The pid of the container's process, written by the runtime.
pub const INIT_PID: &str = "init.pid";

/// Annotations that put containers into one shim, the more particular first.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// As much of config.json as the shim needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    annotations: BTreeMap<String, String>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Config {
    /// Reads `config.json` of a bundle.
    pub fn load(bundle: &Path) -> io::Result<Self> {
        let text = read_bounded(&bundle.join("config.json"), limits::CONFIG_BYTES)?;
        Self::parse(&text)
    }

    /// Reads its text.
    pub fn parse(text: &[u8]) -> io::Result<Self> {
        Ok(serde_json::from_slice(text)?)
    }

    /// The group whose shim shall look after the container.
    pub fn group(&self) -> Option<&str> {
        GROUPS.iter().find_map(|name| self.annotations.get(*name)).map(String::as_str)
    }

    /// Whether the container's processes end with its first one, because it has a pid namespace of its own.
    pub fn has_own_pids(&self) -> bool {
        self.linux.namespaces.iter().any(|it| it.kind == "pid" && it.path.is_empty())
    }
}

/// Reads a file up to a bound.
pub fn read_bounded(path: &Path, bound: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(bound + 1).read_to_end(&mut text)?;
    if text.len() as u64 > bound {
        return Err(io::Error::other(format!("it is longer than {bound} bytes")));
    }
    Ok(text)
}

/// Notes where the bundle's shim listens; a reader sees the whole of it or nothing.
pub fn write_address(bundle: &Path, address: &str) -> io::Result<()> {
    let new = bundle.join(".address");
    fs::write(&new, address)?;
    fs::rename(new, bundle.join(ADDRESS))
}

/// Where the bundle's shim listens.
pub fn address(bundle: &Path) -> Option<String> {
    let text = read_bounded(&bundle.join(ADDRESS), 4096).ok()?;
    String::from_utf8(text).ok()
}

/// Notes that a runtime with these options is about to create the container.
pub fn write_journal(bundle: &Path, options: &Options) -> io::Result<()> {
    fs::write(bundle.join(JOURNAL), serde_json::to_vec(options)?)
}

/// Keeps the options that came with `start`, for a sandbox: its creation names none.
pub fn write_options(bundle: &Path, options: &Options) -> io::Result<()> {
    fs::write(bundle.join(OPTIONS), serde_json::to_vec(options)?)
}

/// The options that came with `start`, which writes none that say nothing.
pub fn options(bundle: &Path) -> io::Result<Options> {
    match read_bounded(&bundle.join(OPTIONS), limits::CONFIG_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Options::default()),
        text => Ok(serde_json::from_slice(&text?)?),
    }
}

/// Notes that nothing of the container is left.
pub fn remove_journal(bundle: &Path) {
    let _ = fs::remove_file(bundle.join(JOURNAL));
}

/// The options by which something may be left. A journal that was cut short names no runtime but the default.
pub fn journal(bundle: &Path) -> Option<Options> {
    let text = read_bounded(&bundle.join(JOURNAL), limits::CONFIG_BYTES).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_default())
}

/// Reads a file that the runtime wrote a pid into.
pub fn read_pid(path: &Path) -> Result<u32, String> {
    let text = read_bounded(path, 64).map_err(|error| format!("{}: {error}", path.display()))?;
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    match number {
        Some(pid) if pid > 1 => Ok(pid),
        _ => Err(format!("{} holds no pid", path.display())),
    }
}

/// The file in which the runtime notes the pid of a process.
pub fn pid_file(bundle: &Path, exec_id: &str) -> PathBuf {
    if exec_id.is_empty() { bundle.join(INIT_PID) } else { bundle.join(format!("{exec_id}.pid")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_needs_of_a_configuration() {
        let text = br#"{"ociVersion": "1.0.2", "annotations": {"io.kubernetes.cri.sandbox-id": "pod"},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}], "seccomp": {}}}"#;
        let config = Config::parse(text).expect("a configuration");
        assert_eq!(config.group(), Some("pod"));
        assert!(config.has_own_pids());
        let text = br#"{"linux": {"namespaces": [{"type": "pid", "path": "/proc/1/ns/pid"}]}}"#;
        let config = Config::parse(text).expect("a configuration");
        assert_eq!(config.group(), None);
        assert!(!config.has_own_pids());
        assert!(Config::parse(b"[").is_err());
    }
}
