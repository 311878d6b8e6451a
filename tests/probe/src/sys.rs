//! The probe's only unsafe code: calls that std does not offer, as plain functions.
#![allow(unsafe_code, reason = "the one door from the probe to the kernel")]

use std::ffi::CString;
use std::io;

/// Makes the system call `number` with the given arguments and returns its value or errno.
///
/// The tests call only numbers whose arguments are plain integers, so that no pointer is made up.
pub(crate) fn syscall(number: i64, args: [i64; 6]) -> Result<i64, i32> {
    // SAFETY: the numbers the tests pass take integers; a kernel that reads one as an address
    // answers EFAULT, because the integers are small and the first page is never mapped.
    let result =
        unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 { Err(errno()) } else { Ok(result) }
}

/// Soft and hard limit of one resource, by the kernel's number.
pub(crate) fn rlimit(resource: u32) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, writable value of the type that the call fills.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    (limit.rlim_cur, limit.rlim_max)
}

/// The domain name of the UTS namespace.
pub(crate) fn domainname() -> String {
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length describe one live buffer.
    unsafe { libc::getdomainname(buffer.as_mut_ptr().cast(), buffer.len()) };
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// Whether a file descriptor is a terminal.
pub(crate) fn isatty(fd: i32) -> bool {
    // SAFETY: the call takes a number and reads no memory of ours.
    unsafe { libc::isatty(fd) == 1 }
}

/// Sends a signal to the calling process.
pub(crate) fn raise(signal: i32) {
    // SAFETY: the call takes a number; the default action is what the test asks for.
    unsafe { libc::raise(signal) };
}

/// Makes a child that waits for ever; its pid or errno.
pub(crate) fn fork_sleeper() -> Result<i32, i32> {
    // SAFETY: the process has one thread; the child only calls pause.
    match unsafe { libc::fork() } {
        -1 => Err(errno()),
        0 => loop {
            // SAFETY: pause takes no argument.
            unsafe { libc::pause() };
        },
        pid => Ok(pid),
    }
}

/// Makes a device node.
pub(crate) fn mknod(path: &str, mode: u32, device: u64) -> Result<(), i32> {
    let path = CString::new(path).map_err(|_| libc::EINVAL)?;
    // SAFETY: `path` is NUL-terminated and lives until the call returns.
    if unsafe { libc::mknod(path.as_ptr(), mode, device) } == -1 { Err(errno()) } else { Ok(()) }
}

/// The terminal's size in rows and columns.
pub(crate) fn window_size(fd: i32) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills exactly one winsize.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0).then_some((size.ws_row, size.ws_col))
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Makes a system call by the door of 32-bit programs; the answer is negative for an errno.
#[cfg(target_arch = "x86_64")]
pub(crate) fn syscall_of_32_bits(number: i32, argument: i32) -> i32 {
    let answer: i32;
    // SAFETY: the number and the argument are integers, as for `syscall`; the kernel keeps all registers but
    // the answer's, and rbx, which the compiler may need, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {argument:e}, ebx",
            "int 0x80",
            "xchg {argument:e}, ebx",
            argument = inout(reg) argument => _,
            inout("eax") number => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}
