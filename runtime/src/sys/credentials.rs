//! Who a process is and what it may do: ids, capabilities, no_new_privs, seccomp, keyring.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use super::error::{Call, Named, Result, SyscallError};
use super::open::adopt;

/// setresuid(2), all three ids.
///
/// # Errors
/// The errno of the call.
pub fn setresuid(uid: u32) -> Result<()> {
    // The raw call changes this thread only, which in a child after clone is the whole process; the
    // C library's function would signal threads that do not exist here.
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Setresuid)) }
}

/// setresgid(2), all three ids.
///
/// # Errors
/// The errno of the call.
pub fn setresgid(gid: u32) -> Result<()> {
    // SAFETY: takes integers only; see `setresuid` for why the raw call.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Setresgid)) }
}

/// setgroups(2).
///
/// # Errors
/// The errno of the call.
pub fn setgroups(gids: &[u32]) -> Result<()> {
    // SAFETY: the pointer and the length describe one slice of 32-bit ids.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Setgroups)) }
}

/// Numbers of capabilities that are asked for by themselves (capabilities(7)).
pub const CAP_SYS_ADMIN: u32 = 21;
/// See [`CAP_SYS_ADMIN`].
pub const CAP_SYS_RESOURCE: u32 = 24;

/// Capability sets as bit masks, bit n for capability n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    /// The bounding set.
    pub bounding: u64,
    /// The effective set.
    pub effective: u64,
    /// The inheritable set.
    pub inheritable: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The ambient set.
    pub ambient: u64,
}

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[allow(clippy::cast_possible_truncation)]
fn halves(mask: u64) -> [u32; 2] {
    [mask as u32, (mask >> 32) as u32]
}

/// capset(2) of this thread.
///
/// # Errors
/// The errno of the call.
pub fn capset(sets: &CapabilitySets) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let effective = halves(sets.effective);
    let permitted = halves(sets.permitted);
    let inheritable = halves(sets.inheritable);
    let data = [0, 1].map(|half: usize| Data {
        effective: effective[half],
        permitted: permitted[half],
        inheritable: inheritable[half],
    });
    // SAFETY: version 3 takes a header and two data structures, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Capset)) }
}

/// The effective and permitted sets of this thread: capget(2), as (effective, permitted).
///
/// # Errors
/// The errno of the call.
pub fn capget() -> Result<(u64, u64)> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 fills two data structures, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if result != 0 {
        return Err(SyscallError::last(Call::Capset));
    }
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok((join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted)))
}

fn prctl(option: libc::c_int, argument: libc::c_ulong, second: libc::c_ulong) -> Result<i32> {
    // SAFETY: only called with options whose arguments are integers.
    let result = unsafe { libc::prctl(option, argument, second, 0, 0) };
    if result >= 0 { Ok(result) } else { Err(SyscallError::last(Call::Prctl)) }
}

/// Removes one capability from the bounding set: prctl(2), `PR_CAPBSET_DROP`.
///
/// # Errors
/// EINVAL when the kernel does not know the capability; EPERM without CAP_SETPCAP.
pub fn drop_bounding(capability: u8) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, capability.into(), 0).map(drop)
}

/// Adds one capability to the ambient set: prctl(2), `PR_CAP_AMBIENT_RAISE`.
///
/// # Errors
/// EPERM when it is not both permitted and inheritable.
pub fn raise_ambient(capability: u8) -> Result<()> {
    const RAISE: libc::c_ulong = 2;
    prctl(libc::PR_CAP_AMBIENT, RAISE, capability.into()).map(drop)
}

/// Empties the ambient set.
///
/// # Errors
/// The errno of the call.
pub fn clear_ambient() -> Result<()> {
    const CLEAR_ALL: libc::c_ulong = 4;
    prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0).map(drop)
}

/// Whether permitted capabilities survive leaving uid 0.
///
/// # Errors
/// The errno of the call.
pub fn set_keep_capabilities(on: bool) -> Result<()> {
    nix::sys::prctl::set_keepcaps(on).named(Call::Prctl)
}

/// Sets no_new_privs for good.
///
/// # Errors
/// The errno of the call.
pub fn set_no_new_privileges() -> Result<()> {
    nix::sys::prctl::set_no_new_privs().named(Call::Prctl)
}

/// Whether other processes of the same user may look into this one (`PR_SET_DUMPABLE`).
///
/// # Errors
/// The errno of the call.
pub fn set_dumpable(on: bool) -> Result<()> {
    nix::sys::prctl::set_dumpable(on).named(Call::Prctl)
}

/// Names this process for `ps`; at most 15 bytes count.
///
/// # Errors
/// The errno of the call.
pub fn set_name(name: &CStr) -> Result<()> {
    nix::sys::prctl::set_name(name).named(Call::Prctl)
}

/// Makes orphans below this process its children.
///
/// # Errors
/// The errno of the call.
pub fn set_child_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).named(Call::Prctl)
}

/// One instruction of classic BPF: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump when true.
    pub jt: u8,
    /// Jump when false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the filter's calls that notify are answered over a descriptor.
pub const SECCOMP_NEW_LISTENER: u32 = 1 << 3;

/// seccomp(2), `SECCOMP_SET_MODE_FILTER`. Gives the listener when the flags ask for one; it is
/// close-on-exec.
///
/// # Errors
/// The errno of the call.
pub fn seccomp_set_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Instruction,
    }
    let length = u16::try_from(program.len())
        .map_err(|_| SyscallError { call: Call::Seccomp, errno: libc::EINVAL })?;
    let program = Program { length, filter: program.as_ptr() };
    // SAFETY: the structure is `struct sock_fprog` and points to `length` instructions; the kernel
    // copies them during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => Ok((flags & SECCOMP_NEW_LISTENER != 0).then(|| adopt(fd))),
        _ => Err(SyscallError::last(Call::Seccomp)),
    }
}

/// Joins a new session keyring named `name`: keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`. Returns its
/// serial number.
///
/// # Errors
/// The errno of the call; ENOSYS where the kernel has no keyrings.
pub fn join_session_keyring(name: &CStr) -> Result<i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name is NUL-terminated and only read.
    let serial =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    i32::try_from(serial).ok().filter(|s| *s >= 0).ok_or_else(|| SyscallError::last(Call::Keyctl))
}

/// Lets the processes of this user search the keyring: the permissions get `UserSearch`, as runc
/// does it, so that a process that drops to another uid still finds the session's keys.
///
/// # Errors
/// The errno of the call.
pub fn allow_user_search(keyring: i32) -> Result<()> {
    const KEYCTL_SETPERM: libc::c_long = 5;
    // All rights of the possessor, and view, read and search of the user.
    const PERMISSIONS: libc::c_ulong = 0x3f0b_0000;
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, keyring, PERMISSIONS) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Keyctl)) }
}

/// personality(2).
///
/// # Errors
/// The errno of the call.
pub fn set_personality(domain: u32) -> Result<()> {
    // SAFETY: takes an integer only.
    match unsafe { libc::personality(domain.into()) } {
        -1 => Err(SyscallError::last(Call::Personality)),
        _ => Ok(()),
    }
}

/// ioprio_set(2) of this process.
///
/// # Errors
/// The errno of the call.
pub fn ioprio_set(class: u8, level: u8) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    let value = i32::from(class) << 13 | i32::from(level);
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::IoprioSet)) }
}
