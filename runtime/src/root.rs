//! The rootfs as a descriptor. Paths inside it are looked up from here and become descriptors at
//! once; there is no way to get a path back out, so nothing can be looked up twice.
//!
//! One openat2(2) does the lookup in nearly all cases. Where something has to be made, or openat2 is
//! not to be had, the path is walked component by component: what was reached so far is kept as a
//! path free of links and opened again from the root without following any, so that a link that
//! appears in between is an error and never a way out (CVE-2021-30465, CVE-2024-45310).
//!
//! Nothing here allocates: all of it runs in the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::failure::{Failure, Finding, Result};
use crate::limits::{PATH_BYTES_MAX, SYMLINKS_MAX};
use crate::sys::error::{Call, SyscallError};
use crate::sys::open::{
    self, CWD, Node, OpenFlags, Resolve, fstat, leave_open, mkdirat, mknodat, openat, openat2,
    readlinkat,
};
use crate::sys::text::until_nul;

/// The root directory of a container.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// Nothing: absence is ENOENT.
    Nothing,
    /// A directory, with its parents.
    Directory,
    /// An empty file, with its parents.
    File,
}

/// Whether a symbolic link may be part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// They are followed, inside the rootfs.
    Follow,
    /// They are followed, but the last name means a link itself.
    ButLast,
    /// They are refused.
    Refuse,
}

/// What a lookup found.
#[derive(Debug)]
pub struct Place {
    /// The file, opened with `O_PATH`.
    pub fd: OwnedFd,
    /// Whether it was there before.
    pub existed: bool,
}

impl Root {
    /// The root directory that `fd` refers to.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The root itself.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Finds a file that must exist.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR or ELOOP of the lookup.
    pub fn find(&self, path: &CStr) -> Result<OwnedFd> {
        self.find_by(path, Links::Follow)
    }

    /// Finds a file that must exist, by the rule for links that is given.
    ///
    /// # Errors
    /// As [`Root::find`].
    pub fn find_by(&self, path: &CStr, links: Links) -> Result<OwnedFd> {
        match self.lookup(path, links) {
            Err(Failure::Syscall(error)) if error.is_unsupported() => {
                Ok(self.walk(path, Make::Nothing, links)?.fd)
            }
            other => other,
        }
    }

    /// Finds a file, or makes it with all its parents.
    ///
    /// # Errors
    /// The failure of the lookup or of making a component; [`Finding::NotOrdinaryDirectory`] for a
    /// link that is refused.
    pub fn find_or_make(&self, path: &CStr, make: Make, links: Links) -> Result<Place> {
        match self.lookup(path, links) {
            Ok(fd) => Ok(Place { fd, existed: true }),
            Err(Failure::Syscall(SyscallError { errno: libc::ELOOP, .. }))
                if links == Links::Refuse =>
            {
                Err(Finding::NotOrdinaryDirectory.into())
            }
            Err(Failure::Syscall(error)) if error.errno == libc::ENOENT => {
                match self.make_last(path, make) {
                    Ok(fd) => Ok(Place { fd, existed: false }),
                    // A parent is missing too, or the name is a link that leads nowhere.
                    Err(_) => self.walk(path, make, links),
                }
            }
            Err(Failure::Syscall(error)) if error.is_unsupported() => self.walk(path, make, links),
            Err(other) => Err(other),
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// The errno of the lookup. Without openat2 a last link is not followed.
    #[inline(always)]
    pub fn open_to_read(&self, path: &CStr) -> Result<OwnedFd> {
        let resolve = Resolve::RESOLVE_IN_ROOT | Resolve::RESOLVE_NO_MAGICLINKS;
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
        match openat2(self.fd(), path, flags, resolve) {
            Err(error) if error.is_unsupported() => self.walk_to_read(path, flags),
            other => Ok(other?),
        }
    }

    #[inline(never)]
    fn walk_to_read(&self, path: &CStr, flags: OpenFlags) -> Result<OwnedFd> {
        let mut parent = PathBuffer::default();
        parent.push(path.to_bytes())?;
        let name = parent.pop();
        let place = self.walk(parent.as_c_str_or_dot(), Make::Nothing, Links::Follow)?;
        Ok(openat(&place.fd, name.as_c_str(), flags | OpenFlags::O_NOFOLLOW, 0)?)
    }

    fn lookup(&self, path: &CStr, links: Links) -> Result<OwnedFd> {
        let mut resolve = Resolve::RESOLVE_IN_ROOT | Resolve::RESOLVE_NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= Resolve::RESOLVE_NO_SYMLINKS;
        }
        let mut flags = OpenFlags::O_PATH;
        if links == Links::ButLast {
            flags |= OpenFlags::O_NOFOLLOW;
        }
        Ok(openat2(self.fd(), path, flags, resolve)?)
    }

    /// The common case of something missing: its parent is there.
    fn make_last(&self, path: &CStr, make: Make) -> Result<OwnedFd> {
        let mut parent = PathBuffer::default();
        parent.push(path.to_bytes())?;
        let name = parent.pop();
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(SyscallError { call: Call::Mkdir, errno: libc::EINVAL }.into());
        }
        let parent = self.lookup(parent.as_c_str_or_dot(), Links::Follow)?;
        let mut flags = OpenFlags::O_PATH | OpenFlags::O_NOFOLLOW;
        match make {
            Make::Nothing => {}
            Make::Directory => {
                mkdirat(&parent, name.as_c_str(), 0o755)?;
                flags |= OpenFlags::O_DIRECTORY;
            }
            Make::File => mknodat(&parent, name.as_c_str(), Node::File, 0o755)?,
        }
        let made = openat(&parent, name.as_c_str(), flags, 0);
        leave_open(parent);
        Ok(made?)
    }

    fn walk(&self, path: &CStr, make: Make, links: Links) -> Result<Place> {
        let mut reached = PathBuffer::default();
        let mut rest = PathBuffer::default();
        rest.push(path.to_bytes())?;
        let mut followed = 0;
        let mut existed = true;
        while let Some(component) = rest.take_component() {
            match component.as_bytes() {
                b"." => continue,
                b".." => {
                    reached.pop();
                    continue;
                }
                name => reached.push(name)?,
            }
            let is_last = rest.is_done();
            let fd = match self.open_exact(&reached) {
                Ok(fd) => fd,
                Err(error) if error.errno == libc::ENOENT && make != Make::Nothing => {
                    self.make_component(&reached, is_last && make == Make::File)?;
                    existed = false;
                    self.open_exact(&reached)?
                }
                Err(error) => return Err(error.into()),
            };
            let kind = fstat(&fd)?.st_mode & libc::S_IFMT;
            if kind == libc::S_IFLNK && !(is_last && links == Links::ButLast) {
                followed += 1;
                if links == Links::Refuse {
                    return Err(Finding::NotOrdinaryDirectory.into());
                }
                if followed > SYMLINKS_MAX {
                    return Err(SyscallError { call: Call::Openat2, errno: libc::ELOOP }.into());
                }
                let mut target = [0; PATH_BYTES_MAX];
                let target = readlinkat(&fd, c"", &mut target)?;
                reached.pop();
                if target.starts_with(b"/") {
                    // Of procfs's links only the magic ones show absolute paths.
                    if is_on_procfs(&fd)? {
                        return Err(SyscallError { call: Call::Openat2, errno: libc::ELOOP }.into());
                    }
                    reached.clear();
                }
                rest.prepend(target)?;
            } else if kind != libc::S_IFDIR && !is_last {
                return Err(SyscallError { call: Call::Openat2, errno: libc::ENOTDIR }.into());
            }
        }
        Ok(Place { fd: self.open_exact(&reached)?, existed })
    }

    /// Makes the last component of `path`, whose parents exist and are no links.
    fn make_component(&self, path: &PathBuffer, file: bool) -> Result<()> {
        let mut parent = *path;
        let name = parent.pop();
        let parent = self.open_exact(&parent)?;
        let made = if file {
            mknodat(&parent, name.as_c_str(), Node::File, 0o755)
        } else {
            mkdirat(&parent, name.as_c_str(), 0o755)
        };
        match made {
            Err(error) if error.errno != libc::EEXIST => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Opens a path whose every component is taken as it is; a last link is opened itself.
    fn open_exact(&self, path: &PathBuffer) -> std::result::Result<OwnedFd, SyscallError> {
        let flags = OpenFlags::O_PATH | OpenFlags::O_NOFOLLOW;
        let resolve = Resolve::RESOLVE_BENEATH | Resolve::RESOLVE_NO_SYMLINKS;
        if path.bytes().is_empty() {
            return openat(self.fd(), c".", flags, 0);
        }
        match openat2(self.fd(), path.as_c_str(), flags, resolve) {
            Err(error) if error.is_unsupported() => self.descend(path),
            other => other,
        }
    }

    /// [`Root::open_exact`] where there is no openat2: one openat for each component.
    fn descend(&self, path: &PathBuffer) -> std::result::Result<OwnedFd, SyscallError> {
        let mut rest = *path;
        let mut at = openat(self.fd(), c".", OpenFlags::O_PATH, 0)?;
        while let Some(component) = rest.take_component() {
            let mut flags = OpenFlags::O_PATH | OpenFlags::O_NOFOLLOW;
            if !rest.is_done() {
                flags |= OpenFlags::O_DIRECTORY;
            }
            at = openat(&at, component.as_c_str(), flags, 0)?;
        }
        Ok(at)
    }

    /// The directory that shall hold `path`, made where it is missing, and the last component.
    ///
    /// # Errors
    /// As [`Root::find_or_make`]; EINVAL when the path has no last component.
    pub fn parent_of(&self, path: &CStr) -> Result<(OwnedFd, Component)> {
        let mut parent = PathBuffer::default();
        parent.push(path.to_bytes())?;
        let name = parent.pop();
        if matches!(name.as_bytes(), b"" | b"." | b"..") {
            return Err(SyscallError { call: Call::Openat2, errno: libc::EINVAL }.into());
        }
        let place = self.find_or_make(parent.as_c_str_or_dot(), Make::Directory, Links::Follow)?;
        Ok((place.fd, name))
    }
}

/// Whether `fd` lies on a procfs (statfs(2), `PROC_SUPER_MAGIC`).
///
/// # Errors
/// The errno of fstatfs(2).
pub(crate) fn is_on_procfs(fd: impl AsFd) -> Result<bool> {
    Ok(open::filesystem_magic(fd)? == libc::PROC_SUPER_MAGIC)
}

/// Opens the null device of the host as the child sees it before pivot_root, and makes sure that it
/// is the null device (CVE-2025-31133).
///
/// # Errors
/// The errno of the call, or [`Finding::NotNull`].
pub(crate) fn host_null() -> Result<OwnedFd> {
    let fd = openat(CWD, c"/dev/null", OpenFlags::O_PATH | OpenFlags::O_NOFOLLOW, 0)?;
    let status = fstat(&fd)?;
    let is_null = status.st_mode & libc::S_IFMT == libc::S_IFCHR
        && status.st_rdev == open::device_number(1, 3);
    if is_null { Ok(fd) } else { Err(Finding::NotNull.into()) }
}

/// One component of a path.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    bytes: [u8; 258],
    length: usize,
}

impl Component {
    fn new(name: &[u8]) -> Self {
        let mut component = Self { bytes: [0; 258], length: 0 };
        // A longer name is cut, but not below NAME_MAX, so that the kernel refuses it by its length.
        component.length = name.len().min(257);
        component.bytes[..component.length].copy_from_slice(&name[..component.length]);
        component
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The name as a system call wants it.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// A relative path in a fixed buffer, always NUL-terminated. What every mount needs is inlined, so that the
/// child's code stands together: a page fault maps 64 KiB of the program around it.
#[derive(Clone, Copy)]
struct PathBuffer {
    bytes: [u8; PATH_BYTES_MAX],
    start: usize,
    end: usize,
}

impl Default for PathBuffer {
    fn default() -> Self {
        Self { bytes: [0; PATH_BYTES_MAX], start: 0, end: 0 }
    }
}

impl PathBuffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn as_c_str(&self) -> &CStr {
        until_nul(&self.bytes[self.start..]).unwrap_or(c"")
    }

    fn as_c_str_or_dot(&self) -> &CStr {
        if self.bytes().is_empty() { c"." } else { self.as_c_str() }
    }

    fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.bytes[0] = 0;
    }

    /// Appends `name` after a slash.
    #[inline(always)]
    fn push(&mut self, name: &[u8]) -> Result<()> {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let slash = usize::from(self.start < self.end);
        if self.end + slash + name.len() >= PATH_BYTES_MAX {
            return Err(Finding::PathTooLong.into());
        }
        if slash == 1 {
            self.bytes[self.end] = b'/';
            self.end += 1;
        }
        self.bytes[self.end..self.end + name.len()].copy_from_slice(name);
        self.end += name.len();
        self.bytes[self.end] = 0;
        Ok(())
    }

    /// Puts `head` before what is left, with a slash between.
    fn prepend(&mut self, head: &[u8]) -> Result<()> {
        let mut whole = Self::default();
        whole.push(head)?;
        if self.start < self.end {
            whole.push(self.bytes())?;
        }
        *self = whole;
        Ok(())
    }

    /// Removes the last component and gives it; empty when there is none.
    #[inline(always)]
    fn pop(&mut self) -> Component {
        while self.end > self.start && self.bytes[self.end - 1] == b'/' {
            self.end -= 1;
        }
        let begin = self
            .bytes()
            .iter()
            .rposition(|b| *b == b'/')
            .map_or(self.start, |at| self.start + at + 1);
        let name = Component::new(&self.bytes[begin..self.end]);
        self.end = begin;
        while self.end > self.start && self.bytes[self.end - 1] == b'/' {
            self.end -= 1;
        }
        self.bytes[self.end] = 0;
        name
    }

    /// Removes the first component and gives it.
    fn take_component(&mut self) -> Option<Component> {
        while self.start < self.end && self.bytes[self.start] == b'/' {
            self.start += 1;
        }
        if self.start == self.end {
            return None;
        }
        let length = self.bytes().iter().position(|b| *b == b'/').unwrap_or(self.end - self.start);
        let name = Component::new(&self.bytes[self.start..self.start + length]);
        self.start += length;
        Some(name)
    }

    fn is_done(&self) -> bool {
        self.bytes().iter().all(|b| *b == b'/')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_paths_apart() {
        let mut path = PathBuffer::default();
        path.push(b"/a//b/../c/").unwrap();
        let mut names = Vec::new();
        while let Some(name) = path.take_component() {
            names.push(String::from_utf8(name.as_bytes().to_vec()).unwrap());
        }
        assert_eq!(names, ["a", "b", "..", "c"]);
    }

    #[test]
    fn pops_the_last_component() {
        let mut path = PathBuffer::default();
        path.push(b"a/b/c/").unwrap();
        assert_eq!(path.pop().as_bytes(), b"c");
        assert_eq!(path.bytes(), b"a/b");
        assert_eq!(path.pop().as_bytes(), b"b");
        assert_eq!(path.pop().as_bytes(), b"a");
        assert_eq!(path.pop().as_bytes(), b"");
        assert_eq!(path.bytes(), b"");
    }

    #[test]
    fn prepends_a_link_target() {
        let mut path = PathBuffer::default();
        path.push(b"x/y").unwrap();
        path.take_component();
        path.prepend(b"/target/dir").unwrap();
        assert_eq!(path.as_c_str(), c"target/dir/y");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut path = PathBuffer::default();
        assert!(path.push(&[b'a'; PATH_BYTES_MAX]).is_err());
    }
}
