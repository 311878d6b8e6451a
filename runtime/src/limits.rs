//! Bounds on what comes from outside, each with its reason.

/// Largest `config.json` that is read, in bytes. Kubernetes pods with hundreds of mounts stay below
/// one MiB; what is larger is no config but an attack on our memory.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;

/// Largest state file that is read, in bytes: we write a few KiB for most configs, and of none more than
/// four times its own size, since it has annotations twice and mounts in a longer form.
pub const STATE_BYTES_MAX: usize = 4 * CONFIG_BYTES_MAX;

/// How many symbolic links a path inside a rootfs may pass: the kernel's own limit (ELOOP).
pub const SYMLINKS_MAX: u32 = 40;

/// Longest path that is resolved, in bytes, with its end mark: the kernel's PATH_MAX.
pub const PATH_BYTES_MAX: usize = 4096;

/// How long delete waits for a killed container to go, in milliseconds, as runc does.
pub const KILL_WAIT_MS: i32 = 10_000;

/// How long start waits for the program to be executed, in milliseconds. Hooks of the container run
/// in that time and have their own limits; this one only keeps a hang from being endless.
pub const START_WAIT_MS: i32 = 60_000;

/// How long the parent waits for the next message of the child, in milliseconds, while the child
/// does nothing but system calls.
pub const CHILD_WAIT_MS: i32 = 120_000;

/// What a container's process may use of its memory limit until its program begins, in bytes: with half of it
/// it is killed on a kernel with pages of 4 KiB, with three quarters not.
pub const START_MEMORY_BYTES: u64 = 64 << 10;

/// How long a child that has closed its socket may take to end by itself, in milliseconds.
pub const END_WAIT_MS: i32 = 5_000;

/// The highest number of a processor or memory node that a list may name: runc's bound, far above what
/// kernels are built for (8192 and 1024), and a mask of 8 KiB.
pub const LISTED_NUMBER_MAX: usize = 65536;

/// How long an answer of rtnetlink is waited for, in milliseconds: the kernel has it ready when the
/// request was sent.
pub const NETLINK_WAIT_MS: i32 = 10_000;

/// How long a seccomp agent may keep us waiting for its end of the connection, in milliseconds.
pub const AGENT_WAIT_MS: u32 = 10_000;

/// How long newuidmap and newgidmap may take, in milliseconds: they read a file, which may come from a
/// directory service, and write one.
pub const ID_MAP_WAIT_MS: i32 = 30_000;

/// Largest message of criu that is read, in bytes: what runc reads, and far more than it sends.
pub const CRIU_MESSAGE_BYTES_MAX: usize = 40 << 10;

/// How long criu may take to tell its version or its features, in milliseconds: it looks at what the
/// kernel can do, which takes it less than a second.
pub const CRIU_ANSWER_MS: i32 = 60_000;

/// How much of the end of criu's log is searched for errors, in bytes. A dump of many processes logs
/// megabytes, but nothing follows the lines that say why it failed.
pub const CRIU_LOG_BYTES_MAX: u64 = 1 << 20;

/// Largest list of descriptors of a checkpoint that is read, in bytes: three short texts.
pub const DESCRIPTORS_BYTES_MAX: usize = 64 << 10;

/// How many trees of the host are open at once for a container's mounts, at most: a quarter of what a process
/// may have open by default. The others are opened when it is their turn.
pub const OPEN_TREES_MAX: usize = 256;

/// How deep directories may be nested that a tmpfs begins with: each level holds two descriptors and a
/// buffer on the stack. Package trees stay below 40.
pub const COPY_DEPTH_MAX: u32 = 128;

/// Longest message to or from systemd, in bytes, of the 128 MiB that D-Bus allows: a unit with a
/// thousand devices takes some 100 KiB.
pub const DBUS_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// How many signals are kept while an answer is waited for.
pub const DBUS_UNASKED_MAX: usize = 4096;

/// How long systemd may take to make or stop a unit, in seconds, as runc lets it.
pub const SYSTEMD_WAIT_SECONDS: u64 = 30;

/// How long the manager of services may take to say that it has seen a readiness, in milliseconds; as
/// runc has it.
pub const NOTIFY_BARRIER_WAIT_MS: i32 = 30_000;

/// How many sockets are taken from a parent that hands them over: more than any process may have open
/// by default.
pub const LISTEN_FDS_MAX: u32 = 1 << 20;

/// The highest descriptor that is looked for one by one, where close_range(2) is missing: the usual limit
/// on open files.
pub const DESCRIPTORS_LOOKED_FOR: u32 = 1023;
