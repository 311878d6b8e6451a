//! A tree and the paths in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::At;
use super::{Directory, FileKind, FsError, Metadata, Times, Walk, Xattr};

/// The kernel's bound of a path in one call, with the byte that ends it.
const PATH_BYTES_MAX: usize = 4096;

/// How often a resolution that raced with a rename is tried again before it is an error.
const RETRIES_MAX: usize = 128;

/// The root of a tree. Paths are relative to it; a leading `/` means the same.
#[derive(Debug)]
pub struct Root {
    directory: Directory,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Root {
    pub(crate) fn from_directory(directory: Directory) -> Self {
        Self { directory }
    }
}

impl From<OwnedFd> for Root {
    fn from(fd: OwnedFd) -> Self {
        Self { directory: Directory::from(fd) }
    }
}

fn below(path: &Path) -> &Path {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() { Path::new(".") } else { relative }
}

impl Root {
    /// Opens the tree at `path` of the host.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).map(Self::from).at("open", path)
    }

    /// The root as a directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Resolves `path` inside the tree, following every link but never out of it.
    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.as_os_str().len() >= PATH_BYTES_MAX {
            return self.resolve_long(path, flags);
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(self, below(path), flags, Mode::empty(), resolve) {
                // The kernel says so when a rename raced with a `..`.
                Err(Errno::AGAIN) if tries < RETRIES_MAX => tries += 1,
                other => return other,
            }
        }
    }

    /// Resolves a path that is too long for one call piece by piece. A link in the way is refused: where it leads
    /// is a matter of the whole tree.
    fn resolve_long(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let open = |from: BorrowedFd<'_>, piece: &Path, flags: OFlags| {
            rustix::fs::openat2(from, piece, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        };
        let mut reached: Option<OwnedFd> = None;
        let mut piece = PathBuf::new();
        for name in below(path).components() {
            if piece.as_os_str().len() + name.as_os_str().len() + 2 > PATH_BYTES_MAX {
                let from = reached.as_ref().map_or(self.as_fd(), AsFd::as_fd);
                reached = Some(open(from, &piece, OFlags::PATH | OFlags::DIRECTORY)?);
                piece.clear();
            }
            piece.push(name);
        }
        let from = reached.as_ref().map_or(self.as_fd(), AsFd::as_fd);
        open(from, below(&piece), flags)
    }

    /// Opens the directory at `path`, following links inside the tree.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_directory(&self, path: &Path) -> Result<Directory, FsError> {
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY).map(Directory::from).at("open", path)
    }

    /// Opens the directory at `path`, which no link may be part of.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` if there is a link in the way.
    pub(crate) fn open_directory_without_links(&self, path: &Path) -> Result<Directory, FsError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(self, below(path), flags, Mode::empty(), resolve)
            .map(Directory::from)
            .at("open", path)
    }

    /// Opens the file at `path` for reading, following links inside the tree.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_file(&self, path: &Path) -> Result<File, FsError> {
        self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK).map(File::from).at("open", path)
    }

    /// Reads the regular file at `path`, at most `bytes_max` of it; nothing if it does not exist.
    ///
    /// # Errors
    /// The kernel's; `EFBIG` if the file is longer, `EINVAL` if it is not regular.
    pub fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, FsError> {
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() || error.is(Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !file.metadata().at("stat", path)?.is_file() {
            return Err(FsError::new("read", path, Errno::INVAL));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).at("read", path)?;
        if bytes.len() as u64 > bytes_max {
            return Err(FsError::new("read", path, Errno::FBIG));
        }
        Ok(Some(bytes))
    }

    /// The directory that holds `path` and the last name of it. Links in the way are followed
    /// inside the tree.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if the last component is no name.
    pub fn parent<'p>(&self, path: &'p Path) -> Result<(Directory, &'p OsStr), FsError> {
        let relative = below(path);
        match relative.components().next_back() {
            Some(Component::Normal(name)) => {
                let parent = relative.parent().unwrap_or_else(|| Path::new("."));
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                Ok((self.resolve(parent, flags).map(Directory::from).at("open", parent)?, name))
            }
            _ => Err(FsError::new("resolve", path, Errno::INVAL)),
        }
    }

    /// The attributes of `path` after following links inside the tree; nothing if it does not
    /// exist.
    ///
    /// # Errors
    /// The kernel's.
    pub fn metadata(&self, path: &Path) -> Result<Option<Metadata>, FsError> {
        match self.resolve(path, OFlags::PATH) {
            Ok(fd) => Directory::from(fd).stat_self().map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(FsError::new("stat", path, errno)),
        }
    }

    /// The attributes of `path` itself, its last component not followed; nothing if it does not
    /// exist.
    ///
    /// # Errors
    /// The kernel's.
    pub fn symlink_metadata(&self, path: &Path) -> Result<Option<Metadata>, FsError> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => Directory::from(fd).stat_self().map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(FsError::new("stat", path, errno)),
        }
    }

    /// Where `path` really is: the same path with every link in it followed inside the tree, its
    /// missing end kept as it is. The result has no `..` and starts with no `/`.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` after 40 links.
    pub fn real_path(&self, path: &Path) -> Result<PathBuf, FsError> {
        let mut links = 0;
        let mut real: Vec<OsString> = Vec::new();
        let mut pending: Vec<OsString> = components_reversed(path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let here: PathBuf = real.iter().collect();
            let target = match self.open_directory(&here) {
                Ok(directory) => match directory.stat(&name)? {
                    Some(found) if found.kind == FileKind::Symlink => {
                        Some(directory.read_link(&name)?)
                    }
                    _ => None,
                },
                Err(error) if error.is_not_found() || error.is(Errno::NOTDIR) => None,
                Err(error) => return Err(error),
            };
            let Some(target) = target else {
                real.push(name);
                continue;
            };
            links += 1;
            // The kernel's own limit.
            if links > 40 {
                return Err(FsError::new("resolve", path, Errno::LOOP));
            }
            if target.as_bytes().first() == Some(&b'/') {
                real.clear();
            }
            pending.extend(components_reversed(Path::new(&target)));
        }
        Ok(real.iter().collect())
    }

    /// Creates the file at `path`, which must not exist, for reading and writing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File, FsError> {
        let (parent, name) = self.parent(path)?;
        parent.create_file(name, mode).map_err(|e| with_path(e, path))
    }

    /// Creates the directory at `path`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_directory(&self, path: &Path, mode: u32) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.create_directory(name, mode).map_err(|e| with_path(e, path))
    }

    /// Creates the directory at `path` and all that are missing above it, following links inside
    /// the tree also where they dangle. Returns the created ones as real paths, highest first.
    /// Their mode is exactly `mode`, whatever the umask.
    ///
    /// # Errors
    /// The kernel's; `ENOTDIR` if something else is in the way.
    pub fn create_directory_all(&self, path: &Path, mode: u32) -> Result<Vec<PathBuf>, FsError> {
        let mut created = Vec::new();
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => return Ok(created),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(FsError::new("create directory", path, errno)),
        }
        let real = self.real_path(path)?;
        let mut here = PathBuf::new();
        for name in real.components() {
            let parent = self.open_directory(&here)?;
            let name = name.as_os_str();
            here.push(name);
            match parent.create_directory(name, mode) {
                Ok(()) => {
                    parent.set_mode(name, mode).map_err(|e| with_path(e, &here))?;
                    created.push(here.clone());
                }
                Err(error) if error.is_present() => {}
                Err(error) => return Err(with_path(error, &here)),
            }
        }
        Ok(created)
    }

    /// Creates the symbolic link `path` to `target`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn symlink(&self, target: &OsStr, path: &Path) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.symlink(target, name).map_err(|e| with_path(e, path))
    }

    /// Gives the file at `from` the further name `to`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hard_link(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        to_parent.hard_link(&from_parent, from_name, to_name).map_err(|e| with_path(e, to))
    }

    /// Creates a device node or a fifo at `path`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_node(
        &self,
        path: &Path,
        kind: FileKind,
        mode: u32,
        device: (u32, u32),
    ) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.create_node(name, kind, mode, device).map_err(|e| with_path(e, path))
    }

    /// Removes `path` itself, which is no directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlink(&self, path: &Path) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.unlink(name).map_err(|e| with_path(e, path))
    }

    /// Removes `path` itself and, if it is a directory, all in it.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` is none.
    pub fn remove_tree(&self, path: &Path) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.remove_tree(name).map_err(|e| with_path(e, path))
    }

    /// Moves `from` to `to`, replacing what is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        to_parent.rename(&from_parent, from_name, to_name).map_err(|e| with_path(e, to))
    }

    /// The target of the link at `path`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_link(&self, path: &Path) -> Result<OsString, FsError> {
        let (parent, name) = self.parent(path)?;
        parent.read_link(name).map_err(|e| with_path(e, path))
    }

    /// The names in the directory at `path` with their kinds, sorted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self, path: &Path) -> Result<Vec<(OsString, FileKind)>, FsError> {
        self.open_directory(path)?.entries().map_err(|e| with_path(e, path))
    }

    /// Sets the owner and group of `path` itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.set_owner(name, uid, gid).map_err(|e| with_path(e, path))
    }

    /// Sets the low twelve mode bits of `path` itself, which is no symbolic link.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.set_mode(name, mode).map_err(|e| with_path(e, path))
    }

    /// Sets the times of `path` itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_times(&self, path: &Path, times: Times) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.set_times(name, times).map_err(|e| with_path(e, path))
    }

    /// Sets an extended attribute of `path` itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_xattr(&self, path: &Path, attribute: &[u8], value: &[u8]) -> Result<(), FsError> {
        let (parent, name) = self.parent(path)?;
        parent.set_xattr(name, attribute, value).map_err(|e| with_path(e, path))
    }

    /// All extended attributes of `path` itself, sorted by name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn xattrs(&self, path: &Path) -> Result<Vec<Xattr>, FsError> {
        let (parent, name) = self.parent(path)?;
        parent.xattrs(name).map_err(|e| with_path(e, path))
    }

    /// All below the directory at `path`, parents before children, siblings sorted by name; links
    /// are listed and not entered.
    ///
    /// # Errors
    /// The kernel's.
    pub fn walk(&self, path: &Path) -> Result<Walk, FsError> {
        Walk::new(self.open_directory(path)?)
    }
}

/// The names of a path and its `..`, the last one first: a stack for whoever follows links.
pub(crate) fn components_reversed(path: &Path) -> Vec<OsString> {
    let keep = |c: Component<'_>| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(keep).collect()
}

/// The path that the caller knows says more than the last name of it.
pub(crate) fn with_path(error: FsError, path: &Path) -> FsError {
    FsError { path: path.to_owned(), ..error }
}
