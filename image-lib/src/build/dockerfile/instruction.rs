//! The instructions as values. Texts are as written: variables are expanded when the instruction
//! is carried out, since only then their values are known.

use super::device::Device;
use super::heredoc::Heredoc;
use super::mount::Mount;
use super::place::Place;

/// The instruction words, in the order of the reference manual.
pub const WORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

/// One instruction and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// The instruction word.
    pub place: Place,
    /// The instruction as written, continuations joined, without here-document bodies.
    pub text: String,
    /// What it says.
    pub command: Command,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `ARG`: declarations of build arguments.
    Arg(Vec<Argument>),
    /// `RUN`: a command whose changes become a layer.
    Run(Run),
    /// `COPY` or `ADD`: files that become a layer.
    Transfer(Transfer),
    /// `ENV`: environment variables.
    Env(Vec<Pair>),
    /// `LABEL`: labels.
    Label(Vec<Pair>),
    /// `WORKDIR`: the working directory, which is created.
    Workdir(String),
    /// `USER`: who runs what follows, `user[:group]`.
    User(String),
    /// `EXPOSE`: ports.
    Expose(Vec<String>),
    /// `VOLUME`: mount points.
    Volume(Vec<String>),
    /// `CMD`: the default command or its arguments.
    Cmd(CommandLine),
    /// `ENTRYPOINT`: the program that a container runs.
    Entrypoint(CommandLine),
    /// `SHELL`: what runs the shell form.
    Shell(Vec<String>),
    /// `STOPSIGNAL`: the signal that asks the container to end.
    StopSignal(String),
    /// `HEALTHCHECK`: how to ask whether the container is well.
    Healthcheck(Healthcheck),
    /// `ONBUILD`: an instruction for the builds that start from this image, as raw text.
    Onbuild(String),
    /// `MAINTAINER`: the author.
    Maintainer(String),
}

/// `FROM`: where a stage starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// `--platform`.
    pub platform: Option<String>,
    /// An image, an earlier stage, or `scratch`.
    pub base: String,
    /// The stage's name, in lower case.
    pub name: Option<String>,
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The value it has when nobody gives one.
    pub default: Option<String>,
}

/// The two forms of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// The JSON form: arguments, handed on as they are.
    Exec(Vec<String>),
    /// The shell form: one text for the shell.
    Shell(String),
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// The here-documents of the shell form.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in order.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Option<Network>,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// The network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the build says.
    Default,
    /// A network namespace with nothing but loopback.
    None,
    /// The host's.
    Host,
}

impl Network {
    /// Reads a value of `--network`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "default" => Some(Self::Default),
            "none" => Some(Self::None),
            "host" => Some(Self::Host),
            _ => None,
        }
    }
}

/// Which of the two copying instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `COPY`.
    Copy,
    /// `ADD`, which also extracts local archives.
    Add,
}

impl Verb {
    /// The instruction word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Copy => "COPY",
            Self::Add => "ADD",
        }
    }
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which of them.
    pub verb: Verb,
    /// Paths or patterns, in order.
    pub sources: Vec<String>,
    /// Files that the Dockerfile itself holds.
    pub documents: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`: a stage or an image instead of the context.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<String>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
}

/// `HEALTHCHECK`; durations in nanoseconds, 0 where the engine's default holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` or `CMD-SHELL` with the command.
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: i64,
    /// Time that a check may take.
    pub timeout: i64,
    /// Time in which failures do not count.
    pub start_period: i64,
    /// Time between two checks in that period.
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    pub retries: i64,
}
