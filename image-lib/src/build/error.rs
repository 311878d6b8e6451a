//! What ends a build. An error of an instruction names the file and the line; what the user can do
//! about it stands apart, in [`BuildError::hint`].

use std::path::PathBuf;

use super::dockerfile::{DockerfileError, Spot};
use super::ignore::IgnoreError;
use super::network::NetworkError;
use super::remote::RemoteError;
use crate::bundle::BundleError;
use crate::copy::CopyError;
use crate::export::ExportError;
use crate::flatten::FlattenError;
use crate::fsroot::FsError;
use crate::registry::ObtainError;
use crate::snapshot::MountError;
use crate::store::StoreError;

/// Why a build ended.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is not Dockerfile language.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// An instruction could not be carried out.
    #[error("{at}: {instruction}")]
    Step {
        /// The word that is the matter; otherwise the instruction.
        at: Spot,
        /// The instruction, shortened to one line.
        instruction: String,
        /// Why.
        #[source]
        source: Box<StepError>,
    },
    /// The context or a file of it cannot be read.
    #[error("cannot read the build context {path:?}")]
    Context {
        /// The context, as the user named it.
        path: PathBuf,
        /// Why.
        #[source]
        source: FsError,
    },
    /// There is no Dockerfile.
    #[error("cannot read the Dockerfile {path:?}: {reason}")]
    DockerfileMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is the matter.
        reason: String,
    },
    /// `.dockerignore` has a line that is no pattern.
    #[error("{file}")]
    Ignore {
        /// The file.
        file: String,
        /// Which line, and why.
        #[source]
        source: IgnoreError,
    },
    /// The stage to build does not exist.
    #[error("target stage {name:?} could not be found")]
    Target {
        /// The name that was asked for.
        name: String,
        /// A stage with nearly that name.
        near: Option<String>,
    },
    /// An option of the build has a value that cannot be.
    #[error("{option}: {reason}")]
    Option {
        /// The option.
        option: String,
        /// Why not.
        reason: String,
    },
    /// The checks that `# check=error=true` made binding have found something.
    #[error("lint violation found for rules: {rules}")]
    Check {
        /// The rules, in order of their names.
        rules: String,
    },
    /// The store refused.
    #[error("cannot store the image")]
    Store(#[source] StoreError),
    /// What was built cannot be written where it is wanted.
    #[error("cannot write the result to {target:?}")]
    Output {
        /// The place.
        target: PathBuf,
        /// Why.
        #[source]
        source: Box<StepError>,
    },
}

impl BuildError {
    /// The line of the Dockerfile that is the matter, with a caret, for below the message; nothing where the message
    /// has it already, or there is none.
    #[must_use]
    pub fn quote(&self) -> String {
        match self {
            Self::Step { at, .. } => at.quote(),
            _ => String::new(),
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target { near, .. } => near.as_ref().map(|near| format!("did you mean {near}?")),
            Self::Step { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Why an instruction could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A word cannot be expanded.
    #[error("failed to process {word:?}: {message}")]
    Expansion {
        /// The word, as written.
        word: String,
        /// What is wrong with it.
        message: String,
    },
    /// A value makes no sense.
    #[error("{0}")]
    Value(String),
    /// A form of the language that this builder does not carry out.
    #[error("{what} is not supported by this builder")]
    Unsupported {
        /// The form.
        what: String,
    },
    /// The store has no such image.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// The name, as the Dockerfile has it.
        name: String,
        /// A stage with nearly that name.
        near: Option<String>,
    },
    /// The image is not in the store as it is wanted, and cannot be fetched.
    #[error("cannot take the image {name}")]
    Obtain {
        /// The name, as the Dockerfile has it.
        name: String,
        /// A stage with nearly that name.
        near: Option<String>,
        /// What store and registry say.
        #[source]
        source: Box<ObtainError>,
    },
    /// A source of `ADD` cannot be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The source.
        url: String,
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// A `RUN` wants what the caller has not allowed.
    #[error("security.insecure is not allowed")]
    Insecure,
    /// A device must be there, and no file describes it.
    #[error("required device {name:?} is not registered{unread}")]
    NoDevice {
        /// Its name.
        name: String,
        /// Which files could not be read, and why.
        unread: String,
    },
    /// A device is there, and the caller has not allowed it.
    #[error("device {name:?} is not allowed")]
    DeviceForbidden {
        /// Its name.
        name: String,
    },
    /// A secret must be there, and nobody gave it.
    #[error("secret {id}: not found")]
    NoSecret {
        /// Its name.
        id: String,
    },
    /// A secret cannot be read.
    #[error("cannot read the secret {id}")]
    SecretUnread {
        /// Its name.
        id: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An agent must be there, and nobody gave it.
    #[error("ssh agent {id}: not found")]
    NoAgent {
        /// Its name.
        id: String,
    },
    /// An image of a layout cannot be read.
    #[error("cannot take the image of the layout {place}")]
    Layout {
        /// The layout, as the user named it.
        place: String,
        /// Why.
        #[source]
        source: Box<CopyError>,
    },
    /// A program of another processor would have to run.
    #[error("RUN for {wanted} on {host}: no emulator for it is registered in binfmt_misc")]
    Emulation {
        /// The platform of the stage.
        wanted: String,
        /// The platform of this machine.
        host: String,
    },
    /// A source does not exist.
    #[error("{path:?}: not found{}", if *.ignored { " (it is left out by .dockerignore)" } else { "" })]
    SourceMissing {
        /// The path from the root of the context.
        path: String,
        /// It is there, but `.dockerignore` leaves it out.
        ignored: bool,
        /// A path that is there and has nearly that name.
        near: Option<String>,
    },
    /// A source is no pattern.
    #[error("{message}")]
    Pattern {
        /// What is wrong with it.
        message: String,
    },
    /// The destination does not fit the source.
    #[error("{0}")]
    Destination(String),
    /// A user or group is not known to the image.
    #[error("no {kind} {name:?} in the image's {file}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The file that should have it.
        file: &'static str,
    },
    /// An archive cannot be extracted.
    #[error("cannot extract {path:?}: {reason}")]
    Archive {
        /// The archive.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Filesystem(#[from] FsError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rootfs cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The files cannot be written as a tar.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The files cannot be copied.
    #[error(transparent)]
    Flatten(#[from] FlattenError),
    /// The container cannot be configured.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The command of a `RUN` ended with another code than 0.
    #[error("The command '{command}' returned a non-zero code: {code}{}", tail_block(.tail))]
    Exit {
        /// The command, words joined by blanks.
        command: String,
        /// The code.
        code: i32,
        /// The last lines that it wrote.
        tail: Vec<String>,
        /// Whether the command had a network.
        networked: bool,
    },
    /// The command gets no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The runtime itself could not be run.
    #[error("cannot run {runtime}: {reason}")]
    Runtime {
        /// The runtime.
        runtime: String,
        /// Why not.
        reason: String,
    },
    /// The runtime could not start the command.
    #[error("{runtime} could not start the command: {reason}")]
    Start {
        /// The runtime.
        runtime: String,
        /// What it said.
        reason: String,
    },
    /// Another stage failed first, or the caller ended the build.
    #[error("cancelled")]
    Cancelled,
}

fn tail_block(tail: &[String]) -> String {
    tail.iter().map(|line| format!("\n  > {line}")).collect()
}

/// What commands print when a name does not resolve.
const NAME_FAILURES: [&str; 5] = [
    "Temporary failure resolving",
    "Temporary failure in name resolution",
    "Could not resolve host",
    "bad address",
    "Network is unreachable",
];

/// Whether the line says that a name could not be resolved.
pub(super) fn is_name_failure(line: &str) -> bool {
    NAME_FAILURES.iter().any(|text| line.contains(text))
}

/// What fails where a user namespace lacks an id.
const CHANGE_OWNER: &str = "change owner of";

/// What to do about an owner that a user namespace lacks.
const OWNER_HINT: &str = "an ordinary user has its own id and those of /etc/subuid and /etc/subgid, which \
     `--ids single` leaves aside";

/// What to do about a `RUN` that misses the network.
pub(super) const NETWORK_HINT: &str = "this RUN has no network; give it the host's with \
     `--network=host`, on the command line or in the instruction";

impl StepError {
    /// The word of the instruction that is the matter, where it is one.
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Self::Expansion { word, .. } => Some(word),
            Self::NoSuchImage { name, .. }
            | Self::Obtain { name, .. }
            | Self::Unknown { name, .. } => Some(name),
            Self::Fetch { url, .. } => Some(url),
            Self::NoSecret { id } | Self::SecretUnread { id, .. } | Self::NoAgent { id } => {
                Some(id)
            }
            Self::SourceMissing { path, .. } | Self::Archive { path, .. } => {
                Some(path.trim_start_matches('/'))
            }
            Self::Insecure => Some("--security=insecure"),
            Self::NoDevice { name, .. } => Some(name),
            Self::DeviceForbidden { name } => name.split('=').next(),
            _ => None,
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchImage { near: Some(near), .. } | Self::Obtain { near: Some(near), .. } => {
                Some(format!("did you mean the stage {near}?"))
            }
            Self::NoSuchImage { name, near: None } => Some(format!(
                "the store holds no {name}; bring it in with `keel-image pull`, `load` or `import`"
            )),
            Self::Obtain { source, .. } => source.hint(),
            Self::SourceMissing { ignored: false, near: Some(near), .. } => {
                Some(format!("did you mean {near}?"))
            }
            Self::Start { reason, .. } if reason.contains("\"/bin/sh\"") => Some(
                "the image has no shell: name a program that it has, as RUN [\"PROGRAM\", \"ARGUMENT\"], or \
                 copy one into it before"
                    .to_owned(),
            ),
            Self::Network(error) => error.hint.clone(),
            Self::Filesystem(error)
                if error.operation == CHANGE_OWNER && error.is(rustix::io::Errno::INVAL) =>
            {
                Some(OWNER_HINT.to_owned())
            }
            Self::Insecure => Some("allow it with --allow security.insecure".to_owned()),
            Self::NoDevice { .. } => Some(
                "devices are described by files in /etc/cdi, /var/run/cdi, /etc/buildkit/cdi, or in the directories of \
                 --cdi-config-dir"
                    .to_owned(),
            ),
            Self::DeviceForbidden { name } => Some(format!("allow it with --allow device={name}")),
            Self::NoSecret { id } => Some(format!("give it with --secret id={id},src=FILE")),
            Self::NoAgent { id } => Some(format!("give it with --ssh {id}=SOCKET")),
            Self::Fetch { source, .. } => source.hint(),
            Self::Emulation { .. } => Some(
                "start the stage with FROM --platform=$BUILDPLATFORM and have it make the program for \
                 the other platform, as compilers do"
                    .to_owned(),
            ),
            Self::Exit { tail, networked: false, .. }
                if tail.iter().any(|line| is_name_failure(line)) =>
            {
                Some(NETWORK_HINT.to_owned())
            }
            Self::Exit { .. } => Some(
                "`--shell-on-fail` starts a shell in the container as the command left it".to_owned(),
            ),
            Self::Runtime { .. } => Some(
                "RUN needs a runtime such as keel or runc: beside keel-image, on the PATH, or named \
                 with `--runtime`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
