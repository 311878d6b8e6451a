//! The only unsafe code of the shim: calls for which no crate of the tree has a safe wrapper.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// kill(2) with any number that a signal can have, real-time ones too.
pub fn kill(pid: u32, signal: u32) -> io::Result<()> {
    let number = |value: u32| i32::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    // 0 and negative ids stand for groups of processes, the shim's own among them.
    let (pid, signal) = (number(pid)?, number(signal)?);
    if pid == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two numbers and touches no memory of this process.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The user namespace that another namespace belongs to (ioctl_nsfs(2)).
pub fn owner_of_namespace(namespace: &std::fs::File) -> io::Result<OwnedFd> {
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: this request takes no argument; the descriptor is open, and the kernel checks what it is.
    let number = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has made the descriptor for this process, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has the command's process begin in a user namespace of its own, in which it has no ids yet.
pub fn begin_in_user_namespace(command: &mut Command) {
    let enter = || {
        // SAFETY: unshare takes a number; the process is between fork and exec and has one thread.
        match unsafe { libc::unshare(libc::CLONE_NEWUSER) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec `enter` makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(enter) };
}

/// Has a mount that nobody sees yet show ids as a user namespace maps them (mount_setattr(2)).
pub fn map_mount(tree: &OwnedFd, users: &OwnedFd, readonly: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP | if readonly { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the call reads an empty text and a `struct mount_attr` of the length that it is told; both
    // descriptors are open.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The number of a loop device that nobody uses, which the kernel makes if there is none (loop(4)).
pub fn free_loop_device(control: &std::fs::File) -> io::Result<u32> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
    // SAFETY: this request takes no argument; the descriptor is open.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// `struct loop_config` of linux/loop.h, as far as it is not zero.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    /// Here begins `struct loop_info64`: device, inode, rdevice, offset, sizelimit.
    numbers: [u64; 5],
    /// Number, encrypt type, key size.
    more_numbers: [u32; 3],
    flags: u32,
    /// Its names, its key and two numbers; then what is reserved.
    rest: [u64; (64 + 64 + 32 + 16 + 64) / 8],
}

const _: () = assert!(size_of::<LoopConfig>() == 304);

/// Has a loop device stand for a file, until it is used no more.
pub fn configure_loop_device(
    device: &std::fs::File,
    file: &std::fs::File,
    readonly: bool,
) -> io::Result<()> {
    const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
    const READ_ONLY: u32 = 1;
    const AUTOCLEAR: u32 = 4;
    let config = LoopConfig {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        numbers: [0; 5],
        more_numbers: [0; 3],
        flags: AUTOCLEAR | if readonly { READ_ONLY } else { 0 },
        rest: [0; 30],
    };
    // SAFETY: the request reads a `struct loop_config`, as large as this one, and keeps no pointer to it.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the command's process find these descriptors as 3, 4 and so on.
pub fn pass_descriptors(command: &mut Command, descriptors: Vec<OwnedFd>) {
    let place = move || -> io::Result<()> {
        let first: RawFd = 3;
        // Above all places first, so that none is overwritten before it was moved.
        let above = first + 16;
        let mut moved: [RawFd; 16] = [-1; 16];
        for (from, to) in descriptors.iter().zip(moved.iter_mut()) {
            // SAFETY: fcntl with a number; the descriptor is open, `descriptors` owns it.
            *to = unsafe { libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
            if *to < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (place, from) in (first..).zip(moved.iter().take(descriptors.len())) {
            // SAFETY: dup2 with numbers; what stood at `place` belongs to this process, which is about to be
            // another program, and is needed by nothing before that.
            if unsafe { libc::dup2(*from, place) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec `place` makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(place) };
}
