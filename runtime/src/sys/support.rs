//! Which calls of newer kernels this one has, found out by making them in a way that changes nothing.

use std::ffi::c_long;

use super::process::{Clone3, Ended, clone3, wait_child};

/// What a call answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It is there.
    Yes,
    /// The kernel, or a filter before it, does not have it.
    No,
    /// It may not be asked for without a privilege that this process lacks.
    Denied,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// openat2(2).
    Openat2,
    /// clone3(2).
    Clone3,
    /// pidfd_open(2).
    PidfdOpen,
    /// pidfd_send_signal(2).
    PidfdSendSignal,
    /// pidfd_getfd(2).
    PidfdGetfd,
    /// ioctl(2) `PIDFD_GET_INFO`.
    PidfdGetInfo,
    /// close_range(2).
    CloseRange,
    /// close_range(2) with `CLOSE_RANGE_CLOEXEC`.
    CloseRangeCloexec,
    /// fsopen(2) and the calls that belong to it.
    Fsopen,
    /// open_tree(2).
    OpenTree,
    /// move_mount(2).
    MoveMount,
    /// mount_setattr(2).
    MountSetattr,
    /// mount_setattr(2) with `MOUNT_ATTR_IDMAP`.
    IdmappedMounts,
    /// open_tree_attr(2).
    OpenTreeAttr,
    /// statmount(2).
    Statmount,
    /// listmount(2).
    Listmount,
    /// faccessat2(2).
    Faccessat2,
    /// bpf(2), which device rules of cgroup v2 need.
    Bpf,
    /// keyctl(2).
    Keyctl,
    /// seccomp(2) with filters.
    Seccomp,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    SeccompLog,
    /// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
    SeccompSpecAllow,
    /// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
    SeccompListener,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
    SeccompWaitKillable,
    /// memfd_create(2) with sealing.
    Memfd,
    /// A user namespace, made by a child of this process.
    UserNamespace,
    /// A time namespace, made by a child of this process.
    TimeNamespace,
    /// overlayfs in a user namespace, opened by a child of this process.
    OverlayInUserNamespace,
    /// set_mempolicy(2).
    MemoryPolicy,
    /// Landlock.
    Landlock,
}

const SET_MODE_FILTER: c_long = 1;
const FLAG_LOG: c_long = 1 << 1;
const FLAG_SPEC_ALLOW: c_long = 1 << 2;
const FLAG_NEW_LISTENER: c_long = 1 << 3;
const FLAG_WAIT_KILLABLE_RECV: c_long = 1 << 5;
const NO_FD: c_long = -1;
/// `_IOWR(0xFF, 11, struct pidfd_info)` of its first version, 64 bytes.
const PIDFD_GET_INFO: c_long = 0xc040_ff0b;
const SYS_STATMOUNT: c_long = 457;
const SYS_LISTMOUNT: c_long = 458;
const SYS_OPEN_TREE_ATTR: c_long = 467;

/// Asks for a feature.
#[must_use]
pub fn ask(feature: Feature) -> Support {
    match feature {
        Feature::UserNamespace => in_child(libc::CLONE_NEWUSER, || 0),
        Feature::TimeNamespace => in_child(0x80, || 0),
        Feature::OverlayInUserNamespace => {
            in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, || {
                // SAFETY: the name is NUL-terminated; the call makes a descriptor and nothing else.
                let opened = unsafe { libc::syscall(libc::SYS_fsopen, c"overlay".as_ptr(), 1) };
                i32::from(opened < 0)
            })
        }
        Feature::CloseRange => judge(call(libc::SYS_close_range, [max(), max(), 0, 0, 0]), &[]),
        Feature::CloseRangeCloexec => {
            judge(call(libc::SYS_close_range, [max(), max(), 4, 0, 0]), &[libc::EINVAL])
        }
        Feature::PidfdGetInfo => pidfd_info(),
        Feature::IdmappedMounts => idmapped(),
        // The kernel looks at the flags first and then at the program, of which there is none.
        Feature::Seccomp => filter_flag(0),
        Feature::SeccompLog => filter_flag(FLAG_LOG),
        Feature::SeccompSpecAllow => filter_flag(FLAG_SPEC_ALLOW),
        Feature::SeccompListener => filter_flag(FLAG_NEW_LISTENER),
        Feature::SeccompWaitKillable => filter_flag(FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV),
        other => by_number(other),
    }
}

/// Whether this process may write to `path`: faccessat(2) with its effective ids.
#[must_use]
pub fn may_write(path: &std::ffi::CStr) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Calls whose wrong arguments the kernel refuses, if it knows them at all.
fn by_number(feature: Feature) -> Support {
    let [zero, wrong] = [0, NO_FD];
    let (number, arguments) = match feature {
        Feature::Openat2 => (libc::SYS_openat2, [wrong, zero, zero, zero, 0]),
        Feature::Clone3 => (libc::SYS_clone3, [zero; 5]),
        Feature::PidfdOpen => (libc::SYS_pidfd_open, [zero; 5]),
        Feature::PidfdSendSignal => (libc::SYS_pidfd_send_signal, [wrong, zero, zero, zero, 0]),
        Feature::PidfdGetfd => (libc::SYS_pidfd_getfd, [wrong, zero, zero, zero, 0]),
        Feature::Fsopen => (libc::SYS_fsopen, [zero; 5]),
        Feature::OpenTree => (libc::SYS_open_tree, [wrong, zero, 0xffff, zero, 0]),
        Feature::MoveMount => (libc::SYS_move_mount, [wrong, zero, wrong, zero, 0xffff]),
        Feature::MountSetattr => (libc::SYS_mount_setattr, [wrong, zero, 0xffff, zero, 0]),
        Feature::OpenTreeAttr => (SYS_OPEN_TREE_ATTR, [wrong, zero, 0xffff, zero, 0]),
        Feature::Statmount => (SYS_STATMOUNT, [zero; 5]),
        Feature::Listmount => (SYS_LISTMOUNT, [zero; 5]),
        Feature::Faccessat2 => (libc::SYS_faccessat2, [wrong, zero, zero, 0xffff, 0]),
        Feature::Bpf => (libc::SYS_bpf, [wrong, zero, zero, zero, 0]),
        Feature::Keyctl => (libc::SYS_keyctl, [wrong, zero, zero, zero, 0]),
        Feature::MemoryPolicy => (libc::SYS_set_mempolicy, [wrong, zero, zero, zero, 0]),
        Feature::Landlock => (libc::SYS_landlock_create_ruleset, [zero, zero, 0xffff, zero, 0]),
        _ => (libc::SYS_memfd_create, [zero, 2, zero, zero, 0]),
    };
    judge(call(number, arguments), &[])
}

fn max() -> c_long {
    c_long::from(u32::MAX)
}

/// The errno of a call; 0 for a success. Only for arguments that point nowhere and change nothing.
fn call(number: c_long, a: [c_long; 5]) -> i32 {
    // SAFETY: every caller passes null pointers, invalid descriptors or empty ranges, so that the
    // kernel reads and writes nothing of this process.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4]) };
    if result >= 0 { 0 } else { nix::errno::Errno::last_raw() }
}

fn judge(errno: i32, absent: &[i32]) -> Support {
    match errno {
        libc::ENOSYS => Support::No,
        errno if absent.contains(&errno) => Support::No,
        libc::EPERM | libc::EACCES => Support::Denied,
        _ => Support::Yes,
    }
}

fn filter_flag(flag: c_long) -> Support {
    // EFAULT: the flag is known; EINVAL: it is not.
    judge(call(libc::SYS_seccomp, [SET_MODE_FILTER, flag, 0, 0, 0]), &[libc::EINVAL])
}

fn pidfd_info() -> Support {
    use std::os::fd::AsRawFd;
    let Ok(own) = super::process::pidfd_open(super::process::getpid()) else { return Support::No };
    let mut info = [0_u64; 8];
    // SAFETY: the structure of this size lives through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_ioctl, own.as_raw_fd(), PIDFD_GET_INFO, info.as_mut_ptr())
    };
    let errno = if result >= 0 { 0 } else { nix::errno::Errno::last_raw() };
    judge(errno, &[libc::ENOTTY, libc::EINVAL])
}

fn idmapped() -> Support {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attributes = libc::mount_attr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        // No descriptor has this number, and the kernel looks at it only if it knows the flag.
        userns_fd: 0x7fff_fff0,
    };
    // SAFETY: the structure lives through the call; nothing is changed, because the descriptor of
    // the namespace is none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"/".as_ptr(),
            0,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    let errno = if result >= 0 { 0 } else { nix::errno::Errno::last_raw() };
    judge(errno, &[libc::EINVAL])
}

/// Whether a child in new namespaces comes to be and ends with 0.
fn in_child(namespaces: i32, act: impl FnOnce() -> i32) -> Support {
    let namespaces = u64::from(namespaces.unsigned_abs());
    match clone3(&Clone3 { namespaces, ..Clone3::default() }, act) {
        Ok(child) => match wait_child(&child.pidfd) {
            Ok(Ended::Exited(0)) => Support::Yes,
            _ => Support::No,
        },
        Err(error) if error.is_permission() => Support::Denied,
        Err(_) => Support::No,
    }
}
