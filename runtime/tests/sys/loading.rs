//! Loading a filter in a child, and calls that the filter may refuse.
#![allow(unsafe_code, reason = "fork, seccomp and the 32-bit entry have no safe wrapper")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use keel::seccomp::Filter;

/// What a child saw that loaded `filter` and then did `action`: its exit status, or minus its signal.
pub(crate) fn child(filter: &Filter, action: impl Fn() -> i64) -> i32 {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.program.len()).unwrap(),
        filter: filter.program.as_ptr().cast_mut().cast(),
    };
    let mut status = 0;
    // SAFETY: the child makes system calls only and leaves by _exit; `program` points to
    // instructions that live until then and have the layout of `struct sock_filter`.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork");
        if pid == 0 {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let loaded = libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                filter.flags,
                &raw const program,
            );
            let code = if loaded == 0 { action() } else { 200 };
            libc::syscall(libc::SYS_exit_group, code);
        }
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// The errno of a call, 0 when it succeeds.
pub(crate) fn errno_of(number: i64, first: u64) -> i64 {
    // SAFETY: only calls that take no pointers, or refuse null ones, are made here.
    let result = unsafe { libc::syscall(number, first, 0, 0, 0, 0, 0) };
    if result >= 0 {
        0
    } else {
        i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

/// getpid(2) through the 32-bit entry.
pub(crate) fn getpid_32() -> i64 {
    let result: i64;
    // SAFETY: number 20 takes no arguments; the entry may clobber r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    i64::from(result <= 0)
}
