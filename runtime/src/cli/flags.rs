//! Every command with its flags, as data: the parser, the help texts and the test of the manual pages
//! read the same table.

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// The name, without dashes.
    pub name: &'static str,
    /// The one-letter name.
    pub alias: Option<char>,
    /// What the flag takes.
    pub kind: Kind,
    /// The value that stands where the flag is absent, for the help text; empty for none.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Accepted for the sake of callers, but not shown.
    pub hidden: bool,
    /// The values it may have, where they are a few words.
    pub choices: &'static [&'static str],
}

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true` or `=false`.
    Switch,
    /// Any text; the word stands for it in the help.
    Text(&'static str),
    /// A number that is not negative.
    Number,
    /// Any text, and the flag may be repeated. Commas do not split it.
    List(&'static str),
}

/// A command.
#[derive(Debug)]
pub struct Verb {
    /// The word on the command line.
    pub name: &'static str,
    /// What follows the flags, as the help shows it.
    pub arguments: &'static str,
    /// What the command does, in a line.
    pub summary: &'static str,
    /// What the user should know besides.
    pub description: &'static str,
    /// The flags.
    pub flags: &'static [&'static [Flag]],
    /// How many arguments the command takes.
    pub count: Count,
    /// Whether flags may also stand behind the arguments.
    pub order: Order,
}

/// How many arguments a command takes.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// At least.
    pub min: usize,
    /// At most; no limit where absent.
    pub max: Option<usize>,
}

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Anywhere.
    Mixed,
    /// Only before the first argument, since what follows belongs to another program.
    FlagsFirst,
}

impl Verb {
    /// The flags in the order of the help.
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> + Clone + use<> {
        self.flags.iter().flat_map(|part| part.iter())
    }
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, alias: None, kind, default: "", help, hidden: false, choices: &[] }
    }

    const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Switch, help)
    }

    const fn text(name: &'static str, word: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Text(word), help)
    }

    const fn list(name: &'static str, word: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::List(word), help)
    }

    const fn number(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { default, ..Self::new(name, Kind::Number, help) }
    }

    const fn of(self, choices: &'static [&'static str]) -> Self {
        Self { choices, ..self }
    }

    const fn or(self, alias: char) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn defaulting(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn unlisted(self) -> Self {
        Self { hidden: true, ..self }
    }
}

/// `--help`, which every command has.
pub static HELP: Flag = Flag::switch("help", "print this help").or('h');

/// The flags before the command.
pub static GLOBAL: [Flag; 9] = [
    Flag::switch("debug", "log every step, not only what fails"),
    Flag::text("log", "FILE", "append the log to FILE in place of standard error"),
    Flag::text("log-format", "FORMAT", "write log lines as text or json")
        .defaulting("text")
        .of(&["text", "json"]),
    Flag::text("root", "DIR", "the directory with the states of all containers, best on a tmpfs"),
    Flag::switch(
        "systemd-cgroup",
        "have systemd make the cgroup; cgroupsPath is SLICE:PREFIX:NAME",
    ),
    // crun's word for the same, which its callers use.
    Flag::text("cgroup-manager", "DRIVER", "cgroupfs or systemd")
        .of(&["cgroupfs", "systemd"])
        .unlisted(),
    Flag::text("rootless", "MODE", "tolerate cgroups that cannot be written: true, false or auto")
        .defaulting("auto")
        .of(&["true", "false", "auto"]),
    Flag::text("criu", "PATH", "ignored").unlisted(),
    Flag::switch("version", "print the version").or('v'),
];

const BUNDLE: Flag =
    Flag::text("bundle", "DIR", "the bundle, which holds config.json and the root filesystem")
        .or('b')
        .defaulting(".");
const CONFIG: Flag = Flag::text("config", "FILE", "read FILE in place of the bundle's config.json");
const CONSOLE_SOCKET: Flag = Flag::text(
    "console-socket",
    "SOCKET",
    "send the master side of the terminal to this unix socket",
);
const PIDFD_SOCKET: Flag =
    Flag::text("pidfd-socket", "SOCKET", "send a pidfd of the process to this unix socket");
const PID_FILE: Flag = Flag::text("pid-file", "FILE", "write the process id to FILE");
const PRESERVE_FDS: Flag = Flag::number(
    "preserve-fds",
    "0",
    "hand N more descriptors to the process, behind standard error and those of LISTEN_FDS",
);
const DETACH: Flag =
    Flag::switch("detach", "return when the process was started; do not wait for it").or('d');

static CREATE: [Flag; 8] = [
    BUNDLE,
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Flag::switch("no-pivot", "move the root filesystem over / in place of pivot_root (initramfs)"),
    Flag::switch("no-new-keyring", "keep the session keyring of the caller"),
    PRESERVE_FDS,
];

static RUN: [Flag; 3] = [
    DETACH,
    Flag::switch("keep", "leave the container in place when its process has ended"),
    Flag::switch("no-subreaper", "leave orphaned processes to the init of the host"),
];

/// What checkpoint and restore share.
static IMAGES: [Flag; 10] = [
    Flag::text("image-path", "DIR", "the directory of criu's images").defaulting("./checkpoint"),
    Flag::text("work-path", "DIR", "the directory of criu's log, in place of that of the images"),
    Flag::switch("tcp-established", "take open TCP connections along"),
    Flag::switch("ext-unix-sk", "take unix sockets to processes outside along"),
    Flag::switch("shell-job", "take processes of a session that was begun outside along"),
    Flag::switch("file-locks", "take file locks along"),
    Flag::switch("lazy-pages", "hand over memory when it is wanted (userfaultfd)"),
    Flag::text("manage-cgroups-mode", "MODE", "how criu deals with cgroups; soft where absent")
        .of(&["soft", "full", "strict", "ignore"]),
    Flag::list(
        "empty-ns",
        "NAMESPACE",
        "leave the content of a namespace alone; only network, which always is (repeatable)",
    )
    .of(&["network"]),
    Flag::switch("auto-dedup", "drop memory from older images that newer ones have"),
];

static CHECKPOINT: [Flag; 7] = [
    Flag::text("parent-path", "DIR", "an earlier pre-dump, relative to the images"),
    Flag::switch("leave-running", "let the container run on"),
    Flag::switch("tcp-skip-in-flight", "leave out TCP connections that are being made"),
    Flag::switch("link-remap", "take deleted files along that are still open, by a link"),
    Flag::text("status-fd", "N", "write a zero byte to descriptor N when lazy pages can be had")
        .defaulting("-1"),
    Flag::text("page-server", "ADDRESS:PORT", "send memory to a page server of criu"),
    Flag::switch("pre-dump", "write memory only, and let the container run on"),
];

static RESTORE: [Flag; 11] = [
    BUNDLE,
    CONSOLE_SOCKET,
    PID_FILE,
    DETACH,
    Flag::switch("no-subreaper", "leave orphaned processes to the init of the host"),
    Flag::switch("no-pivot", "accepted; criu changes the root by its own means"),
    Flag::text("lsm-profile", "TYPE:NAME", "restore processes with another security label"),
    Flag::text("lsm-mount-context", "LABEL", "restore mounts with another security label"),
    // crun's, which podman uses.
    Flag::switch("tcp-close", "restore open TCP connections closed"),
    // Sent by callers that share them with checkpoint.
    Flag::text("parent-path", "DIR", "ignored").unlisted(),
    Flag::text("page-server", "ADDRESS:PORT", "ignored").unlisted(),
];

static KILL: [Flag; 1] =
    [Flag::switch("all", "do not mind a container that is not running").or('a').unlisted()];

static DELETE: [Flag; 1] =
    [Flag::switch("force", "kill it first if it runs; do not mind if it does not exist").or('f')];

static LIST: [Flag; 2] = [
    Flag::text("format", "FORMAT", "print a table or json")
        .or('f')
        .defaulting("table")
        .of(&["table", "json"]),
    Flag::switch("quiet", "print the ids alone").or('q'),
];

static EXEC: [Flag; 17] = [
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Flag::text("cwd", "DIR", "the working directory in the container"),
    Flag::list("env", "NAME=VALUE", "set an environment variable (repeatable)").or('e'),
    Flag::switch("tty", "give the process a terminal").or('t'),
    Flag::text("user", "UID[:GID]", "run as this user and group, by number").or('u'),
    Flag::list("additional-gids", "GID", "add the process to a group (repeatable)").or('g'),
    Flag::text("process", "FILE", "read the whole process from a JSON file").or('p'),
    DETACH,
    PID_FILE,
    Flag::text("process-label", "LABEL", "the SELinux label of the process"),
    Flag::text("apparmor", "PROFILE", "the AppArmor profile of the process"),
    Flag::switch("no-new-privs", "keep the process from gaining privileges by exec"),
    Flag::list("cap", "NAME", "add a capability to the process (repeatable)").or('c'),
    PRESERVE_FDS,
    Flag::list("cgroup", "[CTRL:]PATH", "start the process in an existing sub-cgroup (repeatable)"),
    Flag::switch("ignore-paused", "start the process though the container is paused"),
];

static PS: [Flag; 1] = [Flag::text("format", "FORMAT", "print a table or json")
    .or('f')
    .defaulting("table")
    .of(&["table", "json"])];

static EVENTS: [Flag; 2] = [
    Flag::text("interval", "DURATION", "the time between two samples, such as 5s or 1m30s")
        .defaulting("5s"),
    Flag::switch("stats", "print one sample and exit"),
];

static UPDATE: [Flag; 19] = [
    Flag::text(
        "resources",
        "FILE",
        "read the limits from FILE, or - for standard input, as linux.resources of config.json; all \
         other flags on limits are ignored then",
    )
    .or('r'),
    Flag::text("blkio-weight", "WEIGHT", "the weight of block I/O, 10 to 1000"),
    Flag::text("cpu-period", "MICROSECONDS", "the period of the processor quota"),
    Flag::text("cpu-quota", "MICROSECONDS", "processor time in each period; -1 for no limit"),
    Flag::text("cpu-burst", "MICROSECONDS", "unused processor time that may be saved up"),
    Flag::text("cpu-share", "SHARES", "the weight of processor time, 2 to 262144"),
    Flag::text("cpu-rt-period", "MICROSECONDS", "the period of real-time tasks"),
    Flag::text("cpu-rt-runtime", "MICROSECONDS", "time of real-time tasks in each period of theirs"),
    Flag::text("cpuset-cpus", "LIST", "the processors, such as 0-2,7"),
    Flag::text("cpuset-mems", "LIST", "the memory nodes"),
    Flag::text("cpu-idle", "0|1", "1: run only when nothing else wants to").of(&["0", "1"]),
    Flag::text("memory", "SIZE", "the memory limit: bytes, or with k, m, g; -1 for no limit"),
    Flag::text("memory-reservation", "SIZE", "what is kept when memory is scarce"),
    Flag::text("memory-swap", "SIZE", "memory and swap together; -1 for no limit"),
    Flag::text("kernel-memory", "SIZE", "ignored").unlisted(),
    Flag::text("kernel-memory-tcp", "SIZE", "ignored").unlisted(),
    Flag::text("pids-limit", "N", "the most tasks; -1 for no limit"),
    Flag::text("l3-cache-schema", "SCHEMA", "the schema of the L3 cache (Intel RDT)"),
    Flag::text("mem-bw-schema", "SCHEMA", "the schema of the memory bandwidth (Intel RDT)"),
];

const FORMAT: Flag =
    Flag::text("format", "FORMAT", "print text or json").defaulting("text").of(&["text", "json"]);

static DOCTOR: [Flag; 2] =
    [FORMAT, Flag::list("require", "NAME", "fail unless the host has this (repeatable)")];

static EXPLAIN: [Flag; 5] = [
    BUNDLE,
    CONFIG,
    FORMAT,
    Flag::text("syscall", "NAME", "say what the seccomp profile does with this system call"),
    Flag::list("arg", "NUMBER", "an argument of the system call, in order (repeatable)"),
];

static GC: [Flag; 2] = [
    Flag::switch("dry-run", "print what would be undone, and undo nothing"),
    Flag::switch("stopped", "delete containers that have stopped, too"),
];

static SPEC: [Flag; 2] = [
    Flag::text("bundle", "DIR", "the directory to write config.json to").or('b').defaulting("."),
    Flag::switch("rootless", "write a config that needs no privileges"),
];

static PLAN: [Flag; 2] = [BUNDLE, CONFIG];

const NOTHING: Count = Count { min: 0, max: Some(0) };
const ID: Count = Count { min: 1, max: Some(1) };

/// All commands, in the order of the help.
pub static VERBS: [Verb; 22] = [
    Verb {
        name: "checkpoint",
        arguments: "CONTAINER-ID",
        summary: "save the processes of a running container",
        description: "The work is criu's, which must be installed. The container is removed \
                      afterwards unless --leave-running or --pre-dump is given; when criu fails, it \
                      runs on.",
        flags: &[&IMAGES, &CHECKPOINT],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "completion",
        arguments: "SHELL",
        summary: "print a script with which a shell completes keel's command lines",
        description: "SHELL is bash, zsh or fish. The script knows the commands and flags of this \
                      program and asks it for the ids of containers.",
        flags: &[],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "create",
        arguments: "CONTAINER-ID",
        summary: "make a container from a bundle",
        description: "The container is set up whole: namespaces, mounts, cgroup, hooks. Its process \
                      waits and executes the program of config.json when start is called. The id \
                      is of your choice and unique below the state root.",
        flags: &[&CREATE],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "delete",
        arguments: "CONTAINER-ID",
        summary: "remove a container and all it occupies",
        description: "A container that is running is refused without --force. One that was created \
                      and never started is killed.",
        flags: &[&DELETE],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "doctor",
        arguments: "",
        summary: "print what this host has and lacks for containers",
        description: "Calls of newer kernels are made in a way that changes nothing; control groups, \
                      security modules, user namespaces, programs and the caller's rights are looked \
                      at. Each line tells what its absence disables. The exit code is 1 if the host lacks \
                      what every container needs or what --require names.",
        flags: &[&DOCTOR],
        count: NOTHING,
        order: Order::Mixed,
    },
    Verb {
        name: "events",
        arguments: "CONTAINER-ID",
        summary: "print what a container uses, and when it runs out of memory",
        description: "One JSON object a line: type is stats or oom. The stream ends when the \
                      container's cgroup is gone.",
        flags: &[&EVENTS],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "exec",
        arguments: "CONTAINER-ID COMMAND [ARGUMENT...] | --process FILE CONTAINER-ID",
        summary: "start a further process in a running container",
        description: "Flags stand before the id; everything behind it belongs to the command. \
                      Without --process the process is that of config.json with another command. \
                      The exit code is that of the command, or 255 if it could not be started.",
        flags: &[&EXEC],
        count: Count { min: 1, max: None },
        order: Order::FlagsFirst,
    },
    Verb {
        name: "explain",
        arguments: "[CONTAINER-ID [COMMAND]]",
        summary: "say why a container, or a command in it, does not come to run",
        description: "Without an id, or where its creation failed, the bundle is looked at: the current \
                      directory, so that it can be typed right behind a create or run that failed. With the \
                      id of a container, its own config and root filesystem are, and what was recorded when \
                      start failed is repeated; COMMAND is what exec was given. Nothing is run and nothing \
                      is changed.",
        flags: &[&EXPLAIN],
        count: Count { min: 0, max: None },
        order: Order::FlagsFirst,
    },
    Verb {
        name: "features",
        arguments: "",
        summary: "print as JSON what this runtime can do",
        description: "The form is that of the runtime specification (features.md).",
        flags: &[],
        count: NOTHING,
        order: Order::Mixed,
    },
    Verb {
        name: "gc",
        arguments: "",
        summary: "undo what commands that were killed have left behind",
        description: "Half-made containers below the state root are removed with their cgroups. A \
                      stopped container gives back its FIFOs and empty cgroups; its record stays, \
                      unless --stopped is given. Containers that run, and those that another command works \
                      on, are not touched. One line is printed for each finding. The exit code is 1 \
                      if something could not be undone.",
        flags: &[&GC],
        count: NOTHING,
        order: Order::Mixed,
    },
    Verb {
        name: "kill",
        arguments: "CONTAINER-ID [SIGNAL]",
        summary: "send a signal to the container process",
        description: "SIGNAL is a number or a name with or without SIG, such as 9, KILL or \
                      RTMIN+3; without it TERM is sent. In a container without its own pid \
                      namespace KILL reaches every process.",
        flags: &[&KILL],
        count: Count { min: 1, max: Some(2) },
        order: Order::FlagsFirst,
    },
    Verb {
        name: "list",
        arguments: "",
        summary: "print the containers below the state root",
        description: "A state that cannot be read is reported on standard error and passed over.",
        flags: &[&LIST],
        count: NOTHING,
        order: Order::Mixed,
    },
    Verb {
        name: "pause",
        arguments: "CONTAINER-ID",
        summary: "stop all processes of a container where they are",
        description: "Nothing is done to one that is paused already.",
        flags: &[],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "plan",
        arguments: "[CONTAINER-ID]",
        summary: "print the steps that create would take, and take none",
        description: "Each step names the field of config.json it comes from. No privileges are \
                      needed.",
        flags: &[&PLAN],
        count: Count { min: 0, max: Some(1) },
        order: Order::Mixed,
    },
    Verb {
        name: "ps",
        arguments: "CONTAINER-ID [PS-OPTION...]",
        summary: "print the processes of a container",
        description: "The table is what the host's ps prints, with the lines of the container's \
                      processes; without options ps is given -ef. Flags stand before the id.",
        flags: &[&PS],
        count: Count { min: 1, max: None },
        order: Order::FlagsFirst,
    },
    Verb {
        name: "restore",
        arguments: "CONTAINER-ID",
        summary: "make a container from a checkpoint",
        description: "The bundle says what the container is, the checkpoint what its processes were \
                      about. The exit code is that of the container process unless --detach is \
                      given.",
        flags: &[&IMAGES, &RESTORE],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "resume",
        arguments: "CONTAINER-ID",
        summary: "let the processes of a paused container go on",
        description: "",
        flags: &[],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "run",
        arguments: "CONTAINER-ID",
        summary: "create a container, start it and wait for its process",
        description: "The exit code is that of the container process, or 128 and the number of the \
                      signal that ended it. The container is removed afterwards unless --keep or \
                      --detach is given. Signals are passed on to the process.",
        flags: &[&CREATE, &RUN],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "spec",
        arguments: "",
        summary: "write a config.json to begin with",
        description: "The config starts sh on a terminal, on a root filesystem that is read-only \
                      and lies in the bundle's directory rootfs. An existing config.json is never \
                      touched.",
        flags: &[&SPEC],
        count: NOTHING,
        order: Order::Mixed,
    },
    Verb {
        name: "start",
        arguments: "CONTAINER-ID",
        summary: "execute the program of a created container",
        description: "",
        flags: &[],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "state",
        arguments: "CONTAINER-ID",
        summary: "print the state of a container as JSON",
        description: "The form is that of the runtime specification (runtime.md), with the root \
                      filesystem and the time of creation added.",
        flags: &[],
        count: ID,
        order: Order::Mixed,
    },
    Verb {
        name: "update",
        arguments: "CONTAINER-ID",
        summary: "change the limits of a container",
        description: "What is not named stays as it is. Limits are set all or none. The rules on \
                      devices cannot be changed.",
        flags: &[&UPDATE],
        count: ID,
        order: Order::Mixed,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_every_flag_once_per_command() {
        let mut commands = BTreeSet::new();
        for verb in &VERBS {
            assert!(commands.insert(verb.name), "{} is listed twice", verb.name);
            let mut names = BTreeSet::from([HELP.name.to_owned(), "h".to_owned()]);
            for flag in verb.flags() {
                for name in [Some(flag.name.to_owned()), flag.alias.map(String::from)] {
                    let Some(name) = name else { continue };
                    assert!(names.insert(name.clone()), "{}: --{name} twice", verb.name);
                }
            }
        }
        assert!(commands.iter().copied().eq(VERBS.iter().map(|v| v.name)), "not in order");
    }
}
