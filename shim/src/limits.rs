//! The bounds of all that comes in and of all that is waited for, each with its reason.

use std::time::Duration;

/// The longest message of ttrpc; the peers have the same bound.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Answers that a client has not taken yet. One that takes none is cut off.
pub const OUTBOX_BYTES: usize = 16 << 20;

/// Events that containerd has not taken yet, some hours of a busy pod. The oldest go first.
pub const EVENTS: usize = 4096;

/// How long containerd may take for one event before the connection is made anew.
pub const EVENT: Duration = Duration::from_secs(10);

/// The first and the longest pause before containerd is looked for again.
pub const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long events may keep a shim that is asked to go.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// `create`, `start`, `exec`: hooks and image preparation happen within, and kubelet waits two minutes.
pub const BEGIN: Duration = Duration::from_secs(120);

/// Commands that only ask or signal.
pub const ASK: Duration = Duration::from_secs(30);

/// `features` is a print; containerd asks while it begins.
pub const FEATURES: Duration = Duration::from_secs(5);

/// `delete` and `pause` wait for the kernel to end or to freeze processes.
pub const END: Duration = Duration::from_secs(60);

/// `checkpoint` and `restore` write and read all memory of a container.
pub const SAVE: Duration = Duration::from_secs(900);

/// A logger has to say that it is ready.
pub const LOGGER: Duration = Duration::from_secs(10);

/// How long the end of a container is held back for its other processes to end before it.
pub const LAST_EXECS: Duration = Duration::from_secs(10);

/// What a runtime may say: a message, or for `ps` the ids of all processes that a host can have.
pub const OUTPUT_BYTES: u64 = 64 << 10;

/// The answer of `ps`.
pub const PIDS_BYTES: u64 = 48 << 20;

/// The end of a runtime's log in which its error is looked for.
pub const LOG_BYTES: u64 = 64 << 10;

/// config.json and options files; the runtime's own bound is the same.
pub const CONFIG_BYTES: u64 = 16 << 20;

/// What `start` reads from its standard input.
pub const BOOTSTRAP_BYTES: u64 = 1 << 20;

/// /etc/hosts and /etc/resolv.conf of the host.
pub const HOST_FILE_BYTES: u64 = 1 << 20;

/// Ids as containerd allows them.
pub const ID_BYTES: usize = 76;

/// Calls that wait for one process to become free.
pub const DEFERRED: usize = 256;

/// Options of one mount, all together: what mount(2) takes in one page.
pub const MOUNT_OPTIONS: usize = 4095;
