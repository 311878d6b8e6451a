//! Opening, making and reading files, always relative to a descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::error::{Call, Named, Result, SyscallError};

pub use nix::fcntl::{OFlag as OpenFlags, ResolveFlag as Resolve};
pub use nix::sys::stat::FileStat as Status;

/// How often a lookup that raced a rename (EAGAIN) is tried again before it is an error.
const OPENAT2_TRIES: u32 = 64;

/// The working directory as a descriptor argument.
pub const CWD: BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

/// openat(2), close-on-exec.
///
/// # Errors
/// The errno of the call.
pub fn openat(dir: impl AsFd, path: &CStr, flags: OFlag, mode: u32) -> Result<OwnedFd> {
    nix::fcntl::openat(dir, path, flags | OFlag::O_CLOEXEC, Mode::from_bits_truncate(mode))
        .named(Call::Open)
}

/// openat2(2), close-on-exec. A lookup below a directory that is being renamed gives EAGAIN; it is
/// tried again a bounded number of times.
///
/// # Errors
/// The errno of the call; EAGAIN when the race went on.
pub fn openat2(dir: impl AsFd, path: &CStr, flags: OFlag, resolve: ResolveFlag) -> Result<OwnedFd> {
    super::probe::allow(Call::Openat2)?;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let dir = dir.as_fd().as_raw_fd();
    let mut tries = 0;
    loop {
        // Not nix's: a missing file is usual here, and its table of errnos would be two more pieces of the
        // program in the memory of every container's process.
        // SAFETY: the path is NUL-terminated; `OpenHow` is the kernel's structure, whose size is passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir,
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        };
        match i32::try_from(result) {
            Ok(number) if number >= 0 => return Ok(adopt(number)),
            _ => match SyscallError::last(Call::Openat2) {
                SyscallError { errno: libc::EAGAIN, .. } if tries < OPENAT2_TRIES => tries += 1,
                error => return Err(error),
            },
        }
    }
}

/// mkdirat(2).
///
/// # Errors
/// The errno of the call.
pub fn mkdirat(dir: impl AsFd, path: &CStr, mode: u32) -> Result<()> {
    nix::sys::stat::mkdirat(dir, path, Mode::from_bits_truncate(mode)).named(Call::Mkdir)
}

/// What [`mknodat`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// An empty regular file.
    File,
    /// A character device.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A FIFO.
    Fifo,
}

/// mknodat(2). `mode` holds the permission bits.
///
/// # Errors
/// The errno of the call.
pub fn mknodat(dir: impl AsFd, path: &CStr, node: Node, mode: u32) -> Result<()> {
    let (kind, device) = match node {
        Node::File => (SFlag::S_IFREG, 0),
        Node::Character { major, minor } => (SFlag::S_IFCHR, device_number(major, minor)),
        Node::Block { major, minor } => (SFlag::S_IFBLK, device_number(major, minor)),
        Node::Fifo => (SFlag::S_IFIFO, 0),
    };
    nix::sys::stat::mknodat(dir, path, kind, Mode::from_bits_truncate(mode), device)
        .named(Call::Mknod)
}

/// The kernel's number for a device.
#[must_use]
pub fn device_number(major: u32, minor: u32) -> u64 {
    nix::sys::stat::makedev(major.into(), minor.into())
}

/// The major part of the kernel's number for a device.
#[must_use]
pub fn device_major(device: u64) -> u64 {
    nix::sys::stat::major(device)
}

/// symlinkat(2): makes `path` in `dir` point to `target`.
///
/// # Errors
/// The errno of the call.
pub fn symlinkat(target: &CStr, dir: impl AsFd, path: &CStr) -> Result<()> {
    nix::unistd::symlinkat(target, dir, path).named(Call::Symlink)
}

/// readlinkat(2) into `buffer`; an empty `path` reads the link that `dir` itself is.
///
/// # Errors
/// The errno of the call; ENAMETOOLONG when the target does not fit.
pub fn readlinkat<'b>(dir: impl AsFd, path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8]> {
    let fd = dir.as_fd().as_raw_fd();
    // SAFETY: the buffer is valid for writes of its own length for the duration of the call.
    let length =
        unsafe { libc::readlinkat(fd, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(length) {
        Err(_) => Err(SyscallError::last(Call::Readlink)),
        Ok(length) if length == buffer.len() => {
            Err(SyscallError { call: Call::Readlink, errno: libc::ENAMETOOLONG })
        }
        Ok(length) => Ok(&buffer[..length]),
    }
}

/// fstat(2).
///
/// # Errors
/// The errno of the call.
pub fn fstat(fd: impl AsFd) -> Result<FileStat> {
    nix::sys::stat::fstat(fd).named(Call::Fstat)
}

/// mknodat(2) of whatever `mode` says, its type included; `device` counts for devices only.
///
/// # Errors
/// The errno of the call.
pub fn mknodat_like(dir: impl AsFd, path: &CStr, mode: u32, device: u64) -> Result<()> {
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    nix::sys::stat::mknodat(dir, path, kind, Mode::from_bits_truncate(mode & 0o7777), device)
        .named(Call::Mknod)
}

/// stat(2).
///
/// # Errors
/// The errno of the call.
pub fn stat(path: &CStr) -> Result<FileStat> {
    nix::sys::stat::stat(path).named(Call::Fstat)
}

/// fstatat(2) that does not follow a last symbolic link.
///
/// # Errors
/// The errno of the call.
pub fn lstatat(dir: impl AsFd, path: &CStr) -> Result<FileStat> {
    nix::sys::stat::fstatat(dir, path, AtFlags::AT_SYMLINK_NOFOLLOW).named(Call::Fstat)
}

/// The magic number of the file system that holds `fd`: fstatfs(2).
///
/// # Errors
/// The errno of the call.
pub fn filesystem_magic(fd: impl AsFd) -> Result<i64> {
    nix::sys::statfs::fstatfs(fd).map(|s| s.filesystem_type().0).named(Call::Fstatfs)
}

/// Whether the mount that holds the file at `path` is read-only: statvfs(3).
///
/// # Errors
/// The errno of the call.
pub fn is_on_readonly_mount(path: &CStr) -> Result<bool> {
    nix::sys::statvfs::statvfs(path)
        .map(|s| s.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
        .named(Call::Fstatfs)
}

/// fchmod(2).
///
/// # Errors
/// The errno of the call.
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode)).named(Call::Fchmod)
}

/// fchownat(2) that does not follow a last symbolic link. An empty `path` means `dir` itself.
///
/// # Errors
/// The errno of the call.
pub fn fchownat(dir: impl AsFd, path: &CStr, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    nix::unistd::fchownat(dir, path, uid.map(Into::into), gid.map(Into::into), flags)
        .named(Call::Fchown)
}

/// unlinkat(2) of a file.
///
/// # Errors
/// The errno of the call.
pub fn unlinkat(dir: impl AsFd, path: &CStr) -> Result<()> {
    nix::unistd::unlinkat(dir, path, nix::unistd::UnlinkatFlags::NoRemoveDir).named(Call::Unlink)
}

/// unlinkat(2) of an empty directory.
///
/// # Errors
/// The errno of the call.
pub fn rmdirat(dir: impl AsFd, path: &CStr) -> Result<()> {
    nix::unistd::unlinkat(dir, path, nix::unistd::UnlinkatFlags::RemoveDir).named(Call::Rmdir)
}

/// renameat(2) within one directory.
///
/// # Errors
/// The errno of the call.
pub fn renameat(dir: impl AsFd, from: &CStr, to: &CStr) -> Result<()> {
    nix::fcntl::renameat(dir.as_fd(), from, dir.as_fd(), to).named(Call::Rename)
}

/// renameat2(2) within one directory: the two change places.
///
/// # Errors
/// The errno of the call; EINVAL where the file system cannot.
pub fn exchange(dir: impl AsFd, one: &CStr, other: &CStr) -> Result<()> {
    use nix::fcntl::{RenameFlags, renameat2};
    renameat2(dir.as_fd(), one, dir.as_fd(), other, RenameFlags::RENAME_EXCHANGE)
        .named(Call::Rename)
}

/// read(2) once.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match nix::unistd::read(fd.as_fd(), buffer) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.named(Call::Read),
        }
    }
}

/// write(2) until all is written.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd.as_fd(), bytes) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(written) => bytes = &bytes[written..],
            Err(errno) => return Err(SyscallError::new(Call::Write, errno)),
        }
    }
    Ok(())
}

/// write(2) of what goes at once; 0 where a descriptor that does not wait takes nothing now.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn write_some(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    loop {
        match nix::unistd::write(fd.as_fd(), bytes) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => return Ok(0),
            other => return other.named(Call::Write),
        }
    }
}

/// Has reads or writes of a new descriptor not wait: fcntl(2), `F_SETFL`.
///
/// # Errors
/// The errno of the call.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    let flag = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(fd, flag).map(drop).named(Call::Fcntl)
}

/// Reads a small file, such as one of procfs, to its end or to `limit` bytes.
///
/// # Errors
/// The errno of the call; EFBIG when there is more than `limit`.
pub fn read_to_limit(fd: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        match read(fd.as_fd(), &mut chunk)? {
            0 => return Ok(all),
            count => all.extend_from_slice(&chunk[..count]),
        }
        if all.len() > limit {
            return Err(SyscallError { call: Call::Read, errno: libc::EFBIG });
        }
    }
}

/// Reads a file whose text the kernel makes when it is opened, as most of procfs: a read that does not fill the
/// buffer was the last.
///
/// # Errors
/// As [`read_to_limit`].
pub fn read_made_at_once(fd: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    let mut all = vec![0_u8; 4096];
    let count = read(fd.as_fd(), &mut all)?;
    let is_whole = count < all.len();
    all.truncate(count);
    if !is_whole {
        all.extend(read_to_limit(fd, limit)?);
    }
    Ok(all)
}

/// The soft and hard flags of the mount that holds `fd`, as `MS_*` bits that a remount must repeat:
/// fstatvfs(3), whose bits for these flags are mount(2)'s own.
///
/// # Errors
/// The errno of the call.
pub fn mount_flags(fd: impl AsFd) -> Result<u64> {
    const KEPT: u64 = libc::MS_RDONLY
        | libc::MS_NOSUID
        | libc::MS_NODEV
        | libc::MS_NOEXEC
        | libc::MS_NOATIME
        | libc::MS_NODIRATIME;
    const ST_RELATIME: u64 = 4096;
    let flags = nix::sys::statvfs::fstatvfs(fd).named(Call::Fstatfs)?.flags().bits();
    let relatime = if flags & ST_RELATIME != 0 { libc::MS_RELATIME } else { 0 };
    Ok(flags & KEPT | relatime)
}

/// The effective right of this process to run `path`: faccessat2(2) with `AT_EACCESS`.
///
/// # Errors
/// The errno of the call.
pub fn can_execute(dir: impl AsFd, path: &CStr) -> Result<()> {
    can(dir, path, libc::X_OK)
}

/// The effective right of this process to write to `path`, which for a directory is to make files in it.
///
/// # Errors
/// The errno of the call.
pub fn can_write(dir: impl AsFd, path: &CStr) -> Result<()> {
    can(dir, path, libc::W_OK)
}

fn can(dir: impl AsFd, path: &CStr, mode: i32) -> Result<()> {
    let fd = dir.as_fd().as_raw_fd();
    // SAFETY: the path is NUL-terminated; the call only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, fd, path.as_ptr(), mode, libc::AT_EACCESS) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Access)) }
}

/// Takes the descriptor `number`, which somebody handed to this process, without owning it.
///
/// # Errors
/// EBADF when it is not open.
pub fn inherited(number: RawFd) -> Result<BorrowedFd<'static>> {
    // SAFETY: F_GETFD only reads the table of descriptors.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(SyscallError { call: Call::Fcntl, errno: libc::EBADF });
    }
    // SAFETY: just found open; descriptors handed over by the caller of the program stay open, since
    // nothing in this program owns them.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// A second, own descriptor of the same file: `F_DUPFD_CLOEXEC`.
///
/// # Errors
/// The errno of the call.
pub fn duplicate(fd: impl AsFd) -> Result<OwnedFd> {
    // SAFETY: the request takes the lowest number and returns a new descriptor.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(SyscallError::last(Call::Dup)),
        new => Ok(adopt(new)),
    }
}

/// Whether the descriptor `number` is open and survives exec: the caller's are so, and none of ours.
#[must_use]
pub fn survives_exec(number: RawFd) -> bool {
    // SAFETY: F_GETFD only reads the table of descriptors.
    number >= 0 && unsafe { libc::fcntl(number, libc::F_GETFD) } == 0
}

/// Sets or clears close-on-exec.
///
/// # Errors
/// The errno of fcntl(2).
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let flag = if on { nix::fcntl::FdFlag::FD_CLOEXEC } else { nix::fcntl::FdFlag::empty() };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(flag)).map(drop).named(Call::Fcntl)
}

/// Whether the descriptor was opened for writing: fcntl(2), `F_GETFL`.
///
/// # Errors
/// The errno of the call.
pub fn is_writable(fd: impl AsFd) -> Result<bool> {
    let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).named(Call::Fcntl)?;
    Ok(flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// dup3(2) onto a fixed number, without close-on-exec: for 0, 1, 2.
///
/// # Errors
/// The errno of the call.
pub fn dup_onto(fd: impl AsFd, number: RawFd) -> Result<()> {
    // SAFETY: closes `number` and makes it a copy; only called in a child on its standard streams,
    // which no `OwnedFd` of this program owns.
    match unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } {
        -1 => Err(SyscallError::last(Call::Dup)),
        _ => Ok(()),
    }
}

/// Marks every descriptor from `first` on close-on-exec: close_range(2), Linux 5.11; before that,
/// closes are done one by one from what `/proc/self/fd` shows, by the caller.
///
/// # Errors
/// The errno of the call; ENOSYS or EINVAL on old kernels.
pub fn close_range_on_exec(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    super::probe::allow(Call::CloseRange)?;
    // SAFETY: sets flags only; no descriptor is closed before exec.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::CloseRange)) }
}

/// Makes every descriptor from `first` on close-on-exec, also where close_range(2) is missing. Those of
/// this program are so from birth; this is for those that somebody else left open before it was started
/// (CVE-2024-21626).
///
/// # Errors
/// The errno of a call.
#[inline]
pub fn close_others_on_exec(first: u32) -> Result<()> {
    match close_range_on_exec(first) {
        Err(error) if error.is_unsupported() || error.errno == libc::EINVAL => {
            for number in first..=crate::limits::DESCRIPTORS_LOOKED_FOR {
                let Ok(number) = i32::try_from(number) else { break };
                if let Ok(fd) = inherited(number) {
                    set_cloexec(fd, true)?;
                }
            }
            Ok(())
        }
        other => other,
    }
}

/// pipe2(2), close-on-exec: (read end, write end).
///
/// # Errors
/// The errno of the call.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).named(Call::Pipe)
}

/// Gives up a descriptor in a child that is about to exec: exec closes all of them at once, for less
/// than one close(2) each. High numbers are closed now, so that a container with hundreds of mounts
/// does not run into the limit on open files.
pub(crate) fn leave_open(fd: OwnedFd) {
    const LOW: RawFd = 256;
    if fd.as_raw_fd() < LOW {
        std::mem::forget(fd);
    }
}

/// Closes a descriptor in a child whose copy of the parent's memory owns it: the owner's destructor
/// never runs there.
pub(crate) fn close_borrowed(fd: BorrowedFd<'_>) {
    // SAFETY: called only between clone and exec, where no `OwnedFd` is ever dropped.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Takes ownership of a descriptor number that a system call of this layer just returned.
pub(crate) fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: only called with the fresh result of a call that creates a descriptor.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// flock(2), exclusive or shared; waits.
///
/// # Errors
/// The errno of the call; EINTR is tried again.
pub fn flock(fd: impl AsFd, exclusive: bool) -> Result<()> {
    let operation = if exclusive { libc::LOCK_EX } else { libc::LOCK_SH };
    loop {
        // SAFETY: acts on an open descriptor only.
        match unsafe { libc::flock(fd.as_fd().as_raw_fd(), operation) } {
            0 => return Ok(()),
            _ if nix::errno::Errno::last_raw() == libc::EINTR => {}
            _ => return Err(SyscallError::last(Call::Flock)),
        }
    }
}

/// flock(2), exclusive, without waiting: false when somebody else holds the lock.
///
/// # Errors
/// The errno of the call.
pub fn try_flock(fd: impl AsFd) -> Result<bool> {
    // SAFETY: acts on an open descriptor only.
    match unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(true),
        _ if nix::errno::Errno::last_raw() == libc::EWOULDBLOCK => Ok(false),
        _ => Err(SyscallError::last(Call::Flock)),
    }
}

/// Releases a lock of flock(2), for everybody who shares the descriptor.
///
/// # Errors
/// The errno of the call.
pub fn unlock(fd: impl AsFd) -> Result<()> {
    // SAFETY: acts on an open descriptor only.
    match unsafe { libc::flock(fd.as_fd().as_raw_fd(), libc::LOCK_UN) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::Flock)),
    }
}

/// Closes the descriptors from `first` to `last`, both included: close_range(2), Linux 5.9. For a
/// child whose descriptors nothing owns any more.
///
/// # Errors
/// The errno of the call; ENOSYS on old kernels.
pub(crate) fn close_range(first: u32, last: u32) -> Result<()> {
    super::probe::allow(Call::CloseRange)?;
    // SAFETY: called only between clone and exec, where no `OwnedFd` is ever dropped.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::CloseRange)),
    }
}

/// An anonymous file in memory that may be executed and sealed: memfd_create(2), close-on-exec.
///
/// # Errors
/// The errno of the call.
pub fn memfd(name: &CStr) -> Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Where a sysctl forbids executable ones by default the flag is needed (Linux 6.3); before, the
    // flag is unknown.
    for flags in [flags | MFD_EXEC, flags] {
        // SAFETY: the name is NUL-terminated and only read.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
        if fd >= 0 {
            return Ok(adopt(fd));
        }
        if nix::errno::Errno::last_raw() != libc::EINVAL {
            break;
        }
    }
    Err(SyscallError::last(Call::Open))
}

/// Every seal that keeps a file in memory as it is.
const SEALS: libc::c_int =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Forbids every further change of a file in memory: fcntl(2), `F_ADD_SEALS`.
///
/// # Errors
/// The errno of the call.
pub fn seal(fd: impl AsFd) -> Result<()> {
    // SAFETY: the command takes an integer.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_ADD_SEALS, SEALS) } {
        -1 => Err(SyscallError::last(Call::Fcntl)),
        _ => Ok(()),
    }
}

/// Whether a file is one in memory with every seal on it.
#[must_use]
pub fn is_sealed(fd: impl AsFd) -> bool {
    // SAFETY: the command takes nothing and returns the seals, or -1 for other files.
    let seals = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & SEALS == SEALS
}
