//! ptrace(2) as far as a stepper of system calls needs it: where a process stops, and what becomes of its call.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Why a traced thread has stopped, or that it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is about to make the call of this number.
    Entry(i64),
    /// Its call is over.
    Exit,
    /// It has become another program.
    Executed,
    /// A signal is to be delivered to it.
    Signal(i32),
    /// It has made a child, of this pid.
    Child(i32),
    /// It has ended; the wait status as the kernel gives it.
    Ended(i32),
}

/// Starts a command that this thread traces, with all that it starts: it stops at the first instruction of its
/// program. Gives its pid.
///
/// # Errors
/// The command cannot be started, or the errno of a call.
pub fn spawn(command: &mut Command) -> io::Result<i32> {
    let traced = || match request(libc::PTRACE_TRACEME, 0, 0, 0) {
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    // SAFETY: between fork and exec only one system call is made; it allocates nothing and takes no lock.
    let pid = unsafe { command.pre_exec(traced) }.spawn()?.id().cast_signed();
    let (stopped, stop) = wait(Some(pid))?;
    if stopped != pid || stop != Stop::Signal(libc::SIGTRAP) {
        return Err(io::Error::other(format!("the first stop of {pid} is {stop:?} of {stopped}")));
    }
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC;
    request(libc::PTRACE_SETOPTIONS, pid, 0, i64::from(options))?;
    Ok(pid)
}

/// Waits for the next stop or end of a thread that this thread traces, or of the given one.
///
/// # Errors
/// ECHILD when there is none.
pub fn wait(pid: Option<i32>) -> io::Result<(i32, Stop)> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: the pointer is to a live, writable integer.
    let stopped = unsafe { libc::waitpid(pid.unwrap_or(-1), &raw mut status, flags) };
    if stopped < 0 {
        return Err(io::Error::last_os_error());
    }
    if !libc::WIFSTOPPED(status) {
        return Ok((stopped, Stop::Ended(status)));
    }
    let stop = match (libc::WSTOPSIG(status), status >> 16) {
        (libc::SIGTRAP, libc::PTRACE_EVENT_EXEC) => Stop::Executed,
        (libc::SIGTRAP, 1..) => Stop::Child(child_of(stopped)?),
        (signal, _) if signal == libc::SIGTRAP | 0x80 => call_of(stopped)?,
        (signal, _) => Stop::Signal(signal),
    };
    Ok((stopped, stop))
}

fn child_of(pid: i32) -> io::Result<i32> {
    let mut child: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, pid, 0, (&raw mut child) as i64)?;
    i32::try_from(child).map_err(io::Error::other)
}

fn call_of(pid: i32) -> io::Result<Stop> {
    // SAFETY: an all-zero structure is a valid value of the type; the call overwrites it.
    let mut seen: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = i64::try_from(size_of_val(&seen)).unwrap_or(0);
    let place = (&raw mut seen) as i64;
    request(libc::PTRACE_GET_SYSCALL_INFO, pid, size, place)?;
    if seen.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(Stop::Exit);
    }
    // SAFETY: at an entry, this member is the one that the kernel filled.
    let number = unsafe { seen.u.entry.nr };
    Ok(Stop::Entry(number.cast_signed()))
}

/// Lets a stopped thread go on to its next stop, with a signal where `signal` is not 0.
///
/// # Errors
/// ESRCH when it was killed meanwhile.
pub fn go_on(pid: i32, signal: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, pid, 0, i64::from(signal)).map(drop)
}

/// Lets a stopped thread go for good.
///
/// # Errors
/// ESRCH when it was killed meanwhile.
pub fn let_go(pid: i32) -> io::Result<()> {
    request(libc::PTRACE_DETACH, pid, 0, 0).map(drop)
}

/// At the entry of a call: it is not made.
///
/// # Errors
/// ESRCH when the thread was killed meanwhile.
#[cfg(target_arch = "x86_64")]
pub fn skip_call(pid: i32) -> io::Result<()> {
    const ORIG_RAX: i64 = 15 * 8;
    request(libc::PTRACE_POKEUSER, pid, ORIG_RAX, -1).map(drop)
}

/// At the exit of a call: it gives this errno.
///
/// # Errors
/// ESRCH when the thread was killed meanwhile.
#[cfg(target_arch = "x86_64")]
pub fn answer_call(pid: i32, errno: i32) -> io::Result<()> {
    const RAX: i64 = 10 * 8;
    request(libc::PTRACE_POKEUSER, pid, RAX, -i64::from(errno)).map(drop)
}

/// Where nothing is known of the registers: no call can be made to fail.
///
/// # Errors
/// ENOSYS.
#[cfg(not(target_arch = "x86_64"))]
pub fn skip_call(_: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// As [`skip_call`].
///
/// # Errors
/// ENOSYS.
#[cfg(not(target_arch = "x86_64"))]
pub fn answer_call(_: i32, _: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

fn request(kind: libc::c_uint, pid: i32, address: i64, data: i64) -> io::Result<i64> {
    // SAFETY: of the requests above two write to this process's memory, at `data`: PTRACE_GETEVENTMSG a long,
    // PTRACE_GET_SYSCALL_INFO at most `address` bytes. Their callers have it from a live value of that size.
    match unsafe { libc::ptrace(kind, pid, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}
