//! The container's root file system, as containerd's snapshotter describes it: a few mounts on `rootfs`.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::error::{Code, Error};
use crate::limits;
use crate::loop_device::LoopDevice;
use crate::messages::Mount;

/// The options of a mount, sorted: what the kernel has flags for, what makes it another kind of mount, and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted {
    flags: u32,
    bind: bool,
    recursive: bool,
    /// The source is a file that is to be a device.
    looped: bool,
    propagation: Option<MountPropagationFlags>,
    data: Vec<String>,
}

fn sort(options: &[String]) -> Result<Sorted, Error> {
    let mut sorted = Sorted::default();
    for option in options {
        let (set, flag) = match option.as_str() {
            "" | "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" => {
                (false, flag_of(option))
            }
            "bind" | "rbind" => {
                sorted.bind = true;
                sorted.recursive = option == "rbind";
                continue;
            }
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" | "unbindable"
            | "runbindable" => {
                let mut flags = match option.trim_start_matches('r') {
                    "private" => MountPropagationFlags::PRIVATE,
                    "slave" => MountPropagationFlags::DOWNSTREAM,
                    "shared" => MountPropagationFlags::SHARED,
                    _ => MountPropagationFlags::UNBINDABLE,
                };
                if option.starts_with('r') {
                    flags |= MountPropagationFlags::REC;
                }
                sorted.propagation = Some(flags);
                continue;
            }
            "loop" => {
                sorted.looped = true;
                continue;
            }
            other => match flag_of(other) {
                0 => {
                    sorted.data.push(option.clone());
                    continue;
                }
                flag => (true, flag),
            },
        };
        sorted.flags = if set { sorted.flags | flag } else { sorted.flags & !flag };
    }
    Ok(sorted)
}

/// The kernel's flag that an option sets or clears.
fn flag_of(option: &str) -> u32 {
    match option {
        "ro" | "rw" => MountFlags::RDONLY.bits(),
        "nosuid" | "suid" => MountFlags::NOSUID.bits(),
        "nodev" | "dev" => MountFlags::NODEV.bits(),
        "noexec" | "exec" => MountFlags::NOEXEC.bits(),
        "sync" | "async" => MountFlags::SYNCHRONOUS.bits(),
        "noatime" | "atime" => MountFlags::NOATIME.bits(),
        "dirsync" => MountFlags::DIRSYNC.bits(),
        "nodiratime" => MountFlags::NODIRATIME.bits(),
        "relatime" => MountFlags::RELATIME.bits(),
        "strictatime" => MountFlags::STRICTATIME.bits(),
        _ => 0,
    }
}

/// The data of a mount with a folder to do it in: lower layers' common folder is left out where a page is too small.
fn data(options: &[String]) -> Result<(Option<PathBuf>, String), Error> {
    let whole = options.join(",");
    if whole.len() <= limits::MOUNT_OPTIONS {
        return Ok((None, whole));
    }
    let shorter = || -> Option<(PathBuf, String)> {
        let lower = options.iter().find_map(|option| option.strip_prefix("lowerdir="))?;
        let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
        let mut common = layers.first()?.parent()?;
        while !layers.iter().all(|layer| layer.starts_with(common)) {
            common = common.parent()?;
        }
        let short: Option<Vec<&str>> =
            layers.iter().map(|layer| layer.strip_prefix(common).ok()?.to_str()).collect();
        let short = format!("lowerdir={}", short?.join(":"));
        let all: Vec<&str> = options
            .iter()
            .map(|option| if option.starts_with("lowerdir=") { short.as_str() } else { option })
            .collect();
        Some((common.to_owned(), all.join(",")))
    };
    match shorter() {
        Some((folder, data)) if data.len() <= limits::MOUNT_OPTIONS => Ok((Some(folder), data)),
        _ => {
            let text = format!("mount options of {} bytes; a page is all there is", whole.len());
            Err(Error::new(Code::InvalidArgument, text))
        }
    }
}

/// Mounts all of them; when one fails, none is left.
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    if let Err(error) = std::fs::create_dir(rootfs)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::host(rootfs.display(), error));
    }
    for mount in mounts {
        if let Err(error) = mount_one(mount, rootfs) {
            unmount_all(rootfs);
            return Err(error);
        }
    }
    Ok(())
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<(), Error> {
    let sorted = sort(&mount.options)?;
    let target = match mount.target.trim_start_matches('/') {
        "" => rootfs.to_owned(),
        inner if inner.split('/').any(|part| part == "..") => {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("mount target {}", mount.target),
            ));
        }
        inner => rootfs.join(inner),
    };
    let step = || format!("mount {} ({}) at {}", mount.source, mount.kind, target.display());
    let tell = |error: Errno| Error::host(step(), error);
    let flags = MountFlags::from_bits_retain(sorted.flags);
    if sorted.bind || mount.kind == "bind" {
        let how = if sorted.recursive {
            rustix::mount::mount_bind_recursive(&*mount.source, &target)
        } else {
            rustix::mount::mount_bind(&*mount.source, &target)
        };
        how.map_err(tell)?;
        if sorted.flags != 0 {
            rustix::mount::mount_remount(&target, flags | MountFlags::BIND, "").map_err(tell)?;
        }
    } else {
        let (folder, data) = data(&sorted.data)?;
        // The shim has one thread, so its working directory can be lent for the length of a call.
        if let Some(folder) = &folder {
            std::env::set_current_dir(folder)
                .map_err(|error| Error::host(folder.display(), error))?;
        }
        let data = std::ffi::CString::new(data)
            .map_err(|_| Error::new(Code::InvalidArgument, "a mount option with a zero byte"))?;
        let device =
            if sorted.looped {
                let readonly = flags.contains(MountFlags::RDONLY);
                let device = LoopDevice::attach(Path::new(&mount.source), readonly);
                Some(device.map_err(|error| {
                    Error::host(format!("loop device of {}", mount.source), error)
                })?)
            } else {
                None
            };
        let source = device.as_ref().map_or(Path::new(&mount.source), |it| &it.path);
        let mounted = rustix::mount::mount(source, &target, &*mount.kind, flags, data.as_c_str());
        if folder.is_some() {
            let _ = std::env::set_current_dir("/");
        }
        mounted.map_err(tell)?;
    }
    if let Some(propagation) = sorted.propagation {
        rustix::mount::mount_change(&target, propagation).map_err(tell)?;
    }
    Ok(())
}

/// Unmounts whatever lies on `rootfs`, layer by layer; what is busy goes when its last user goes.
pub fn unmount_all(rootfs: &Path) {
    // A bound, in place of trust that the kernel ends the loop.
    for _ in 0..128 {
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        if !is_mount_point(rootfs) || rustix::mount::unmount(rootfs, flags).is_err() {
            return;
        }
    }
}

/// Asked without an unmount, which walks the whole mount table where there is nothing to do.
fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(it) if it.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_are_sorted() {
        let sorted = sort(&words("rbind ro nosuid suid rprivate index=off")).expect("options");
        assert_eq!(sorted.flags, MountFlags::RDONLY.bits());
        assert!(sorted.bind && sorted.recursive);
        assert_eq!(sorted.data, ["index=off"]);
        let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        assert_eq!(sorted.propagation, Some(propagation));
        assert!(sort(&words("ro loop")).expect("options").looped);
    }

    #[test]
    fn many_layers_fit_into_a_page() {
        let layer = |n: usize| {
            format!("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{n}/fs")
        };
        let lower: Vec<String> = (0..125).map(layer).collect();
        let options = [format!("lowerdir={}", lower.join(":")), "upperdir=/u".to_owned()];
        let (folder, data) = data(&options).expect("it fits");
        let folder = folder.expect("a folder");
        assert!(folder.ends_with("snapshots"), "{}", folder.display());
        assert!(data.starts_with("lowerdir=0/fs:1/fs:") && data.ends_with(",upperdir=/u"));
        assert!(super::data(&["x".repeat(5000)]).is_err());
    }
}
