//! What a caller may change of an image: `docker run`'s flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{BundleError, Mount, Privilege, Rlimit};

/// The network of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// A network of its own, in which there is nothing but the loopback device.
    #[default]
    None,
    /// The host's.
    Host,
    /// One that is there already, by the file of its namespace.
    Namespace(PathBuf),
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// What Docker allows.
    #[default]
    Default,
    /// All.
    Unconfined,
}

/// A directory or file of the host in the container: `docker run --volume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container.
    pub destination: PathBuf,
    /// May the container only read it?
    pub read_only: bool,
}

impl Volume {
    /// Reads `SOURCE:DESTINATION[:OPTIONS]`; both paths are absolute.
    ///
    /// # Errors
    /// The text is of another form.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let refused = || BundleError::Volume { text: text.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, destination, options) = match parts[..] {
            [source, destination] => (source, destination, ""),
            [source, destination, options] => (source, destination, options),
            _ => return Err(refused()),
        };
        if !source.starts_with('/') || !destination.starts_with('/') || destination == "/" {
            return Err(refused());
        }
        let mut read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                _ => return Err(refused()),
            }
        }
        Ok(Self { source: source.into(), destination: destination.into(), read_only })
    }

    pub(super) fn mount(&self) -> Mount {
        let access = if self.read_only { "ro" } else { "rw" };
        Mount {
            destination: self.destination.to_string_lossy().into_owned(),
            kind: "bind".to_owned(),
            source: self.source.to_string_lossy().into_owned(),
            options: ["rbind", access, "rprivate"].map(str::to_owned).to_vec(),
        }
    }
}

/// What differs from the image. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The command; if it is empty, the image's is run.
    pub args: Vec<String>,
    /// Stands before the command in place of the image's entrypoint, whose `Cmd` then does not
    /// count either. An empty list means none.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, added to the image's or in place of them.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// As in an image: `user`, `uid`, `user:group` and so on.
    pub user: Option<String>,
    /// The host name; without one it is the runtime's affair.
    pub hostname: Option<String>,
    /// Does the container have a terminal?
    pub terminal: bool,
    /// Is the rootfs read-only?
    pub read_only: bool,
    /// Capabilities beyond the default, with or without `CAP_`; `ALL` names all.
    pub cap_add: Vec<String>,
    /// Capabilities to take away.
    pub cap_drop: Vec<String>,
    /// Directories and files of the host.
    pub volumes: Vec<Volume>,
    /// Further mounts, after all others.
    pub mounts: Vec<Mount>,
    /// The most bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// The most processes.
    pub pids_limit: Option<i64>,
    /// Limits of every process.
    pub rlimits: Vec<Rlimit>,
    /// The bytes of `/dev/shm`; 64 MiB if not given.
    pub shm_bytes: Option<u64>,
    /// The network.
    pub network: Network,
    /// The system calls.
    pub seccomp: Seccomp,
    /// The cgroup; without one it is the runtime's affair.
    pub cgroups_path: Option<String>,
    /// Who starts the container.
    pub privilege: Privilege,
    /// Further annotations, which win over the image's.
    pub annotations: BTreeMap<String, String>,
}
