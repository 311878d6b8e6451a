//! What the user asked for, as types: the commands with their arguments checked and converted.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::program::Name;
use super::signal::Signal;
use super::user::User;
use crate::criu::message::Options;
use crate::lifecycle;

/// One command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make a container and leave its process waiting for `start`.
    Create(CreateArgs),
    /// Create and start a container, and wait for its process unless told to detach.
    Run(RunArgs),
    /// Let the process of a created container go.
    Start {
        /// The container's id.
        id: String,
    },
    /// Print the state of one container.
    State {
        /// The container's id.
        id: String,
    },
    /// Send a signal to the container process.
    Kill {
        /// The container's id.
        id: String,
        /// What to send.
        signal: Signal,
        /// `--all`: a container that is not running is no error.
        all: bool,
    },
    /// Remove what a container occupies.
    Delete {
        /// The container's id.
        id: String,
        /// Kill it first if need be; a container that does not exist is no error.
        force: bool,
    },
    /// Stop all processes of a container where they are.
    Pause {
        /// The container's id.
        id: String,
    },
    /// Let the processes of a paused container go on.
    Resume {
        /// The container's id.
        id: String,
    },
    /// Print the processes of a container.
    Ps {
        /// The container's id.
        id: String,
        /// How to print them.
        format: PsFormat,
        /// What the host's ps is given.
        args: Vec<OsString>,
    },
    /// Change the limits of a container.
    Update(UpdateArgs),
    /// Print what a container uses, and when it runs out of memory.
    Events {
        /// The container's id.
        id: String,
        /// The time between two samples.
        interval: Duration,
        /// One sample, and no more.
        once: bool,
    },
    /// Print all containers of the state root.
    List {
        /// How to print them.
        format: ListFormat,
    },
    /// Start a further process in a running container.
    Exec(ExecArgs),
    /// Save the processes of a container.
    Checkpoint(CheckpointArgs),
    /// Make a container from a checkpoint.
    Restore(RestoreArgs),
    /// Write a `config.json` to begin with.
    Spec {
        /// The folder to write into; the current one where absent.
        bundle: Option<PathBuf>,
        /// Make it fit for a caller without privileges.
        rootless: bool,
    },
    /// Print what this runtime can do.
    Features,
    /// Print what this host has and lacks.
    Doctor {
        /// Print JSON.
        json: bool,
        /// Names that must be there.
        require: Vec<String>,
    },
    /// Say why something does not come to run.
    Explain(ExplainArgs),
    /// Undo what killed commands have left behind.
    Gc(lifecycle::gc::Request),
    /// Print a script with which a shell completes command lines.
    Completion {
        /// The shell's name.
        shell: String,
    },
    /// Print the steps that `create` would take, without taking them.
    Plan {
        /// The bundle, absolute.
        bundle: PathBuf,
        /// Another file than the bundle's `config.json`, absolute.
        config: Option<PathBuf>,
        /// The id the container would have; it decides the cgroup's name where the config is silent.
        id: Option<String>,
    },
}

impl Command {
    /// Whether a process of this program comes to be one of a container.
    #[must_use]
    pub(super) fn enters_container(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Run(_) | Self::Exec(_))
    }

    /// Whether the command reads or writes below the state root.
    #[must_use]
    pub(super) fn uses_states(&self) -> bool {
        !matches!(
            self,
            Self::Spec { .. }
                | Self::Doctor { .. }
                | Self::Features
                | Self::Plan { .. }
                | Self::Completion { .. }
        )
    }
}

/// The arguments of `create`. All paths are absolute, since the callers' relative ones are meant
/// from the folder they stand in, not from the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateArgs {
    /// The container's id, not yet checked.
    pub id: String,
    /// The folder with `config.json`.
    pub bundle: PathBuf,
    /// The file to read in place of the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// The socket that is sent the master side of the terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that is sent a pidfd of the container process.
    pub pidfd_socket: Option<PathBuf>,
    /// The file to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// Change root by moving the mount over `/`, because `pivot_root` does not work on an initramfs.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on (after those of `LISTEN_FDS`) are handed to the process.
    pub preserve_fds: u32,
}

/// The arguments of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunArgs {
    /// What `create` would have been given.
    pub create: CreateArgs,
    /// Return as soon as the process was started.
    pub detach: bool,
    /// Leave the stopped container behind.
    pub keep: bool,
    /// Leave orphans of the container to the caller's init.
    pub no_subreaper: bool,
}

/// The arguments of `checkpoint`. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointArgs {
    /// The container's id, not yet checked.
    pub id: String,
    /// The directory for the images.
    pub images: PathBuf,
    /// The directory for the log, where it is another.
    pub work: Option<PathBuf>,
    /// Memory only, and the container runs on.
    pub pre_dump: bool,
    /// The descriptor that is told when lazy pages can be had.
    pub status_fd: Option<i32>,
    /// What criu is told as it is; the earlier images are relative to the others.
    pub options: Options,
}

/// The arguments of `restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreArgs {
    /// What `create` would have been given.
    pub create: CreateArgs,
    /// Return as soon as the processes run.
    pub detach: bool,
    /// Leave orphans of the container to the caller's init.
    pub no_subreaper: bool,
    /// The directory with the images.
    pub images: PathBuf,
    /// The directory for the log, where it is another.
    pub work: Option<PathBuf>,
    /// What criu is told as it is.
    pub options: Options,
}

/// The arguments of `exec`. Paths on the host are absolute; `cwd` is a path of the container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecArgs {
    /// The container's id.
    pub id: String,
    /// The command and its arguments; empty where `process` is given, and otherwise an error that
    /// is reported after the container was found.
    pub args: Vec<OsString>,
    /// A file that describes the process whole, as `process` of the specification.
    pub process: Option<PathBuf>,
    /// The socket that is sent the master side of the terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that is sent a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Variables that are added, or replace those of the container, in the order given.
    pub env: Vec<OsString>,
    /// Whether to allocate a terminal; never taken from the container's config.
    pub tty: bool,
    /// The user and, if given, the group.
    pub user: Option<User>,
    /// Groups added to the process.
    pub additional_gids: Vec<u32>,
    /// Return as soon as the process was started.
    pub detach: bool,
    /// The file to write the process id to.
    pub pid_file: Option<PathBuf>,
    /// The SELinux label.
    pub process_label: Option<String>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// Whether privileges can be gained by exec; `None` leaves it to the container's config.
    pub no_new_privs: Option<bool>,
    /// Capabilities added to the bounding, effective and permitted sets.
    pub caps: Vec<String>,
    /// How many descriptors from 3 on (after those of `LISTEN_FDS`) are handed to the process.
    pub preserve_fds: u32,
    /// Sub-cgroups to join: `[CONTROLLER[,CONTROLLER…]:]PATH`.
    pub cgroups: Vec<String>,
    /// Start the process though the container is paused.
    pub ignore_paused: bool,
}

/// The arguments of `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainArgs {
    /// The container, not yet checked.
    pub id: Option<String>,
    /// The command in place of the config's.
    pub command: Vec<String>,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// Another file than the bundle's `config.json`, absolute.
    pub config: Option<PathBuf>,
    /// Print JSON.
    pub json: bool,
    /// A system call to ask the seccomp profile about.
    pub syscall: Option<String>,
    /// Its arguments.
    pub args: [u64; 6],
}

/// How `list` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Aligned columns under a heading.
    Table,
    /// One line with a JSON array.
    Json,
    /// The ids alone, one per line.
    Quiet,
}

/// How `ps` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PsFormat {
    /// The lines of the host's ps that belong to the container.
    Table,
    /// One line with an array of pids.
    Json,
}

/// The arguments of `update`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateArgs {
    /// The container's id.
    pub id: String,
    /// Where the new limits stand.
    pub source: UpdateSource,
    /// The schema of the L3 cache.
    pub l3_cache_schema: Option<String>,
    /// The schema of the memory bandwidth.
    pub mem_bw_schema: Option<String>,
}

/// Where the new limits of `update` stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateSource {
    /// In a file, absolute, as `linux.resources` of the specification.
    File(PathBuf),
    /// Likewise on standard input.
    Input,
    /// In the flags, put into the same form.
    Flags(Value),
}

/// The flags before the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// The folder that holds the containers' states, absolute.
    pub root: PathBuf,
    /// Where [`Global::root`] comes from.
    pub root_origin: RootOrigin,
    /// The log file; standard error where absent. Not made absolute: it is opened at once.
    pub log: Option<PathBuf>,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Log what is done, not only what fails.
    pub debug: bool,
    /// The name the program was called by, for its messages.
    pub name: Name,
    /// Let systemd make the cgroup.
    pub systemd_cgroup: bool,
    /// Whether cgroups that may not be written to are tolerated.
    pub rootless: Rootless,
}

/// Where the state root comes from: a missing one that the user named is an error to `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOrigin {
    /// `--root`.
    Flag,
    /// The folder of the system.
    System,
    /// `XDG_RUNTIME_DIR`.
    Xdg,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `level=error msg=…`, or short coloured lines on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// `--rootless`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rootless {
    /// Decide by the caller's privileges.
    #[default]
    Auto,
    /// Errors of cgroups are ignored.
    Yes,
    /// They are not.
    No,
}
