//! The steps of [`super::plan`], done by the child. Allocates nothing.
//!
//! New file systems are mounted on the working directory, which is set to the descriptor of the
//! destination just before: the kernel then looks up no path. Trees are moved descriptor to
//! descriptor. Neither can be led elsewhere by somebody who changes the rootfs at the same time.

mod attach;
mod attributes;
mod cover;
mod nodes;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use attach::{NewMount, attach_root, bind, mount_new, pivot};
use attributes::{set_attributes, set_propagation};
use cover::{make_readonly, mask};
use nodes::{make_device, make_link};

use super::plan::{Step, Tree};
use crate::arena::{Arena, Text};
use crate::failure::{Failure, Result};
use crate::root::{Links, Make, Root};
use crate::sys::error::{Call, SyscallError};
use crate::sys::mount::{self, ATTR_RDONLY, Attributes, MountFlags};
use crate::sys::open::{CWD, OpenFlags, leave_open, mkdirat, openat};
use crate::sys::process::{chdir, chroot_here, fchdir};

/// What the steps leave for one another.
#[derive(Debug, Default)]
pub struct Live {
    root: Option<Root>,
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
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

/// Does one step. `prepared` are the trees that the parent opened.
///
/// # Errors
/// The failure of the step.
pub fn apply(step: &Step, arena: &Arena, prepared: &[OwnedFd], live: &mut Live) -> Result<()> {
    let text = |text: Text| arena.c_str(text);
    match *step {
        Step::PropagateHost(flags) => Ok(mount::mount_propagation(c"/", propagation(flags))?),
        Step::PropagateHostAt { target, flags } => {
            Ok(mount::mount_propagation(text(target), propagation(flags))?)
        }
        Step::AttachRoot { tree, path } => attach_root(tree, text(path), prepared, live),
        Step::OpenRoot(path) => {
            let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
            live.root = Some(Root::new(openat(CWD, text(path), flags, 0)?));
            Ok(())
        }
        Step::Mount { target, kind, source, flags, data, ordinary, inherit_mode } => {
            let links = if ordinary { Links::Refuse } else { Links::Follow };
            let request = NewMount {
                kind: text(kind),
                source: text(source),
                flags: MountFlags::from_bits_retain(flags),
                data: text(data),
                inherit_mode,
            };
            mount_new(live.root()?, text(target), links, &request)
        }
        Step::Bind { tree, recursive, target, on_procfs } => {
            with_tree(tree, recursive, arena, prepared, |tree| {
                bind(live.root()?, tree, text(target), on_procfs)
            })
        }
        Step::BindInto { tree, name, optional } => {
            mkdirat(live.directory()?, text(name), 0o755)?;
            let bound = with_tree(tree, false, arena, prepared, |tree| {
                Ok(mount::move_mount_below(tree, live.directory()?, text(name))?)
            });
            match bound {
                Err(failure) if optional && is_absence(failure) => Ok(()),
                other => other,
            }
        }
        Step::Attributes { target, attributes, recursive } => {
            let place = live.root()?.find(text(target))?;
            set_attributes(&place, attributes, recursive)
        }
        Step::WholeAttributes { target, attributes } => {
            let place = live.root()?.find(text(target))?;
            live.in_parts = match set_attributes(&place, attributes, true) {
                Err(Failure::Syscall(error)) if error.is_unsupported() => {
                    set_attributes(&place, attributes, false)?;
                    true
                }
                other => other.map(|()| false)?,
            };
            Ok(())
        }
        Step::PartAttributes { .. } if !live.in_parts => Ok(()),
        Step::PartAttributes { target, attributes } => {
            let place = live.root()?.find(text(target))?;
            set_attributes(&place, attributes, false)
        }
        Step::Propagate { target, flags } => {
            let place = live.root()?.find(text(target))?;
            set_propagation(&place, flags)
        }
        Step::OpenDirectory(path) => {
            let root = live.root()?;
            let place = root.find_or_make(text(path), Make::Directory, Links::Follow)?;
            live.directory = Some(place.fd);
            Ok(())
        }
        Step::Device { name, node, mode, uid, gid } => {
            make_device(live.directory()?, text(name), node, mode, (uid, gid))
        }
        Step::DeviceAt { path, node, mode, uid, gid } => {
            let (parent, name) = live.root()?.parent_of(text(path))?;
            make_device(parent.as_fd(), name.as_c_str(), node, mode, (uid, gid))
        }
        Step::Link { name, target, replace } => {
            make_link(live.directory()?, text(name), text(target), replace)
        }
        Step::Mask(path) => mask(live, text(path)),
        Step::Readonly(path) => make_readonly(live.root()?, text(path)),
        Step::Directory(path) => {
            live.root()?.find_or_make(text(path), Make::Directory, Links::Follow)?;
            Ok(())
        }
        Step::RootReadonly => {
            let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
            set_attributes(live.root()?.fd(), attributes, false)
        }
        Step::Pivot { leave_peers } => pivot(live.root()?, leave_peers),
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
    prepared: &[OwnedFd],
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    match tree {
        Tree::Prepared(index) => attach(prepared_tree(prepared, index)?),
        Tree::Path(path) => {
            let tree = mount::open_tree_clone(CWD, arena.c_str(path), recursive)?;
            let attached = attach(tree.as_fd());
            leave_open(tree);
            attached
        }
    }
}

fn propagation(flags: u64) -> MountFlags {
    MountFlags::from_bits_retain(flags)
}

fn prepared_tree(prepared: &[OwnedFd], index: u16) -> Result<BorrowedFd<'_>> {
    prepared.get(usize::from(index)).map(AsFd::as_fd).ok_or_else(|| missing().into())
}

/// Paths that are not there need no hiding.
fn is_absence(error: Failure) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR))
}
