//! The system calls that ask for a file by its path, and what each learns of it.

use super::tree::Depth;

/// The audit architecture of this program's own calls.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_00b7;
/// Elsewhere no command can be followed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) const ARCHITECTURE: u32 = 0;

/// A call by its name and number, with its paths.
pub(super) struct PathCall {
    pub(super) name: &'static str,
    number: i64,
    pub(super) paths: &'static [PathArgument],
    /// Whether there may be a link afterwards, or one in another place.
    pub(super) makes_links: bool,
}

/// Where among the arguments a path is.
#[derive(Clone, Copy)]
pub(super) struct PathArgument {
    /// The argument with the directory that a relative path starts from; else it is the working directory.
    pub(super) directory: Option<usize>,
    pub(super) path: usize,
    pub(super) usage: Usage,
}

/// What the caller does with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// It learns the attributes, or that there is nothing; or it changes something, which is seen in the layer.
    Look,
    /// It opens it, with the flags in this argument.
    Open(usize),
    /// It opens it; the flags are in memory.
    OpenSomehow,
    /// It runs it.
    Execute,
    /// It removes it, or with a flag in this argument a directory.
    Unlink(usize),
    /// It moves it, so that the content is in the layer by another name; or removes a directory, which works on an
    /// empty one only.
    Take,
}

impl Usage {
    /// How much the caller learns.
    pub(super) fn depth(self, arguments: &[u64; 6]) -> Depth {
        const PATH_ONLY: u64 = libc::O_PATH as u64;
        const DIRECTORY: u64 = libc::AT_REMOVEDIR as u64;
        match self {
            Self::Look => Depth::Attributes,
            Self::Open(flags) if arguments[flags] & PATH_ONLY != 0 => Depth::Attributes,
            Self::Unlink(flags) if arguments[flags] & DIRECTORY == 0 => Depth::Attributes,
            _ => Depth::Content,
        }
    }
}

/// The path is the argument `path`.
const fn at(path: usize, usage: Usage) -> PathArgument {
    PathArgument { directory: None, path, usage }
}

/// The path is the second of the two arguments from `directory` on.
const fn below(directory: usize, usage: Usage) -> PathArgument {
    PathArgument { directory: Some(directory), path: directory + 1, usage }
}

/// Of the calls with paths these begin so: symlink(at), link(at), rename(at)(2).
const fn makes_links(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        [b's', b'y', b'm', ..] | [b'l', b'i', b'n', b'k', ..] | [b'r', b'e', b'n', ..]
    )
}

macro_rules! calls {
    ($($name:ident $number:ident [$($path:expr),+];)*) => {
        &[$(PathCall {
            name: stringify!($name),
            number: libc::$number,
            paths: &[$($path),+],
            makes_links: makes_links(stringify!($name)),
        },)*]
    };
}

use Usage::{Execute, Look, Open, OpenSomehow, Take, Unlink};

const EVERYWHERE: &[PathCall] = calls! {
    openat SYS_openat [below(0, Open(2))];
    openat2 SYS_openat2 [below(0, OpenSomehow)];
    execve SYS_execve [at(0, Execute)];
    execveat SYS_execveat [below(0, Execute)];
    newfstatat SYS_newfstatat [below(0, Look)];
    statx SYS_statx [below(0, Look)];
    faccessat SYS_faccessat [below(0, Look)];
    faccessat2 SYS_faccessat2 [below(0, Look)];
    readlinkat SYS_readlinkat [below(0, Look)];
    statfs SYS_statfs [at(0, Look)];
    chdir SYS_chdir [at(0, Look)];
    chroot SYS_chroot [at(0, Look)];
    truncate SYS_truncate [at(0, Look)];
    getxattr SYS_getxattr [at(0, Look)];
    lgetxattr SYS_lgetxattr [at(0, Look)];
    listxattr SYS_listxattr [at(0, Look)];
    llistxattr SYS_llistxattr [at(0, Look)];
    setxattr SYS_setxattr [at(0, Look)];
    lsetxattr SYS_lsetxattr [at(0, Look)];
    removexattr SYS_removexattr [at(0, Look)];
    lremovexattr SYS_lremovexattr [at(0, Look)];
    name_to_handle_at SYS_name_to_handle_at [below(0, Look)];
    inotify_add_watch SYS_inotify_add_watch [at(1, Look)];
    mkdirat SYS_mkdirat [below(0, Look)];
    mknodat SYS_mknodat [below(0, Look)];
    unlinkat SYS_unlinkat [below(0, Unlink(2))];
    linkat SYS_linkat [below(0, Look), below(2, Look)];
    symlinkat SYS_symlinkat [below(1, Look)];
    renameat2 SYS_renameat2 [below(0, Take), below(2, Take)];
    fchmodat SYS_fchmodat [below(0, Look)];
    fchmodat2 SYS_fchmodat2 [below(0, Look)];
    fchownat SYS_fchownat [below(0, Look)];
    utimensat SYS_utimensat [below(0, Look)];
};

#[cfg(target_arch = "x86_64")]
const OLDER: &[PathCall] = calls! {
    open SYS_open [at(0, Open(1))];
    creat SYS_creat [at(0, OpenSomehow)];
    stat SYS_stat [at(0, Look)];
    lstat SYS_lstat [at(0, Look)];
    access SYS_access [at(0, Look)];
    readlink SYS_readlink [at(0, Look)];
    mkdir SYS_mkdir [at(0, Look)];
    rmdir SYS_rmdir [at(0, Take)];
    mknod SYS_mknod [at(0, Look)];
    unlink SYS_unlink [at(0, Look)];
    link SYS_link [at(0, Look), at(1, Look)];
    symlink SYS_symlink [at(1, Look)];
    rename SYS_rename [at(0, Take), at(1, Look)];
    renameat SYS_renameat [below(0, Take), below(2, Look)];
    chmod SYS_chmod [at(0, Look)];
    chown SYS_chown [at(0, Look)];
    lchown SYS_lchown [at(0, Look)];
    utime SYS_utime [at(0, Look)];
    utimes SYS_utimes [at(0, Look)];
    futimesat SYS_futimesat [below(0, Look)];
};
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[PathCall] = calls! {
    renameat SYS_renameat [below(0, Take), below(2, Look)];
};

/// Calls with paths that are younger than the table. A watched command does not get them, as on an older kernel.
pub(super) const YOUNGER: [&str; 4] = ["getxattrat", "setxattrat", "listxattrat", "removexattrat"];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static PathCall> {
    EVERYWHERE.iter().chain(OLDER)
}

/// The call with this number.
pub(super) fn find(number: i64) -> Option<&'static PathCall> {
    all().find(|call| call.number == number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn no_call_is_there_twice() {
        let names: BTreeSet<_> = all().map(|call| call.name).collect();
        let numbers: BTreeSet<_> = all().map(|call| call.number).collect();
        assert_eq!((names.len(), numbers.len()), (all().count(), all().count()));
    }
}
