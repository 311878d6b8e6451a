//! Making, watching, limiting and replacing processes.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use super::error::{Call, Named, Result, SyscallError};
use super::namespace::Kind;
use super::open::adopt;

/// What clone3(2) is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone3<'fd> {
    /// New namespaces, as `CLONE_NEW*` flags.
    pub namespaces: Kind,
    /// A cgroup v2 directory to start in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'fd>>,
    /// The child is one of this process's parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// A child as its parent holds it.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the parent's pid namespace.
    pub pid: i32,
    /// A descriptor that stays with this very process, whatever happens to its number.
    pub pidfd: OwnedFd,
}

/// clone3(2) without a new stack, as fork(2) does: the child sees a copy of this memory, has default
/// signal handlers, runs `child`, and ends with the status that it gives.
///
/// The other threads of this process do not exist in the child, and locks they held stay held: so
/// `child` may call what this layer offers and walk memory made before, but must not allocate, lock
/// or unwind.
///
/// # Errors
/// The errno of the call.
pub fn clone3(options: &Clone3<'_>, child: impl FnOnce() -> i32) -> Result<Child> {
    // Known to the kernel since 5.5 and 5.7; both are wider than the C library's int constants.
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const CLONE_PIDFD: u64 = 0x1000;
    const CLONE_PARENT: u64 = 0x8000;
    // One field for each of `struct clone_args`, version 2.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = Arguments {
        flags: options.namespaces | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..Arguments::default()
    };
    if options.sibling {
        // Its parent is told of its end as it is told of ours.
        arguments.flags |= CLONE_PARENT;
        arguments.exit_signal = 0;
    }
    if let Some(cgroup) = options.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the arguments live through the call and their size is passed; without CLONE_VM the
    // child has its own copy of this stack, so both may return from the call.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<Arguments>()) };
    match i32::try_from(result) {
        Ok(0) => exit_now(child()),
        Ok(pid) if pid > 0 => Ok(Child { pid, pidfd: adopt(pidfd) }),
        _ => Err(SyscallError::last(Call::Clone3)),
    }
}

/// Ends this process at once: no destructors, no handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit never returns and touches nothing of this program.
    unsafe { libc::_exit(status) }
}

/// Strings for execve(2): NUL-terminated, with the array of pointers the call wants. Made before a
/// clone, used after it.
pub struct ExecStrings {
    strings: Vec<Box<[u8]>>,
    pointers: Vec<*const c_char>,
}

impl ExecStrings {
    /// Takes the strings in order. Bytes from a NUL on are not seen by the kernel.
    pub fn new<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Self {
        let terminated = |text: S| [text.as_ref(), b"\0"].concat().into_boxed_slice();
        Self::from_terminated(strings.into_iter().map(terminated).collect())
    }

    /// Takes the strings in order, and keeps room for one more of up to `capacity` bytes, which
    /// [`ExecStrings::fill_spare`] may set where memory can no longer be had.
    pub fn with_spare<S: AsRef<[u8]>>(
        strings: impl IntoIterator<Item = S>,
        capacity: usize,
    ) -> Self {
        let mut all = Self::new(strings);
        all.strings.push(vec![0; capacity + 1].into_boxed_slice());
        all
    }

    fn from_terminated(strings: Vec<Box<[u8]>>) -> Self {
        let mut pointers: Vec<*const c_char> = strings.iter().map(|s| s.as_ptr().cast()).collect();
        // One null ends the array; the other keeps the place of the spare string.
        pointers.extend([ptr::null(), ptr::null()]);
        Self { strings, pointers }
    }

    /// Puts `parts` together into the spare string and appends it to the array. False when it does
    /// not fit or there is no spare string. Allocates nothing.
    pub fn fill_spare(&mut self, parts: &[&[u8]]) -> bool {
        let Some(end) = self.pointers.iter().position(|pointer| pointer.is_null()) else {
            return false;
        };
        let Some(spare) = self.strings.get_mut(end) else { return false };
        let mut at = 0;
        for part in parts {
            let Some(room) = spare.get_mut(at..at + part.len()) else { return false };
            room.copy_from_slice(part);
            at += part.len();
        }
        if at >= spare.len() {
            return false;
        }
        spare[at] = 0;
        self.pointers[end] = spare.as_ptr().cast();
        true
    }

    /// The strings without their end marks.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.strings.iter().map(|s| s.split(|b| *b == 0).next().unwrap_or_default())
    }
}

// SAFETY: the pointers point into `strings`, whose boxes never move and are changed only through
// `&mut self`.
unsafe impl Send for ExecStrings {}
// SAFETY: as for Send.
unsafe impl Sync for ExecStrings {}

impl std::fmt::Debug for ExecStrings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

/// execve(2). Returns only on failure.
#[must_use]
pub fn execve(path: &CStr, arguments: &ExecStrings, environment: &ExecStrings) -> SyscallError {
    // SAFETY: path and both arrays are NUL-terminated and live through the call.
    unsafe {
        libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr())
    };
    SyscallError::last(Call::Execve)
}

/// execveat(2) of what `file` refers to. Returns only on failure.
#[must_use]
pub fn execveat(
    file: impl AsFd,
    arguments: &ExecStrings,
    environment: &ExecStrings,
) -> SyscallError {
    // SAFETY: both arrays are NUL-terminated and live through the call; the path is empty.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    SyscallError::last(Call::Execveat)
}

/// pidfd_open(2).
///
/// # Errors
/// One for which [`names_no_process`] holds when there is no such process.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid)
        .ok_or(SyscallError { call: Call::PidfdOpen, errno: libc::ESRCH })?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).named(Call::PidfdOpen)
}

/// Does an error of [`pidfd_open`] say that the number is no process's? ESRCH does, EINVAL of one that is being reaped,
/// and EINVAL, in newer kernels ENOENT, of one that is a thread's.
#[must_use]
pub fn names_no_process(error: &SyscallError) -> bool {
    matches!(error.errno, libc::ESRCH | libc::EINVAL | libc::ENOENT)
}

/// pidfd_send_signal(2).
///
/// # Errors
/// ESRCH when the process has ended and was waited for; EPERM.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: the descriptor is open; a null siginfo means "as kill(2)".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::PidfdSendSignal)) }
}

/// pidfd_getfd(2): a copy of the descriptor that the process has under this number, close-on-exec.
///
/// # Errors
/// EPERM when this process may not trace the other, EBADF when it has no such descriptor.
pub fn pidfd_getfd(pidfd: impl AsFd, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: takes integers only.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) };
    let fd = i32::try_from(result).ok().filter(|fd| *fd >= 0);
    fd.map(adopt).ok_or_else(|| SyscallError::last(Call::PidfdGetfd))
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with a status.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

impl Ended {
    /// The status a shell shows: the exit status, or 128 and the signal.
    #[must_use]
    pub fn shell_status(self) -> i32 {
        match self {
            Self::Exited(status) => status,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Waits for a child through its pidfd: waitid(2), `P_PIDFD`. Blocks; poll the pidfd first where
/// that must not be.
///
/// # Errors
/// ECHILD when it is not a child of this process; EINTR is tried again.
pub fn wait_child(pidfd: impl AsFd) -> Result<Ended> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(SyscallError::new(Call::Wait, errno)),
            Ok(WaitStatus::Exited(_, status)) => return Ok(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Signaled(signal as i32)),
            Ok(_) => {}
        }
    }
}

/// Reaps every child that has already ended, but for `keep`: what a subreaper owes its orphans.
pub fn reap_others(keep: i32) {
    loop {
        // SAFETY: an all-zero siginfo is a valid value to be filled.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` lives through the call.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) };
        // SAFETY: filled by waitid, or still zero.
        let pid = unsafe { info.si_pid() };
        if result != 0 || pid == 0 || pid == keep {
            return;
        }
        // SAFETY: reaps exactly the child just seen; the status is not wanted.
        unsafe { libc::waitpid(pid, ptr::null_mut(), libc::WNOHANG) };
    }
}

/// What poll(2) watches: a descriptor, and whether for writing.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'fd> {
    /// The descriptor; `None` keeps the place but watches nothing.
    pub fd: Option<BorrowedFd<'fd>>,
    /// The `POLL*` events to wait for; errors and hang-ups always count.
    pub events: i16,
}

/// poll(2) on up to eight descriptors; the events that came, 0 for none. `timeout_ms` < 0 waits for
/// ever.
///
/// # Errors
/// The errno of the call; EINTR is tried again with the whole timeout.
pub fn poll<const N: usize>(watches: [Watch<'_>; N], timeout_ms: i32) -> Result<[i16; N]> {
    let mut fds = watches.map(|watch| libc::pollfd {
        fd: watch.fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: watch.events,
        revents: 0,
    });
    loop {
        // SAFETY: the array lives through the call and its length is passed.
        let result = unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, timeout_ms) };
        if result >= 0 {
            return Ok(fds.map(|fd| fd.revents));
        }
        if nix::errno::Errno::last_raw() != libc::EINTR {
            return Err(SyscallError::last(Call::Poll));
        }
    }
}

/// Waits until `fd` is readable, or hung up, for at most `timeout_ms` (< 0: for ever). False when
/// time ran out.
///
/// # Errors
/// The errno of poll(2).
pub fn wait_readable(fd: impl AsFd, timeout_ms: i32) -> Result<bool> {
    let watch = Watch { fd: Some(fd.as_fd()), events: libc::POLLIN };
    Ok(poll([watch], timeout_ms)?[0] != 0)
}

/// prlimit64(2): sets a resource limit of another process.
///
/// # Errors
/// The errno of the call.
pub fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure lives through the call; the old limit is not asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            ptr::null::<libc::rlimit64>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Prlimit)) }
}

/// setsid(2). A process that already leads a session is left as it is.
///
/// # Errors
/// Never in a fresh child; the errno of the call otherwise.
pub fn setsid() -> Result<()> {
    nix::unistd::setsid().map(drop).named(Call::Setsid)
}

/// This process's id.
#[must_use]
pub fn getpid() -> i32 {
    // The raw call: the C library's may answer from before a clone.
    // SAFETY: takes nothing, cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    i32::try_from(pid).unwrap_or(0)
}

/// The effective user id.
#[must_use]
pub fn geteuid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The effective user id that this program was started with: `AT_EUID` of getauxval(3), which costs no
/// system call. For what happens before anything may have changed it.
#[must_use]
pub fn euid_at_start() -> u32 {
    // SAFETY: reads what the kernel put on the stack at execve(2).
    let uid = unsafe { libc::getauxval(libc::AT_EUID) };
    u32::try_from(uid).unwrap_or(u32::MAX)
}

/// The effective group id.
#[must_use]
pub fn getegid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// chdir(2).
///
/// # Errors
/// The errno of the call.
pub fn chdir(path: &CStr) -> Result<()> {
    nix::unistd::chdir(path).named(Call::Chdir)
}

/// fchdir(2).
///
/// # Errors
/// The errno of the call.
pub fn fchdir(dir: impl AsFd) -> Result<()> {
    nix::unistd::fchdir(dir).named(Call::Fchdir)
}

/// chroot(2) into the working directory.
///
/// # Errors
/// The errno of the call.
pub fn chroot_here() -> Result<()> {
    nix::unistd::chroot(c".").named(Call::Chroot)
}

/// Whether the working directory can be named from the root directory: getcwd(2) as the kernel
/// answers it, which marks what lies outside with a leading `(unreachable)`.
///
/// # Errors
/// The errno of the call.
pub fn working_directory_is_reachable() -> Result<bool> {
    let mut buffer = [0_u8; 4096 + 16];
    // SAFETY: the buffer is valid for writes of its own length. The raw call, since the C library
    // would replace an unreachable answer by an error or another search.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if length < 0 {
        return Err(SyscallError::last(Call::Getcwd));
    }
    Ok(buffer[0] == b'/')
}

/// umask(2).
pub fn set_umask(mask: u32) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
}

/// sethostname(2).
///
/// # Errors
/// The errno of the call.
pub fn sethostname(name: &CStr) -> Result<()> {
    // SAFETY: pointer and length describe the bytes of the string.
    match unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::Sethostname)),
    }
}

/// setdomainname(2).
///
/// # Errors
/// The errno of the call.
pub fn setdomainname(name: &CStr) -> Result<()> {
    // SAFETY: pointer and length describe the bytes of the string.
    match unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::Setdomainname)),
    }
}

/// Scheduling attributes, as sched_setattr(2) takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SchedulingAttributes {
    /// Size of this structure in bytes; set by the wrapper.
    pub size: u32,
    /// `SCHED_*` policy.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value, for OTHER and BATCH.
    pub nice: i32,
    /// Static priority, for FIFO and RR.
    pub priority: u32,
    /// Runtime in nanoseconds, for DEADLINE.
    pub runtime: u64,
    /// Deadline in nanoseconds, for DEADLINE.
    pub deadline: u64,
    /// Period in nanoseconds, for DEADLINE.
    pub period: u64,
}

/// sched_setattr(2) of this thread.
///
/// # Errors
/// The errno of the call.
pub fn sched_setattr(attributes: SchedulingAttributes) -> Result<()> {
    let size = u32::try_from(size_of::<SchedulingAttributes>()).unwrap_or(0);
    let attributes = SchedulingAttributes { size, ..attributes };
    // SAFETY: the structure lives through the call and carries its size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::SchedSetattr)) }
}

/// sched_setaffinity(2) of this thread; bit n%64 of word n/64 stands for processor n. Processors that the
/// kernel does not have are passed over.
///
/// # Errors
/// EINVAL when none of the processors may be used.
pub fn sched_setaffinity(mask: &[u64]) -> Result<()> {
    // SAFETY: pointer and length describe the mask, which on 64-bit machines is of the kernel's words.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::SchedSetaffinity)) }
}

/// set_mempolicy(2) of this thread; bit n%64 of word n/64 stands for node n.
///
/// # Errors
/// EINVAL when the kernel does not know the mode or a flag, or no node may be used.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (mask, bits) = match nodes {
        [] => (ptr::null(), 0),
        // The kernel looks at one bit less than it is told.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask, when there is one, has as many bits as the kernel reads.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::SetMempolicy)) }
}
