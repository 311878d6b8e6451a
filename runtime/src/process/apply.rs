//! The steps of [`super::plan`], done by the child. Allocates nothing.

use std::ffi::CStr;
use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::command::Program;
use super::plan::{Plan, Step};
use crate::arena::Arena;
use crate::decimal::Decimal;
use crate::failure::{Failure, Finding, Result};
use crate::procfs::Procfs;
use crate::root::{Links, Make, Root};
use crate::sys::credentials::{self, CapabilitySets};
use crate::sys::error::SyscallError;
use crate::sys::open::{self, OpenFlags, Resolve, leave_open, openat2};
use crate::sys::process::{
    SchedulingAttributes, chdir, fchdir, prlimit, sched_setaffinity, sched_setattr, set_mempolicy,
    set_umask, setsid, working_directory_is_reachable,
};
use crate::sys::socket::send_descriptor;
use crate::sys::{mount, terminal};

/// What the steps work with.
#[derive(Debug)]
pub struct Live<'a> {
    /// The socket that gets the master of a terminal.
    pub console: Option<BorrowedFd<'a>>,
    /// The host's procfs, for security labels.
    pub procfs: Option<&'a Procfs>,
    /// The program that was found.
    pub program: Program,
    /// Whether the working directory was entered.
    pub entered: bool,
    /// The listener of the filter, until it is handed on.
    pub listener: Option<OwnedFd>,
}

/// Does one step. `root` is the container's root directory.
///
/// # Errors
/// The failure of the step.
pub fn apply(
    step: &Step,
    arena: &Arena,
    plan: &mut Plan,
    root: Option<&Root>,
    live: &mut Live<'_>,
) -> Result<()> {
    match *step {
        Step::SessionKeyring(name) => session_keyring(arena.c_str(name)),
        Step::InitialAffinity => set_affinity(plan.affinity.initial.as_deref()),
        Step::LastAffinity => set_affinity(plan.affinity.last.as_deref()),
        Step::ResetAffinity => {
            // A cpuset without processors, or a filter, is no reason not to start; the process then
            // has its caller's.
            // More processors than any kernel is built for (8192). Filled in here: as a constant it would be
            // a piece of the program's file that each container's process has in memory for this alone.
            let all = [black_box(u64::MAX); 128];
            let _ = sched_setaffinity(&all);
            Ok(())
        }
        Step::Session => match setsid() {
            // A process that already leads its group is a session leader only after a fork; exec into
            // a container always has one.
            Err(error) if error.errno == libc::EPERM => Ok(()),
            other => Ok(other?),
        },
        Step::Terminal { size, console_device } => {
            let root = root.ok_or(Finding::NotTerminal)?;
            open_terminal(root, live.console, size, console_device)
        }
        Step::OwnStreams(uid) => own_streams(uid),
        Step::Apparmor(profile) => {
            let value = arena.c_str(profile).to_bytes();
            let procfs = live.procfs.ok_or(Finding::NotProcfs)?;
            match procfs.write(c"thread-self/attr/apparmor/exec", value) {
                Err(error) if error.errno() == Some(libc::ENOENT) => {
                    procfs.write(c"thread-self/attr/exec", value)
                }
                other => other,
            }
        }
        Step::Selinux(label) => {
            let procfs = live.procfs.ok_or(Finding::NotProcfs)?;
            procfs.write(c"thread-self/attr/exec", arena.c_str(label).to_bytes())
        }
        Step::NoNewPrivileges => Ok(credentials::set_no_new_privileges()?),
        Step::Scheduler(scheduler) => Ok(sched_setattr(SchedulingAttributes {
            size: 0,
            policy: scheduler.policy,
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
        })?),
        Step::IoPriority(class, level) => Ok(credentials::ioprio_set(class, level)?),
        Step::Personality(domain) => Ok(credentials::set_personality(domain)?),
        Step::MemoryPolicy => match &plan.memory_policy {
            Some(policy) => Ok(set_mempolicy(policy.mode | policy.flags, &policy.nodes)?),
            None => Ok(()),
        },
        Step::Seccomp => match &plan.seccomp {
            Some(filter) => {
                // Whoever asked for a listener hands it on before this process makes another call.
                live.listener = credentials::seccomp_set_filter(&filter.program, filter.flags)?;
                Ok(())
            }
            None => Ok(()),
        },
        Step::Limit(index) => match plan.rlimits.get(usize::from(index)) {
            Some(limit) => Ok(prlimit(0, limit.resource, limit.soft, limit.hard)?),
            None => Ok(()),
        },
        Step::Bounding(keep) => drop_bounding(keep),
        Step::User { uid, gid } => take_ids(&plan.groups, uid, gid),
        Step::WorkingDirectory { path, make } => {
            live.entered = enter(root, arena.c_str(path), make)?;
            Ok(())
        }
        Step::WorkingDirectoryAsUser(_) if live.entered => Ok(()),
        Step::WorkingDirectoryAsUser(path) => change_directory(root, arena.c_str(path)),
        Step::Capabilities(sets) => set_capabilities(&sets),
        Step::VerifyWorkingDirectory => verify_working_directory(),
        Step::Umask(mask) => {
            set_umask(mask);
            Ok(())
        }
        Step::Home(uid) => set_home(root, plan, uid),
        Step::FindProgram => live.program.find(plan, arena),
    }
}

fn set_affinity(processors: Option<&[u64]>) -> Result<()> {
    match processors {
        Some(mask) => Ok(sched_setaffinity(mask)?),
        None => Ok(()),
    }
}

/// A kernel without keyrings, or a filter that denies them, is no reason not to start.
fn session_keyring(name: &CStr) -> Result<()> {
    match credentials::join_session_keyring(name) {
        Ok(serial) => match credentials::allow_user_search(serial) {
            Err(error) if error.is_unsupported() || error.is_permission() => Ok(()),
            other => Ok(other?),
        },
        Err(error) if error.is_unsupported() || error.errno == libc::EDQUOT => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The terminal comes from the container's own devpts, and the peer from the master itself: no path
/// that the image could have prepared is trusted (CVE-2025-52565).
fn open_terminal(
    root: &Root,
    console: Option<BorrowedFd<'_>>,
    size: Option<terminal::Size>,
    console_device: bool,
) -> Result<()> {
    const PTMX: (u32, u32) = (5, 2);
    const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
    let resolve = Resolve::RESOLVE_IN_ROOT | Resolve::RESOLVE_NO_MAGICLINKS;
    let flags = OpenFlags::O_RDWR | OpenFlags::O_NOCTTY;
    let master = match openat2(root.fd(), c"dev/pts/ptmx", flags, resolve) {
        Err(error) if error.is_unsupported() => {
            open::openat(root.fd(), c"dev/pts/ptmx", flags | OpenFlags::O_NOFOLLOW, 0)?
        }
        other => other?,
    };
    let is_ptmx = open::filesystem_magic(&master)? == DEVPTS_SUPER_MAGIC
        && open::fstat(&master)?.st_rdev == open::device_number(PTMX.0, PTMX.1);
    if !is_ptmx {
        return Err(Finding::NotTerminal.into());
    }
    let peer = terminal::open_peer(&master)?;
    if let Some(size) = size {
        terminal::set_size(&master, size)?;
    }
    if console_device {
        cover_console(root, &peer)?;
    }
    if let Some(console) = console {
        const PREFIX: &[u8] = b"/dev/pts/";
        let mut name = [0; PREFIX.len() + 10];
        let number = Decimal::new(terminal::peer_number(&master)?);
        let length = PREFIX.len() + number.bytes().len();
        name[..PREFIX.len()].copy_from_slice(PREFIX);
        name[PREFIX.len()..length].copy_from_slice(number.bytes());
        send_descriptor(console, &name[..length], &master)?;
    }
    terminal::make_controlling(&peer)?;
    for stream in 0..=2 {
        open::dup_onto(&peer, stream)?;
    }
    Ok(())
}

fn cover_console(root: &Root, peer: &OwnedFd) -> Result<()> {
    let place = root.find_or_make(c"dev/console", Make::File, Links::Refuse)?;
    let tree = mount::open_tree_clone(peer, c"", false)?;
    Ok(mount::move_mount(&tree, &place.fd)?)
}

/// The caller's streams shall be usable by the container's user, but only where that is possible and
/// meant: not the null device, whose owner is everybody's business.
fn own_streams(uid: u32) -> Result<()> {
    for number in 0..=2 {
        let Ok(stream) = open::inherited(number) else { continue };
        let status = open::fstat(stream)?;
        if status.st_uid == uid || status.st_rdev == open::device_number(1, 3) {
            continue;
        }
        match open::fchownat(stream, c"", Some(uid), None) {
            Err(SyscallError { errno: libc::EINVAL | libc::EPERM | libc::EROFS, .. }) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn drop_bounding(keep: u64) -> Result<()> {
    for capability in 0..64_u8 {
        if keep & 1 << capability != 0 {
            continue;
        }
        match credentials::drop_bounding(capability) {
            // Beyond the last capability of this kernel.
            Err(error) if error.errno == libc::EINVAL => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

fn take_ids(groups: &[u32], uid: u32, gid: u32) -> Result<()> {
    // Leaving uid 0 takes the capabilities along, unless they are kept.
    if uid != 0 {
        credentials::set_keep_capabilities(true)?;
    }
    match credentials::setgroups(groups) {
        // Denied in a user namespace without the right to; then there is nothing to take away.
        Err(error) if error.errno == libc::EPERM && groups.is_empty() => {}
        other => other?,
    }
    credentials::setresgid(gid)?;
    credentials::setresuid(uid)?;
    if uid != 0 {
        credentials::set_keep_capabilities(false)?;
    }
    Ok(())
}

/// Enters the directory while still privileged. False when only the user may, which is tried again
/// once the ids have changed.
fn enter(root: Option<&Root>, path: &CStr, make: bool) -> Result<bool> {
    if path == c"/" {
        // Where both pivot_root and joining a mount namespace have led.
        return Ok(true);
    }
    match change_directory(root, path) {
        Err(error) if error.errno() == Some(libc::ENOENT) && make => {
            let Some(root) = root else { return Err(error) };
            leave_open(root.find_or_make(path, Make::Directory, Links::Follow)?.fd);
            change_directory(Some(root), path)?;
            Ok(true)
        }
        Err(error) if error.errno() == Some(libc::EACCES) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Goes to a directory by a lookup that follows no magic link: none of the descriptors that this
/// process still has can be named by it (CVE-2024-21626).
fn change_directory(root: Option<&Root>, path: &CStr) -> Result<()> {
    match root {
        Some(root) => {
            let directory = match root.find(path) {
                // A filter that is older than openat2(2) and denies it: where this leads is verified.
                Err(failure) if failure.errno() == Some(libc::EPERM) => return Ok(chdir(path)?),
                other => other?,
            };
            fchdir(&directory)?;
            leave_open(directory);
            Ok(())
        }
        None => Ok(chdir(path)?),
    }
}

fn set_capabilities(sets: &CapabilitySets) -> Result<()> {
    if sets.inheritable != 0 {
        // Where nothing is inheritable, capset empties the ambient set too (capabilities(7)).
        credentials::clear_ambient()?;
    }
    credentials::capset(sets)?;
    for capability in 0..64_u8 {
        if sets.ambient & 1 << capability != 0 {
            credentials::raise_ambient(capability)?;
        }
    }
    Ok(())
}

/// A working directory outside of the root would be a way to the host's files (CVE-2024-21626).
fn verify_working_directory() -> Result<()> {
    match working_directory_is_reachable() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Finding::OutsideRoot.into()),
        Err(error) if error.errno == libc::ENOENT => Err(Finding::OutsideRoot.into()),
        Err(error) => Err(error.into()),
    }
}

/// HOME is the user's entry in the container's `/etc/passwd`, and `/` where there is none.
fn set_home(root: Option<&Root>, plan: &mut Plan, uid: u32) -> Result<()> {
    let mut line = PasswdLine::default();
    let file = match root {
        Some(root) => root.open_to_read(c"etc/passwd"),
        None => {
            open::openat(open::CWD, c"/etc/passwd", OpenFlags::O_RDONLY, 0).map_err(Failure::from)
        }
    };
    // Not a constant in a far part of the program's file, of which the kernel would map 64 KiB for it.
    let slash = [black_box(b'/')];
    let home = match &file {
        Ok(file) => line.home_of(file, uid)?.unwrap_or(&slash),
        Err(_) => &slash,
    };
    let home = if home.is_empty() { &slash } else { home };
    if !plan.env.fill_spare(&[b"HOME=", home]) {
        return Err(Finding::PathTooLong.into());
    }
    Ok(())
}

/// One line of passwd(5) at a time, in a fixed buffer.
struct PasswdLine {
    bytes: [u8; 1024],
    length: usize,
}

impl Default for PasswdLine {
    fn default() -> Self {
        Self { bytes: [0; 1024], length: 0 }
    }
}

impl PasswdLine {
    /// The home directory of the first entry with this uid. Lines longer than the buffer are passed
    /// over.
    fn home_of(&mut self, file: impl AsFd, uid: u32) -> Result<Option<&[u8]>> {
        let mut chunk = [0_u8; 1024];
        let mut too_long = false;
        loop {
            let count = open::read(file.as_fd(), &mut chunk)?;
            let at_end = count == 0;
            let bytes: &[u8] = if at_end { b"\n" } else { &chunk[..count] };
            for &byte in bytes {
                if byte != b'\n' {
                    too_long |= self.length == self.bytes.len();
                    if !too_long {
                        self.bytes[self.length] = byte;
                        self.length += 1;
                    }
                    continue;
                }
                if !too_long && let Some((start, end)) = home_in(&self.bytes[..self.length], uid) {
                    return Ok(Some(&self.bytes[start..end]));
                }
                self.length = 0;
                too_long = false;
            }
            if at_end {
                return Ok(None);
            }
        }
    }
}

/// Where the home directory stands in a line of passwd(5) with this uid.
fn home_in(line: &[u8], uid: u32) -> Option<(usize, usize)> {
    let mut start = 0;
    for index in 0.. {
        let rest = line.get(start..)?;
        let length = rest.iter().position(|b| *b == b':').unwrap_or(rest.len());
        let field = &rest[..length];
        if index == 2 && std::str::from_utf8(field).ok()?.parse::<u32>().ok()? != uid {
            return None;
        }
        if index == 5 {
            return Some((start, start + length));
        }
        start += length + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_home_in_a_line() {
        let line = b"app:x:1000:1000:App:/home/app:/bin/sh";
        assert_eq!(home_in(line, 1000).map(|(s, e)| &line[s..e]), Some(&b"/home/app"[..]));
        assert_eq!(home_in(line, 0), None);
        assert_eq!(home_in(b"broken", 0), None);
        assert_eq!(home_in(b"a:b:c:d:e:f", 0), None);
        assert_eq!(home_in(b"", 0), None);
    }
}
