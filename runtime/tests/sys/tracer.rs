//! Reading back the filter that another process has loaded.
#![allow(unsafe_code, reason = "ptrace has no safe wrapper")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use keel::seccomp::SockFilter;

/// The only filter of process `pid`, as it was loaded (needs `CONFIG_CHECKPOINT_RESTORE`).
pub(crate) fn loaded_filter(pid: i32) -> Vec<SockFilter> {
    const GET_FILTER: libc::c_uint = 0x420c;
    let mut program = vec![SockFilter { code: 0, jt: 0, jf: 0, k: 0 }; 4096];
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: SEIZE, INTERRUPT and DETACH take no memory of ours; GET_FILTER writes at most 4096
    // instructions, the kernel's limit, and `program` has room for so many.
    let length = unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, null, null), 0, "PTRACE_SEIZE");
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, null, null), 0, "PTRACE_INTERRUPT");
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid, "waitpid");
        let length = libc::ptrace(GET_FILTER, pid, null, program.as_mut_ptr());
        libc::ptrace(libc::PTRACE_DETACH, pid, null, null);
        length
    };
    assert!(length > 0, "PTRACE_SECCOMP_GET_FILTER: {}", std::io::Error::last_os_error());
    program.truncate(usize::try_from(length).unwrap());
    program
}
