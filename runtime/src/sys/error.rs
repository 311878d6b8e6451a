//! What a failed system call says: which call, which errno. Two machine words, so that the same
//! value crosses from the child to the parent in one frame and is rendered where memory is allowed.

use std::fmt;

macro_rules! calls {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A system call, by the name of its man page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Call {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Call {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as the man page spells it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

calls! {
    Access = "faccessat", Bind = "bind", Bpf = "bpf", Capset = "capset", Chdir = "chdir", Chroot = "chroot",
    Clone3 = "clone3", CloseRange = "close_range", Connect = "connect", Dup = "dup",
    Eventfd = "eventfd2", Execve = "execve", Execveat = "execveat", Fchdir = "fchdir", Fchmod = "fchmod",
    Fchown = "fchown", Fcntl = "fcntl", Flock = "flock", Fork = "fork", Fsconfig = "fsconfig",
    Fsmount = "fsmount", Fsopen = "fsopen", Fstat = "fstat", Fstatfs = "fstatfs",
    Getcwd = "getcwd", Getdents = "getdents64", Ioctl = "ioctl", Keyctl = "keyctl", Kill = "kill",
    Mkdir = "mkdirat", Mkfifo = "mkfifo", Mknod = "mknodat", Mount = "mount",
    MountSetattr = "mount_setattr", MoveMount = "move_mount", Open = "openat", Openat2 = "openat2",
    OpenTree = "open_tree", OpenTreeAttr = "open_tree_attr", Personality = "personality", PidfdGetfd = "pidfd_getfd", PidfdOpen = "pidfd_open",
    PidfdSendSignal = "pidfd_send_signal", Pipe = "pipe2", PivotRoot = "pivot_root",
    Poll = "poll", Prctl = "prctl", Prlimit = "prlimit64", Read = "read", Readlink = "readlinkat",
    Recvmsg = "recvmsg", Rename = "renameat", Rtnetlink = "rtnetlink", Rmdir = "unlinkat(AT_REMOVEDIR)",
    SchedSetaffinity = "sched_setaffinity", SchedSetattr = "sched_setattr", Seccomp = "seccomp", Sendmsg = "sendmsg",
    Setdomainname = "setdomainname", Setsockopt = "setsockopt", Setgroups = "setgroups", Sethostname = "sethostname",
    IoprioSet = "ioprio_set", Setns = "setns", Setresgid = "setresgid", Setresuid = "setresuid",
    Setsid = "setsid", Setxattr = "fsetxattr", Getxattr = "fgetxattr", Listxattr = "flistxattr", SetMempolicy = "set_mempolicy",
    Signalfd = "signalfd4", Sigprocmask = "rt_sigprocmask", Socket = "socket",
    Socketpair = "socketpair", Statx = "statx", Symlink = "symlinkat", Tcsetattr = "tcsetattr",
    Tcgetattr = "tcgetattr", Umount = "umount2", Unlink = "unlinkat", Unshare = "unshare", Utimens = "utimensat",
    Wait = "waitid", Write = "write",
}

/// A failed system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyscallError {
    /// Which call failed.
    pub call: Call,
    /// Its errno.
    pub errno: i32,
}

/// The result of a wrapper of this layer.
pub type Result<T> = std::result::Result<T, SyscallError>;

impl SyscallError {
    /// The error of `call` with `errno`.
    #[must_use]
    pub fn new(call: Call, errno: nix::errno::Errno) -> Self {
        Self { call, errno: errno as i32 }
    }

    /// The error of the call that just returned -1.
    #[must_use]
    pub fn last(call: Call) -> Self {
        Self { call, errno: nix::errno::Errno::last_raw() }
    }

    /// Two words for the frame between child and parent; [`SyscallError::from_wire`] reads them.
    #[must_use]
    pub fn to_wire(self) -> (u16, i32) {
        (self.call as u16, self.errno)
    }

    /// The error that [`SyscallError::to_wire`] wrote; `None` when the call is unknown.
    #[must_use]
    pub fn from_wire(call: u16, errno: i32) -> Option<Self> {
        Call::ALL.get(usize::from(call)).map(|&call| Self { call, errno })
    }

    /// Whether the kernel, or a filter before it, does not offer the call.
    #[must_use]
    pub fn is_unsupported(self) -> bool {
        matches!(self.errno, libc::ENOSYS | libc::EOPNOTSUPP)
    }

    /// Whether a privilege is missing.
    #[must_use]
    pub fn is_permission(self) -> bool {
        matches!(self.errno, libc::EPERM | libc::EACCES)
    }

    /// The errno's name, such as `EPERM`.
    #[must_use]
    pub fn errno_name(self) -> String {
        format!("{:?}", nix::errno::Errno::from_raw(self.errno))
    }
}

/// The text of an errno as the other runtimes print it, in lower case: callers match on it
/// (`no such file or directory`, `permission denied`).
#[must_use]
pub fn errno_text(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

impl fmt::Display for SyscallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.errno_name();
        write!(f, "{}: {name} ({})", self.call.name(), errno_text(self.errno))
    }
}

impl std::error::Error for SyscallError {}

/// Turns a nix result into ours, naming the call.
pub(crate) trait Named<T> {
    fn named(self, call: Call) -> Result<T>;
}

impl<T> Named<T> for nix::Result<T> {
    fn named(self, call: Call) -> Result<T> {
        self.map_err(|errno| SyscallError::new(call, errno))
    }
}

impl<T> Named<T> for rustix::io::Result<T> {
    fn named(self, call: Call) -> Result<T> {
        self.map_err(|errno| SyscallError { call, errno: errno.raw_os_error() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_call_and_errno_in_the_words_callers_match() {
        let error = SyscallError { call: Call::Mount, errno: libc::EPERM };
        assert_eq!(error.to_string(), "mount: EPERM (operation not permitted)");
        assert_eq!(errno_text(libc::ENOENT), "no such file or directory");
        assert_eq!(errno_text(libc::EACCES), "permission denied");
    }

    #[test]
    fn survives_the_wire() {
        for &call in Call::ALL {
            let error = SyscallError { call, errno: 13 };
            let (wire_call, errno) = error.to_wire();
            assert_eq!(SyscallError::from_wire(wire_call, errno), Some(error));
        }
        assert_eq!(SyscallError::from_wire(u16::MAX, 1), None);
    }
}
