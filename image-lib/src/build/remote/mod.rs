//! Contexts that are not directories of this host: a stream, an archive, a URL, a git repository. They are
//! brought into a directory of the store that goes away with the build.

mod credentials;
mod git;
mod git_url;
mod unpack;
pub(super) mod web;

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

pub use git::Git;
pub use git_url::GitSource;
pub(super) use git_url::is_commit;

use super::archive::is_tar_header;
use super::attest::Material;
use super::context::DockerfileSource;
use super::dockerfile::word::parse_bool;
use super::options::BuildOptions;
use crate::blob::{Decoder, Meter};
use crate::fsroot::FsError;
use crate::identity::Algorithm;
use crate::registry::RegistryError;
use crate::store::{Scratch, Store, StoreError};

/// The most bytes of a Dockerfile that comes in a stream.
const DOCKERFILE_BYTES_MAX: u64 = 64 << 20;
/// The size of a tar's header.
const HEADER_BYTES: usize = 512;
/// The build argument that keeps `.git` of a context, as BuildKit calls it.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Why a context cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// `git` is not on the `PATH`.
    #[error("a context that is a git repository needs the program git, which is not installed")]
    NoGit,
    /// Git says why.
    #[error("cannot take {url}: {reason}")]
    Git {
        /// The repository.
        url: String,
        /// What git said last.
        reason: String,
    },
    /// A secret for a server is of no use.
    #[error("the secret {id}: {reason}")]
    Secret {
        /// The name that it was given under.
        id: String,
        /// What is the matter.
        reason: String,
    },
    /// The server, or the way to it.
    #[error(transparent)]
    Registry(Box<RegistryError>),
    /// What came is broken.
    #[error("the context is no archive that can be read: {reason}")]
    Archive {
        /// What is the matter.
        reason: String,
    },
    /// What came is neither an archive nor a Dockerfile.
    #[error("the context is neither a tar nor a Dockerfile: {reason}")]
    Neither {
        /// Why it is no Dockerfile.
        reason: String,
    },
    /// A stream cannot be read.
    #[error("cannot read the context")]
    Read(#[source] std::io::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Filesystem(#[from] FsError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller wants no more of it.
    #[error("cancelled")]
    Cancelled,
}

impl RemoteError {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Git { reason, .. } if reason.contains("Host key verification failed") => Some(
                "the server's key is not known: `ssh-keyscan HOST >> ~/.ssh/known_hosts`, and compare it with the one \
                 that the server's owner has told"
                    .to_owned(),
            ),
            Self::Git { reason, .. } if reason.contains("Permission denied (publickey") => {
                Some("give an agent or a key with --ssh default, or --ssh default=FILE".to_owned())
            }
            Self::Git { reason, .. } if reason.contains("could not read Username") => {
                Some("give a token with --secret id=GIT_AUTH_TOKEN,src=FILE".to_owned())
            }
            _ => None,
        }
    }
}

/// A context beyond this host's directories, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A repository.
    Git(GitSource),
    /// A tar or a Dockerfile at a URL.
    Http(String),
}

impl Remote {
    /// What a text means; nothing if it is a path.
    ///
    /// # Errors
    /// It means a repository, and says what cannot be.
    pub fn parse(text: &str) -> Result<Option<Self>, RemoteError> {
        if let Some(git) = GitSource::parse(text)? {
            return Ok(Some(Self::Git(git)));
        }
        let is_web = text.starts_with("http://") || text.starts_with("https://");
        Ok(is_web.then(|| Self::Http(text.to_owned())))
    }
}

/// A context in a directory of its own, which goes away when this is dropped.
#[derive(Debug)]
pub struct Fetched {
    scratch: Scratch,
    directory: Option<PathBuf>,
    /// The Dockerfile, where that is all that came.
    text: Option<String>,
    /// What was fetched, where it has a digest: a commit, the bytes of a file.
    pub material: Option<Material>,
}

impl Fetched {
    /// Tells a build to use it. `dockerfile` is the path of the Dockerfile inside.
    pub fn apply(&self, options: &mut BuildOptions, name: &str, dockerfile: Option<&Path>) {
        options.context.clone_from(&self.directory);
        options.context_name = Some(name.to_owned());
        options.context_material.clone_from(&self.material);
        options.dockerfile = match (&self.text, dockerfile) {
            (Some(text), _) => {
                DockerfileSource::Text { name: "Dockerfile".to_owned(), text: text.clone() }
            }
            (None, Some(path)) => DockerfileSource::Within(path.to_owned()),
            (None, None) => DockerfileSource::Default,
        };
    }

    /// Whether it is a Dockerfile alone.
    #[must_use]
    pub fn is_dockerfile(&self) -> bool {
        self.text.is_some()
    }

    /// A stream that is a tar, perhaps compressed, or a Dockerfile.
    ///
    /// # Errors
    /// It is neither; the stream's.
    pub fn of_stream(store: &Store, stream: impl Read) -> Result<Self, RemoteError> {
        let scratch = store.scratch()?;
        let decoder = Decoder::new(stream)
            .map_err(|error| RemoteError::Archive { reason: error.0.to_string() })?;
        let mut reader = BufReader::with_capacity(128 << 10, decoder);
        let mut head = Vec::new();
        (&mut reader)
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(RemoteError::Read)?;
        let mut whole = head.as_slice().chain(reader);
        if is_tar_header(&head) {
            let directory = scratch.path().join("context");
            make(&directory)?;
            unpack::unpack(&mut whole, &directory)?;
            return Ok(Self { scratch, directory: Some(directory), text: None, material: None });
        }
        let mut bytes = Vec::new();
        whole.take(DOCKERFILE_BYTES_MAX).read_to_end(&mut bytes).map_err(RemoteError::Read)?;
        let neither = |reason: &str| RemoteError::Neither { reason: reason.to_owned() };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(neither("it is empty"));
        }
        let text = String::from_utf8(bytes).map_err(|_| neither("it is no text"))?;
        Ok(Self { scratch, directory: None, text: Some(text), material: None })
    }

    /// Brings a remote context here, which the caller calls `name`, with what `options` say of registries, secrets and agents.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub fn of_remote(
        store: &Store,
        remote: &Remote,
        name: &str,
        options: &BuildOptions,
    ) -> Result<Self, RemoteError> {
        match remote {
            Remote::Http(url) => {
                let file = web::open(store, url, options)?.ok_or(RemoteError::Cancelled)?;
                let mut meter = Meter::new(file, Algorithm::Sha256);
                let mut fetched = Self::of_stream(store, &mut meter)?;
                // The digest is that of the whole file, also where an archive ends before.
                io::copy(&mut meter, &mut io::sink()).map_err(RemoteError::Read)?;
                fetched.material = Some(Material::file(url, &meter.finish().0));
                Ok(fetched)
            }
            Remote::Git(source) => {
                let scratch = store.scratch()?;
                let target = scratch.path().join("context");
                let is_cancelled = || options.cancelled.load(std::sync::atomic::Ordering::Relaxed);
                let git = Git::new(options, source, &is_cancelled)?;
                let is_kept = source.keep_git_dir == Some(true) || keeps_git_dir(options);
                let (directory, commit) = git.checkout(source, &target, is_kept)?;
                let directory = Some(directory);
                let material = Some(Material::commit(name, &commit));
                Ok(Self { scratch, directory, text: None, material })
            }
        }
    }

    /// The directory that holds everything.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

/// Whether the build argument says that `.git` is kept; a value that is neither yes nor no says nothing, as in BuildKit.
fn keeps_git_dir(options: &BuildOptions) -> bool {
    let value = options.arguments.get(KEEP_GIT_DIR);
    value.and_then(|value| parse_bool(value)).unwrap_or(false)
}

fn make(directory: &Path) -> Result<(), FsError> {
    std::fs::create_dir(directory)
        .map_err(|error| FsError::new("create directory", directory, error))
}
