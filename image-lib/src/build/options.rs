//! What a user may say of a build, as values. Nothing here is looked at before a step needs it: a secret
//! that no instruction asks for is not read.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::attest::{Attestations, Material};
use super::context::DockerfileSource;
use super::device::{DIRECTORIES, DeviceAllowance};
use super::dockerfile::instruction::Network;
use super::failed::KeepFailed;
use super::form::ImageAnnotations;
use super::network::{HostAddress, StepNetworks};
use super::shared_cache::CacheSources;
use crate::bundle::Rlimit;
use crate::reference::Reference;
use crate::registry::Client;
use crate::spec::Platform;

/// BuildKit's bound of a secret: it is held in memory.
const SECRET_BYTES_MAX: u64 = 500 << 10;

/// What is built, and how.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The directory whose files `COPY` takes; without one there are none.
    pub context: Option<PathBuf>,
    /// What the context is known by, where its directory is a temporary one.
    pub context_name: Option<String>,
    /// Where the instructions are.
    pub dockerfile: DockerfileSource,
    /// The stage to build; the last one if not given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// The names that the image gets.
    pub tags: Vec<Reference>,
    /// Labels that win over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// What is said about the image beside it.
    pub attestations: Attestations,
    /// What the context is, where it comes from elsewhere.
    pub context_material: Option<Material>,
    /// The same of named contexts.
    pub context_materials: Vec<Material>,
    /// Annotations of the documents.
    pub annotations: ImageAnnotations,
    /// The platform that is built for; this host's if not given.
    pub platform: Option<Platform>,
    /// Further contexts by name, which win over stages and images of that name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What `RUN --mount=type=secret` shows, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The agents of `RUN --mount=type=ssh`, by id; each is the path of a socket.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Whether every step is done anew.
    pub no_cache: bool,
    /// The stages whose steps are done anew.
    pub no_cache_stages: Vec<String>,
    /// Whether images are asked for at their registry even if the store has them.
    pub pull: bool,
    /// Who fetches images that the store does not have; without one they are not fetched.
    pub registry: Option<Client>,
    /// Caches of other stores, asked in this order where the own one has no result.
    pub cache_sources: CacheSources,
    /// Whether what the steps came to is kept for an export: [`super::Built::kept_steps`].
    pub keep_steps: bool,
    /// The network of `RUN` where the instruction says nothing else.
    pub network: Network,
    /// Who makes the network of a command that has neither the host's nor none; without, it has loopback only.
    pub networks: Option<Arc<dyn StepNetworks>>,
    /// Further names of hosts for `RUN`.
    pub hosts: Vec<(String, HostAddress)>,
    /// Limits of the processes of `RUN`.
    pub rlimits: Vec<Rlimit>,
    /// The cgroup that those of `RUN` are made in; the root of each hierarchy if not given.
    pub cgroup_parent: Option<String>,
    /// Whether `RUN --security=insecure` may be carried out: `--allow security.insecure`.
    pub allow_insecure: bool,
    /// Which devices `RUN --device` may name.
    pub devices: DeviceAllowance,
    /// Where devices are described; see [`super::device::DIRECTORIES`].
    pub device_directories: Vec<PathBuf>,
    /// The size of `/dev/shm` of `RUN`.
    pub shm_bytes: Option<u64>,
    /// Whether it is told why each step runs: [`super::Event::Explained`].
    pub explain: bool,
    /// Whether steps are only looked up: nothing runs, and nothing is fetched or kept.
    pub dry_run: bool,
    /// Whether a `RUN` is taken from the cache, too, where all that its command read is unchanged.
    pub read_sets: bool,
    /// Keeps the first `RUN` that fails, to be entered.
    pub keep_failed: Option<KeepFailed>,
    /// Set it, from any thread, to end the build: what runs is killed, and nothing is left behind.
    pub cancelled: Arc<AtomicBool>,
}

impl BuildOptions {
    /// A build of the `Dockerfile` in `context` with nothing special about it.
    #[must_use]
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self {
            context: Some(context.into()),
            context_name: None,
            dockerfile: DockerfileSource::Default,
            target: None,
            arguments: BTreeMap::new(),
            tags: Vec::new(),
            labels: BTreeMap::new(),
            attestations: Attestations::default(),
            context_material: None,
            context_materials: Vec::new(),
            annotations: ImageAnnotations::default(),
            platform: None,
            contexts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            pull: false,
            registry: None,
            cache_sources: Vec::new(),
            keep_steps: false,
            network: Network::Default,
            networks: None,
            hosts: Vec::new(),
            rlimits: Vec::new(),
            cgroup_parent: None,
            allow_insecure: false,
            devices: DeviceAllowance::default(),
            device_directories: DIRECTORIES.map(PathBuf::from).to_vec(),
            shm_bytes: None,
            explain: false,
            dry_run: false,
            read_sets: false,
            keep_failed: None,
            cancelled: Arc::default(),
        }
    }
}

/// Where the files of a named context come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of the host.
    Directory(PathBuf),
    /// An image: `docker-image://NAME`.
    Image(String),
    /// An image of an OCI layout: `oci-layout://DIR[:TAG|@DIGEST]`, without the scheme.
    Layout(String),
    /// A stage of the Dockerfile: `target:NAME`.
    Stage(String),
}

/// Where a secret is. Its value is not part of any key, layer, history or message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file.
    File(PathBuf),
    /// In a variable of this process.
    Variable(String),
}

impl SecretSource {
    /// The value.
    ///
    /// # Errors
    /// The file cannot be read or is larger than 500 KiB; the variable is not set.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        use std::os::unix::ffi::OsStringExt;
        match self {
            Self::File(path) => read_bounded(path),
            Self::Variable(name) => std::env::var_os(name)
                .map(OsStringExt::into_vec)
                .ok_or_else(|| io::Error::other(format!("the variable {name} is not set"))),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::SecretSource;

    #[test]
    fn secrets_are_bounded() {
        assert!(SecretSource::File("/dev/zero".into()).read().is_err());
        assert_eq!(SecretSource::File("/dev/null".into()).read().unwrap(), b"");
        let unset = SecretSource::Variable("KEEL_NO_SUCH_VARIABLE".into()).read().unwrap_err();
        assert!(unset.to_string().contains("KEEL_NO_SUCH_VARIABLE"));
    }
}
