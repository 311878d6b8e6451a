//! Layers as one tree: overlayfs mounts. Made with the mount API of Linux 5.2 where `lowerdir+` is
//! known (6.5), so that no number of layers meets the 4 KiB limit of mount options; otherwise with
//! mount(2) over `/proc/self/fd`, whose paths are short.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
    unmount,
};

use crate::fsroot::{Directory, FsError, Root, Times};
use crate::layer::Form;

/// The kernel's own limit of lower layers.
pub const LOWERS_MAX: usize = 500;
/// The most bytes of a string that fsconfig(2) takes.
const FSCONFIG_BYTES_MAX: usize = 255;

/// Why layers cannot be mounted or a mount be taken away.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is no layer at all, not even an upper directory.
    #[error("there is nothing to mount: no layer and no upper directory")]
    Empty,
    /// More layers than the kernel stacks.
    #[error("{count} layers are more than the {LOWERS_MAX} that overlayfs stacks")]
    TooMany {
        /// The number of layers.
        count: usize,
    },
    /// A path has a byte that mount options cannot carry.
    #[error("cannot use {path:?} as a layer")]
    Layer {
        /// The layer's directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the mount.
    #[error("cannot mount {layers} layers on {target:?} ({step})")]
    Mount {
        /// Where.
        target: PathBuf,
        /// How many lower layers.
        layers: usize,
        /// The call that failed.
        step: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The attributes of the root directory could not be set.
    #[error("cannot prepare the upper directory")]
    Upper(#[source] FsError),
    /// The mount is still in use, or gone.
    #[error("cannot unmount {target:?}")]
    Unmount {
        /// Where.
        target: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Layers to mount.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The layers' directories, lowest first.
    pub lowers: &'a [PathBuf],
    /// Upper and work directory, empty and on one file system; without them the mount is
    /// read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
}

/// How long a mount may be in use when it is to go. A program that another thread of this process has just
/// started holds copies of all its descriptors, those of root file systems too, until shortly after its
/// execve let that thread go on: the kernel closes them last.
const BUSY_MAX: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// A mount that is taken away when dropped.
#[derive(Debug)]
pub struct Mount {
    target: Option<PathBuf>,
}

impl Mount {
    /// Mounts memory on the directory `target`: what is written there comes to no disk but by swapping.
    ///
    /// # Errors
    /// The kernel's.
    pub fn memory(target: &Path, bytes_max: u64) -> Result<Self, MountError> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let attempt = |more: &str| {
            let options = format!("mode=700,size={bytes_max}{more}");
            let options = std::ffi::CString::new(options).ok();
            mount("tmpfs", target, "tmpfs", flags, options.as_deref())
        };
        // What is swapped out is on a disk. Kernels before 6.4 and user namespaces cannot help it.
        attempt(",noswap").or_else(|_| attempt("")).map_err(|errno| {
            let (target, source) = (target.to_owned(), errno.into());
            MountError::Mount { target, layers: 0, step: "mount memory", source }
        })?;
        Ok(Self { target: Some(target.to_owned()) })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.target.as_deref().unwrap_or_else(|| Path::new(""))
    }

    /// Takes the mount away now and tells whether that worked. Whoever uses it has two seconds to end.
    ///
    /// # Errors
    /// The kernel's; the mount is still there then.
    #[expect(clippy::disallowed_methods, reason = "nothing tells when a mount is no longer used")]
    pub fn unmount(mut self) -> Result<(), MountError> {
        let Some(target) = self.target.take() else { return Ok(()) };
        let given_up = Instant::now() + BUSY_MAX;
        loop {
            match unmount(&target, UnmountFlags::NOFOLLOW) {
                Ok(()) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() < given_up => thread::sleep(BUSY_PAUSE),
                Err(errno) => return Err(MountError::Unmount { target, source: errno.into() }),
            }
        }
    }

    /// Leaves the mount in place.
    pub fn keep(mut self) {
        self.target = None;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            // Whoever wants to know why it failed calls `unmount`. Detached, it vanishes with its
            // last user.
            let _ = unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

impl Overlay<'_> {
    /// Mounts the layers on the directory `target`. The root directory of an upper directory gets
    /// the attributes that the image's root has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(&self, target: &Path) -> Result<Mount, MountError> {
        let lowers = distinct(self.lowers);
        Overlay { lowers: &lowers, upper: self.upper }.mount_distinct(target)
    }

    fn mount_distinct(&self, target: &Path) -> Result<Mount, MountError> {
        let failed = |step| {
            move |errno: Errno| MountError::Mount {
                target: target.to_owned(),
                layers: self.lowers.len(),
                step,
                source: errno.into(),
            }
        };
        if let Some((upper, _)) = self.upper {
            adopt_root_attributes(self.lowers, upper).map_err(MountError::Upper)?;
        }
        let bound = Mount { target: Some(target.to_owned()) };
        match (self.lowers, self.upper) {
            ([], None) => Err(MountError::Empty),
            (lowers, _) if lowers.len() > LOWERS_MAX => {
                Err(MountError::TooMany { count: lowers.len() })
            }
            // Overlayfs needs two directories at least; one alone is bound.
            ([only], None) => {
                bind(only, target, MountFlags::RDONLY).map_err(failed("mount"))?;
                Ok(bound)
            }
            ([], Some((upper, _))) => {
                bind(upper, target, MountFlags::empty()).map_err(failed("mount"))?;
                Ok(bound)
            }
            _ => {
                match self.attach(target) {
                    // Before 6.5 there is no `lowerdir+`.
                    Err((_, Errno::INVAL | Errno::NOSYS)) => {
                        self.mount_by_option(target, failed("mount"))?;
                    }
                    Err((step, errno)) => return Err(failed(step)(errno)),
                    Ok(()) => {}
                }
                Ok(bound)
            }
        }
    }

    /// The layers as a tree that is mounted nowhere, read-only.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(lowers: &[PathBuf]) -> Result<Root, MountError> {
        let target = Path::new("(detached)");
        let lowers = &distinct(lowers)[..];
        match lowers {
            [] => Err(MountError::Empty),
            [only] => Root::open(only).map_err(MountError::Upper),
            _ => {
                let overlay = Overlay { lowers, upper: None };
                let detached = overlay.detached().map_err(|(step, errno)| MountError::Mount {
                    target: target.to_owned(),
                    layers: lowers.len(),
                    step,
                    source: errno.into(),
                })?;
                Ok(Root::from(detached))
            }
        }
    }

    fn detached(&self) -> Result<OwnedFd, (&'static str, Errno)> {
        let at = |step| move |errno| (step, errno);
        let has_user_marks = Form::of_this_process().has_user_marks();
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("fsopen"))?;
        // Long paths are given as descriptors, whose own paths are short; they stay open until
        // the mount exists.
        let mut open = Vec::new();
        let mut set = |key: &str, path: &Path| {
            let mut value = path.to_owned();
            if path.as_os_str().len() > FSCONFIG_BYTES_MAX {
                let fd = open_path(path)?;
                value = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                open.push(fd);
            }
            fsconfig_set_string(context.as_fd(), key, value.as_path())
        };
        for lower in self.lowers.iter().rev() {
            set("lowerdir+", lower).map_err(at("fsconfig lowerdir+"))?;
        }
        if let Some((upper, work)) = self.upper {
            set("upperdir", upper).map_err(at("fsconfig upperdir"))?;
            set("workdir", work).map_err(at("fsconfig workdir"))?;
        } else {
            fsconfig_set_flag(context.as_fd(), "ro").map_err(at("fsconfig ro"))?;
        }
        if has_user_marks {
            fsconfig_set_flag(context.as_fd(), "userxattr").map_err(at("fsconfig userxattr"))?;
        }
        for (key, value) in options(has_user_marks) {
            fsconfig_set_string(context.as_fd(), *key, *value).map_err(at("fsconfig"))?;
        }
        fsconfig_create(context.as_fd()).map_err(at("fsconfig create"))?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(at("fsmount"))
    }

    fn attach(&self, target: &Path) -> Result<(), (&'static str, Errno)> {
        let detached = self.detached()?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(detached.as_fd(), "", CWD, target, flags).map_err(|errno| ("move_mount", errno))
    }

    fn mount_by_option(
        &self,
        target: &Path,
        failed: impl Fn(Errno) -> MountError,
    ) -> Result<(), MountError> {
        let mut open = Vec::new();
        let mut short = |path: &Path| {
            let fd = open_path(path)
                .map_err(|e| MountError::Layer { path: path.to_owned(), source: e.into() })?;
            let short = format!("/proc/self/fd/{}", fd.as_raw_fd());
            open.push(fd);
            Ok::<String, MountError>(short)
        };
        let lowers: Vec<String> =
            self.lowers.iter().rev().map(|l| short(l)).collect::<Result<_, _>>()?;
        let mut text = format!("lowerdir={}", lowers.join(":"));
        let mut flags = MountFlags::RDONLY;
        if let Some((upper, work)) = self.upper {
            flags = MountFlags::empty();
            // Writing to a String does not fail.
            let _ = write!(text, ",upperdir={},workdir={}", short(upper)?, short(work)?);
        }
        let has_user_marks = Form::of_this_process().has_user_marks();
        if has_user_marks {
            text.push_str(",userxattr");
        }
        for (key, value) in options(has_user_marks) {
            let _ = write!(text, ",{key}={value}");
        }
        let text = std::ffi::CString::new(text).map_err(|_| failed(Errno::INVAL))?;
        mount("overlay", target, "overlay", flags, Some(text.as_c_str())).map_err(failed)
    }
}

/// A rename of a lower directory and a change of attributes copy the files up, so that an upper
/// directory is complete by itself and can become a layer. With `userxattr` that is so by itself, and
/// saying it is refused.
fn options(has_user_marks: bool) -> &'static [(&'static str, &'static str)] {
    if has_user_marks {
        &[("index", "off")]
    } else {
        &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")]
    }
}

/// Some images have a layer twice, which the kernel refuses to stack. All that the lower one of two
/// equal layers says, the upper one says again.
fn distinct(lowers: &[PathBuf]) -> Vec<PathBuf> {
    let again = |(at, lower): &(usize, &PathBuf)| lowers[at + 1..].contains(lower);
    let kept = lowers.iter().enumerate().filter(|candidate| !again(candidate));
    kept.map(|(_, lower)| lower.clone()).collect()
}

fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}

fn bind(source: &Path, target: &Path, flags: MountFlags) -> Result<(), Errno> {
    rustix::mount::mount_bind(source, target)?;
    if flags.is_empty() {
        return Ok(());
    }
    let remounted = rustix::mount::mount_remount(target, MountFlags::BIND | flags, c"");
    if remounted.is_err() {
        let _ = unmount(target, UnmountFlags::DETACH);
    }
    remounted
}

/// The root directory of a mount has the upper directory's attributes, so those must be the
/// image's: of the highest layer that says what they are, otherwise of the lowest.
pub(crate) fn adopt_root_attributes(lowers: &[PathBuf], upper: &Path) -> Result<(), FsError> {
    let says = |tree: &&PathBuf| {
        tree.parent().is_some_and(|layer| layer.join(crate::store::ROOT_ENTRY_MARK).exists())
    };
    let Some(source) = lowers.iter().rev().find(says).or(lowers.first()) else {
        return set_plain_root(upper);
    };
    let metadata = Root::open(source)?.directory().stat_self()?;
    let (Some(parent), Some(name)) = (upper.parent(), upper.file_name()) else { return Ok(()) };
    let parent: Directory = Root::open(parent)?.directory().try_clone()?;
    let name: &OsStr = name;
    parent.set_owner(name, metadata.uid, metadata.gid)?;
    parent.set_mode(name, metadata.mode)?;
    parent.set_times(name, Times::both(metadata.mtime))
}

/// The root directory of an image without layers, whatever the umask was when it was made.
pub(crate) fn set_plain_root(upper: &Path) -> Result<(), FsError> {
    let (Some(parent), Some(name)) = (upper.parent(), upper.file_name()) else { return Ok(()) };
    Root::open(parent)?.directory().set_mode(name, 0o755)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    /// A folder with 150 layers, each with one file, whose paths are too long for fsconfig(2).
    fn layers(name: &str) -> (PathBuf, Vec<PathBuf>) {
        let top = std::env::temp_dir().join(format!("keel-overlay-{}-{name}", std::process::id()));
        let long = top.join("x".repeat(200)).join("y".repeat(100));
        let layer = |n: usize| {
            let path = long.join(format!("layer-{n}"));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(format!("file-{n}")), "").unwrap();
            path
        };
        let lowers = (0..150).map(layer).collect();
        for name in ["upper", "work", "target"] {
            fs::create_dir_all(long.join(name)).unwrap();
        }
        (top, lowers)
    }

    fn check(name: &str, mount: impl Fn(&Overlay<'_>, &Path)) {
        let (top, lowers) = layers(name);
        let place = |name: &str| lowers[0].parent().unwrap().join(name);
        let (upper, work, target) = (place("upper"), place("work"), place("target"));
        for with_upper in [true, false] {
            let upper = with_upper.then_some((upper.as_path(), work.as_path()));
            let overlay = Overlay { lowers: &lowers, upper };
            mount(&overlay, &target);
            let guard = Mount { target: Some(target.clone()) };
            assert_eq!(fs::read_dir(&target).unwrap().count(), 150);
            let written = fs::write(target.join("file-7"), "changed");
            assert_eq!(written.is_ok(), with_upper);
            guard.unmount().unwrap();
        }
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn mounts_many_layers_with_long_paths() {
        check("new", |overlay, target| overlay.attach(target).unwrap());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the use is to end while the other side waits")]
    fn waits_for_whoever_uses_it() {
        let target = std::env::temp_dir().join(format!("keel-busy-mount-{}", std::process::id()));
        fs::create_dir(&target).unwrap();
        let mount = Mount::memory(&target, 4096).unwrap();
        let user = fs::File::open(&target).unwrap();
        let ends = thread::spawn(|| {
            thread::sleep(Duration::from_millis(50));
            drop(user);
        });
        mount.unmount().unwrap();
        ends.join().unwrap();

        let mount = Mount::memory(&target, 4096).unwrap();
        let user = fs::File::open(&target).unwrap();
        let error = mount.unmount().unwrap_err();
        assert!(
            matches!(&error, MountError::Unmount { source, .. } if source.raw_os_error() == Some(16))
        );
        drop(user);
        unmount(&target, UnmountFlags::NOFOLLOW).unwrap();
        fs::remove_dir(&target).unwrap();
    }

    /// As on a kernel before 6.5.
    #[test]
    fn mounts_them_by_options_too() {
        check("old", |overlay, target| {
            let failed = |errno: Errno| MountError::Unmount {
                target: target.to_owned(),
                source: errno.into(),
            };
            overlay.mount_by_option(target, failed).unwrap();
        });
    }
}
