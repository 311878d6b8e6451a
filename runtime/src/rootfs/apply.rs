//! The steps of [`super::plan`], done by the child. Allocates nothing.
//!
//! New file systems are mounted on the working directory, which is set to the descriptor of the
//! destination just before: the kernel then looks up no path. Trees are moved descriptor to
//! descriptor. Neither can be led elsewhere by somebody who changes the rootfs at the same time.

mod attach;
mod attributes;
mod copy_up;
mod cover;
mod nodes;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use attach::{
    NewMount, attach_root, bind, forget, mount_new, move_root, pivot, remount, show_instead,
};
use attributes::{set_attributes, set_flags, set_propagation};
use copy_up::{Wanted, copy_up};
use cover::{make_readonly, mask, mask_in_directory, readonly_in_directory};
use nodes::{make_device, make_link, make_link_at, show_device};

use super::plan::{OnProcfs, Step, Tree};
use crate::arena::{Arena, Text};
use crate::failure::{Failure, Result};
use crate::root::{Links, Make, Root};
use crate::sys::error::{Call, SyscallError};
use crate::sys::mount::{self, ATTR_RDONLY, Attributes, MountFlags};
use crate::sys::open::{CWD, Node, OpenFlags, leave_open, mkdirat, openat};
use crate::sys::process::{chdir, chroot_here, fchdir};
use crate::sys::text::until_nul;

/// What the steps leave for one another.
#[derive(Debug, Default)]
pub struct Live {
    root: Option<Root>,
    /// Device and inode of the root.
    identity: Option<(u64, u64)>,
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
    /// A detached mount of the null device that has found no file yet.
    cover: Option<OwnedFd>,
    empty_directory: Option<OwnedFd>,
    /// Whether the attributes of a whole tree are set part by part.
    in_parts: bool,
}

impl Live {
    /// The rootfs.
    ///
    /// # Errors
    /// EBADF before the step that opens it.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| missing().into())
    }

    fn directory(&self) -> Result<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd).ok_or_else(|| missing().into())
    }
}

fn missing() -> SyscallError {
    SyscallError { call: Call::Open, errno: libc::EBADF }
}

/// How the parent is asked for a tree.
pub type Ask<'a> = dyn Fn(u16, Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>> + 'a;

/// The trees that the parent opens.
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Trees<'a> {
    /// Those that it has opened, in the order of the plan.
    pub open: &'a [Option<OwnedFd>],
    /// Asks it for the one with this index in the plan's sources; or to map the ids of one that is open here,
    /// and then there is none to get.
    pub ask: &'a Ask<'a>,
}

impl Trees<'_> {
    /// For steps that take none.
    pub const NONE: Trees<'static> = Trees { open: &[], ask: &|_, _| Ok(None) };

    fn prepared(&self, index: u16) -> Result<BorrowedFd<'_>> {
        let tree = self.open.get(usize::from(index)).and_then(Option::as_ref);
        tree.map(AsFd::as_fd).ok_or_else(|| missing().into())
    }
}

/// Does one step. `trees` are those that the parent opens.
///
/// # Errors
/// The failure of the step.
pub fn apply(step: &Step, arena: &Arena, trees: &Trees<'_>, live: &mut Live) -> Result<()> {
    let text = |text: Text| arena.c_str(text);
    match *step {
        Step::PropagateHost(flags) => Ok(mount::mount_propagation(c"/", propagation(flags))?),
        Step::PropagateHostAt { target, flags } => {
            Ok(mount::mount_propagation(text(target), propagation(flags))?)
        }
        Step::AttachRoot { tree, path } => attach_root(tree, text(path), trees, live),
        Step::OpenRoot(path) => {
            let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
            live.root = Some(Root::new(openat(CWD, text(path), flags, 0)?));
            Ok(())
        }
        Step::Mount {
            target,
            in_directory,
            kind,
            source,
            flags,
            data,
            ordinary,
            inherit_mode,
            procfs,
            as_written,
            instead,
        } => {
            let links = if ordinary { Links::Refuse } else { Links::Follow };
            let request = NewMount {
                in_directory,
                kind: text(kind),
                source: text(source),
                flags: MountFlags::from_bits_retain(flags),
                data: text(data),
                inherit_mode,
                procfs,
                as_written,
            };
            match (mount_new(live, text(target), links, &request), instead) {
                (Err(refused), Some(tree)) if is_refusal(refused) => {
                    show_instead(live, text(tree), text(target), links, &request)
                        .map_err(|other| if is_absence(other) { refused } else { other })
                }
                (mounted, _) => mounted,
            }
        }
        Step::CopyUp { target, source, attributes, data, inherit_mode } => {
            let wanted = Wanted { target, source, attributes, data, inherit_mode };
            copy_up(live, arena, &wanted)
        }
        Step::Remount { target, flags, data } => {
            remount(live.root()?, text(target), flags, text(data))
        }
        Step::Bind { tree, recursive, target, link, procfs } => {
            with_tree(tree, recursive, arena, trees, |tree| {
                bind(live, tree, text(target), last(link), procfs)
            })
        }
        Step::BindInto { tree, name, optional } => {
            mkdirat(live.directory()?, text(name), 0o755)?;
            let bound = with_tree(tree, false, arena, trees, |tree| {
                Ok(mount::move_mount_below(tree, live.directory()?, text(name))?)
            });
            match bound {
                Err(failure) if optional && is_absence(failure) => Ok(()),
                other => other,
            }
        }
        Step::BindIfThere { tree, target } => {
            let bound = with_tree(tree, false, arena, trees, |tree| {
                bind(live, tree, text(target), Links::Follow, OnProcfs::Nowhere)
            });
            match bound {
                Err(failure) if is_absence(failure) => Ok(()),
                other => other,
            }
        }
        Step::Attributes { target, attributes, recursive } => {
            let place = live.root()?.find(text(target))?;
            set_attributes(&place, attributes, recursive)
        }
        Step::Flags { target, link, attributes, keep, .. } => {
            set_flags(live.root()?.find_by(text(target), last(link))?, attributes, keep)
        }
        Step::WholeAttributes { attributes, .. } => {
            live.in_parts = match set_attributes(live.directory()?, attributes, true) {
                Err(Failure::Syscall(error)) if error.is_unsupported() => {
                    set_attributes(live.directory()?, attributes, false)?;
                    true
                }
                other => other.map(|()| false)?,
            };
            Ok(())
        }
        Step::PartAttributes { .. } if !live.in_parts => Ok(()),
        Step::PartAttributes { target, attributes, optional } => {
            let place = live.root()?.find(text(target))?;
            match set_attributes(&place, attributes, false) {
                // No mount stands there: it was left out.
                Err(failure) if optional && failure.errno() == Some(libc::EINVAL) => Ok(()),
                other => other,
            }
        }
        Step::Propagate { target, flags } => {
            let place = live.root()?.find(text(target))?;
            set_propagation(&place, flags)
        }
        Step::OpenDirectory(path) => {
            let root = live.root()?;
            let place = root.find_or_make(text(path), Make::Directory, Links::Follow)?;
            if let Some(former) = live.directory.replace(place.fd) {
                leave_open(former);
            }
            Ok(())
        }
        Step::Device { name, node, mode, uid, gid, host } => {
            let (directory, name) = (live.directory()?, text(name));
            match make_device(directory, name, node, mode, (uid, gid)) {
                Err(failure) if failure.errno() == Some(libc::EPERM) && node != Node::Fifo => {
                    show_device(directory, name, text(host))
                }
                other => other,
            }
        }
        Step::DeviceAt { path, node, mode, uid, gid } => {
            let (parent, name) = live.root()?.parent_of(text(path))?;
            make_device(parent.as_fd(), name.as_c_str(), node, mode, (uid, gid))
        }
        Step::Link { name, target, replace } => {
            make_link(live.directory()?, text(name), text(target), replace)
        }
        Step::LinkAt { path, target } => make_link_at(live.root()?, text(path), text(target)),
        Step::Mask { path, in_directory: true } => mask_in_directory(live, text(path)),
        Step::Mask { path, in_directory: false } => mask(live, text(path)),
        Step::Readonly { path, in_directory: true } => readonly_in_directory(live, text(path)),
        Step::Readonly { path, in_directory: false } => make_readonly(live.root()?, text(path)),
        Step::Directory(path) => {
            live.root()?.find_or_make(text(path), Make::Directory, Links::Follow)?;
            Ok(())
        }
        Step::RootReadonly => {
            let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
            set_attributes(live.root()?.fd(), attributes, false)
        }
        Step::Pivot { leave_peers } => pivot(live.root()?, leave_peers),
        Step::Forget(place) => forget(text(place)),
        Step::MoveRoot => move_root(live.root()?),
        Step::Chroot => {
            fchdir(live.root()?.fd())?;
            chroot_here()?;
            Ok(chdir(c"/")?)
        }
        Step::PropagateRoot(flags) => Ok(mount::mount_propagation(c"/", propagation(flags))?),
    }
}

fn with_tree(
    tree: Tree,
    recursive: bool,
    arena: &Arena,
    trees: &Trees<'_>,
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    match tree {
        Tree::Prepared(index) => match trees.prepared(index) {
            Ok(tree) => attach(tree),
            Err(_) => attach_own((trees.ask)(index, None)?.ok_or_else(missing)?, attach),
        },
        Tree::Mapped { source, path, link } => {
            let open = if link { mount::open_tree_clone_link } else { mount::open_tree_clone };
            let tree = open(CWD, arena.c_str(path), recursive)?;
            (trees.ask)(source, Some(tree.as_fd()))?;
            attach_own(tree, attach)
        }
        Tree::Path(path) => {
            attach_own(mount::open_tree_clone(CWD, arena.c_str(path), recursive)?, attach)
        }
        Tree::LinkPath(path) => {
            attach_own(mount::open_tree_clone_link(CWD, arena.c_str(path), recursive)?, attach)
        }
    }
}

fn attach_own(tree: OwnedFd, attach: impl FnOnce(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
    let attached = attach(tree.as_fd());
    leave_open(tree);
    attached
}

/// The last name of a path.
fn last_name(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let start = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    until_nul(&bytes[start..]).unwrap_or(c"")
}

fn last(link: bool) -> Links {
    if link { Links::ButLast } else { Links::Follow }
}

fn propagation(flags: u64) -> MountFlags {
    MountFlags::from_bits_retain(flags)
}

/// Whether the kernel does not let this process mount a file system: it shows what is not its own, or lies
/// there already.
fn is_refusal(error: Failure) -> bool {
    matches!(error.errno(), Some(libc::EPERM | libc::EBUSY))
}

/// Paths that are not there need no hiding.
fn is_absence(error: Failure) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR))
}
