//! What stops a step of a plan: a system call that failed, or a finding that makes going on unsafe.

use std::fmt;

use crate::sys::error::SyscallError;
use crate::sys::mount;
use crate::sys::process::Ended;

macro_rules! findings {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// Something that is not as it must be, though no system call failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Finding {
            $(#[doc = $text] $variant,)*
        }

        impl Finding {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The finding in words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

findings! {
    OnProcfs = "the destination lies on procfs, where only known files may be covered",
    NotOrdinaryDirectory = "must be mounted on ordinary directory, but a component is a symbolic link or no directory",
    IsRoot = "the destination is the rootfs itself",
    OtherFileExists = "another file is already there",
    NotNull = "/dev/null of the host is not the null device",
    NotTerminal = "what the container's ptmx opens is no pseudo-terminal",
    WrongNamespace = "the file is no namespace of this type",
    OutsideRoot = "the working directory is outside of the rootfs",
    CommandNotFound = "executable file not found in $PATH",
    PathTooLong = "the path is too long",
    ParentGone = "the parent process ended",
    HookTimeout = "a hook took longer than its timeout",
    NotProcfs = "/proc of the host is not procfs",
    NoNetDevice = "there is no network device of this name on the host",
    NetDeviceExists = "a network device of this name is in the container's network namespace already (file exists)",
    SameNetwork = "the container's network namespace is the host's",
    NotOfProc = "it cannot be mounted on /proc because it is not of type proc",
    TooDeep = "directories are nested too deeply to be copied",
    NoWayBack = "this process's own namespace belongs to a user namespace above its own",
    HostNamespace = "it is not allowed in the host's namespace, which the config names as the container's",
}

/// Why a step did not succeed. Small and plain, so that it crosses from the child to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A system call failed.
    Syscall(SyscallError),
    /// Something is not as it must be.
    Found(Finding),
    /// These attributes of a mount (`MOUNT_ATTR_*`) are locked: it comes from a mount namespace of another
    /// user namespace, and only there they may be changed (mount_namespaces(7)).
    Locked(u32),
    /// A program that had to succeed ended otherwise.
    Ended(Ended),
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<SyscallError> for Failure {
    fn from(error: SyscallError) -> Self {
        Self::Syscall(error)
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        Self::Found(finding)
    }
}

impl Failure {
    /// Three words for a frame: 0 and the call's number and errno, 1 and the finding's number, 2 and
    /// the locked attributes, or 3, whether it was a signal, and the status or signal.
    #[must_use]
    pub fn to_wire(self) -> (u16, u16, i32) {
        match self {
            Self::Syscall(error) => {
                let (call, errno) = error.to_wire();
                (0, call, errno)
            }
            Self::Found(finding) => (1, finding as u16, 0),
            Self::Locked(attributes) => (2, 0, attributes.cast_signed()),
            Self::Ended(Ended::Exited(status)) => (3, 0, status),
            Self::Ended(Ended::Signaled(signal)) => (3, 1, signal),
        }
    }

    /// Reads what [`Failure::to_wire`] wrote.
    #[must_use]
    pub fn from_wire(kind: u16, number: u16, errno: i32) -> Option<Self> {
        match kind {
            0 => SyscallError::from_wire(number, errno).map(Self::Syscall),
            1 => Finding::ALL.get(usize::from(number)).copied().map(Self::Found),
            2 => Some(Self::Locked(errno.cast_unsigned())),
            3 if number == 0 => Some(Self::Ended(Ended::Exited(errno))),
            3 if number == 1 => Some(Self::Ended(Ended::Signaled(errno))),
            _ => None,
        }
    }

    /// The errno, where there was one.
    #[must_use]
    pub fn errno(self) -> Option<i32> {
        match self {
            Self::Syscall(error) => Some(error.errno),
            Self::Found(_) | Self::Locked(_) | Self::Ended(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syscall(error) => error.fmt(f),
            Self::Found(finding) => f.write_str(finding.text()),
            Self::Locked(attributes) => {
                f.write_str("operation not permitted: cannot clear locked flags")?;
                let names = LOCKABLE.iter().filter(|(bit, _)| u64::from(*attributes) & bit != 0);
                names.into_iter().try_for_each(|(_, name)| write!(f, " {name}"))
            }
            Self::Ended(Ended::Exited(status)) => write!(f, "exit status {status}"),
            Self::Ended(Ended::Signaled(signal)) => write!(f, "signal: {}", signal_text(*signal)),
        }
    }
}

/// Attributes that can be locked, as the options of a mount name them.
const LOCKABLE: [(u64, &str); 7] = [
    (mount::ATTR_RDONLY, "ro"),
    (mount::ATTR_NOSUID, "nosuid"),
    (mount::ATTR_NODEV, "nodev"),
    (mount::ATTR_NOEXEC, "noexec"),
    (mount::ATTR_NOATIME, "noatime"),
    (mount::ATTR_NODIRATIME, "nodiratime"),
    (mount::ATTR_RELATIME_LOCKED, "relatime"),
];

impl std::error::Error for Failure {}

/// What a signal says, in the words of signal(7) that Go's programs use too.
fn signal_text(signal: i32) -> String {
    let known = match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGSYS => "bad system call",
        other => return other.to_string(),
    };
    known.to_owned()
}

/// The field of the config that a step comes from: `mounts[3]`, or a fixed phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    field: &'static str,
    index: Option<u32>,
}

impl Origin {
    /// A field that is there once.
    #[must_use]
    pub const fn field(field: &'static str) -> Self {
        Self { field, index: None }
    }

    /// An element of a list.
    #[must_use]
    pub fn item(field: &'static str, index: usize) -> Self {
        Self { field, index: u32::try_from(index).ok() }
    }

    /// The field, and the index in it where it is a list.
    #[must_use]
    pub fn parts(self) -> (&'static str, Option<u32>) {
        (self.field, self.index)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        for &finding in Finding::ALL {
            let (kind, number, errno) = Failure::Found(finding).to_wire();
            assert_eq!(Failure::from_wire(kind, number, errno), Some(Failure::Found(finding)));
        }
        let locked = Failure::Locked(0x8000_0005);
        let (kind, number, errno) = locked.to_wire();
        assert_eq!(Failure::from_wire(kind, number, errno), Some(locked));
        assert_eq!(
            locked.to_string(),
            "operation not permitted: cannot clear locked flags ro nodev"
        );
        for ended in [Ended::Exited(255), Ended::Signaled(9)] {
            let (kind, number, status) = Failure::Ended(ended).to_wire();
            assert_eq!(Failure::from_wire(kind, number, status), Some(Failure::Ended(ended)));
        }
        assert_eq!(Failure::from_wire(3, 2, 0), None);
        assert_eq!(Failure::from_wire(4, 0, 0), None);
        assert_eq!(Failure::from_wire(1, u16::MAX, 0), None);
    }

    #[test]
    fn names_the_field() {
        assert_eq!(Origin::item("mounts", 3).to_string(), "mounts[3]");
        assert_eq!(Origin::field("process.cwd").to_string(), "process.cwd");
    }
}
