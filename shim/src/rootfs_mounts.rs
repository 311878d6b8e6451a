//! The container's root file system, as containerd's snapshotter describes it: a few mounts on `rootfs`.

use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::error::{Code, Error};
use crate::id_mapping::IdMapping;
use crate::limits;
use crate::loop_device::LoopDevice;
use crate::messages::Mount;

/// Beside `rootfs`: the layers as a user namespace sees them, while they are mounted.
const LAYERS: &str = "layers";

/// The options of a mount, sorted: what the kernel has flags for, what makes it another kind of mount, and the rest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sorted {
    flags: u32,
    bind: bool,
    recursive: bool,
    /// The source is a file that is to be a device.
    looped: bool,
    /// Mappings of a user namespace.
    uid_map: Option<String>,
    gid_map: Option<String>,
    propagation: Option<MountPropagationFlags>,
    data: Vec<String>,
}

fn sort(options: &[String]) -> Result<Sorted, Error> {
    let mut sorted = Sorted::default();
    for option in options {
        if let Some(map) = option.strip_prefix("uidmap=") {
            sorted.uid_map = Some(map.to_owned());
            continue;
        }
        if let Some(map) = option.strip_prefix("gidmap=") {
            sorted.gid_map = Some(map.to_owned());
            continue;
        }
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
        let layers: Vec<PathBuf> = lower.split(':').map(PathBuf::from).collect();
        let common = common_folder(&layers)?;
        let short: Option<Vec<&str>> =
            layers.iter().map(|layer| layer.strip_prefix(&common).ok()?.to_str()).collect();
        let short = format!("lowerdir={}", short?.join(":"));
        let all: Vec<&str> = options
            .iter()
            .map(|option| if option.starts_with("lowerdir=") { short.as_str() } else { option })
            .collect();
        let all = all.join(",");
        Some((common, all))
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
    let mut sorted = sort(&mount.options)?;
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
    let mapping = match (&sorted.uid_map, &sorted.gid_map) {
        (Some(uids), Some(gids)) => Some(
            IdMapping::new(uids, gids)
                .map_err(|error| Error::host(format!("{}: user namespace", step()), error))?,
        ),
        _ => None,
    };
    // An overlay cannot be mapped itself; its layers can, for the time of the mount.
    let is_overlay = mount.kind == "overlay";
    let layers = mapping.as_ref().filter(|_| is_overlay);
    let _layers = layers.map(|it| map_layers(it, &mut sorted.data, rootfs)).transpose()?;
    if sorted.bind || mount.kind == "bind" {
        bind(&sorted, &mount.source, &target).map_err(tell)?;
    } else {
        new(mount, &sorted, &target, step)?;
    }
    if let Some(mapping) = mapping.filter(|_| !is_overlay) {
        let mapped = mapping.map(&target, &target, false);
        mapped.map_err(|error| Error::host(format!("{}: map ids", step()), error))?;
    }
    let Some(propagation) = sorted.propagation else { return Ok(()) };
    rustix::mount::mount_change(&target, propagation).map_err(tell)
}

fn bind(sorted: &Sorted, source: &str, target: &Path) -> Result<(), Errno> {
    if sorted.recursive {
        rustix::mount::mount_bind_recursive(source, target)?;
    } else {
        rustix::mount::mount_bind(source, target)?;
    }
    match sorted.flags {
        0 => Ok(()),
        flags => {
            let flags = MountFlags::from_bits_retain(flags) | MountFlags::BIND;
            rustix::mount::mount_remount(target, flags, "")
        }
    }
}

/// A file system that is not mounted yet.
fn new(
    mount: &Mount,
    sorted: &Sorted,
    target: &Path,
    step: impl Fn() -> String,
) -> Result<(), Error> {
    let flags = MountFlags::from_bits_retain(sorted.flags);
    let (folder, data) = data(&sorted.data)?;
    let data = std::ffi::CString::new(data)
        .map_err(|_| Error::new(Code::InvalidArgument, "a mount option with a zero byte"))?;
    let file = Path::new(&mount.source);
    let device = sorted
        .looped
        .then(|| LoopDevice::attach(file, flags.contains(MountFlags::RDONLY)))
        .transpose()
        .map_err(|error| Error::host(format!("loop device of {}", mount.source), error))?;
    let source = device.as_ref().map_or(file, |it| &it.path);
    // The shim has one thread, so its working directory can be lent for the length of a call.
    if let Some(folder) = &folder {
        std::env::set_current_dir(folder).map_err(|error| Error::host(folder.display(), error))?;
    }
    let mounted = rustix::mount::mount(source, target, &*mount.kind, flags, data.as_c_str());
    if folder.is_some() {
        let _ = std::env::set_current_dir("/");
    }
    mounted.map_err(|error| Error::host(step(), error))
}

/// A mapped copy of the folder that an overlay's layers are in, which the overlay does not need once it is mounted.
struct MappedLayers(PathBuf);

impl Drop for MappedLayers {
    fn drop(&mut self) {
        unmount_all(&self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Has an overlay's `lowerdir` lead through a mapped copy beside `rootfs`.
fn map_layers(
    mapping: &IdMapping,
    options: &mut [String],
    rootfs: &Path,
) -> Result<MappedLayers, Error> {
    let invalid = |why: &str| Error::new(Code::InvalidArgument, format!("overlay: {why}"));
    let mut lower = options.iter_mut().filter(|option| option.starts_with("lowerdir="));
    let lower = lower.next().ok_or_else(|| invalid("no lowerdir to be mapped"))?;
    let layers: Vec<PathBuf> =
        lower.trim_start_matches("lowerdir=").split(':').map(PathBuf::from).collect();
    let common =
        common_folder(&layers).ok_or_else(|| invalid("its layers have no folder in common"))?;
    let copy = MappedLayers(rootfs.with_file_name(LAYERS));
    let tell = |error: std::io::Error| {
        Error::host(format!("mapped layers of {}", common.display()), error)
    };
    // One that a killed shim has left is replaced.
    unmount_all(&copy.0);
    if let Err(error) = std::fs::create_dir(&copy.0)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(tell(error));
    }
    mapping.map(&common, &copy.0, true).map_err(tell)?;
    let inside: Option<Vec<String>> = layers
        .iter()
        .map(|layer| Some(copy.0.join(layer.strip_prefix(&common).ok()?).to_str()?.to_owned()))
        .collect();
    let inside = inside.ok_or_else(|| invalid("a layer's path is not UTF-8"))?;
    *lower = format!("lowerdir={}", inside.join(":"));
    Ok(copy)
}

/// The folder that all layers are in; the root is none.
fn common_folder(layers: &[PathBuf]) -> Option<PathBuf> {
    let mut common = layers.first()?.parent()?;
    while !layers.iter().all(|layer| layer.starts_with(common)) {
        common = common.parent()?;
    }
    (common.is_absolute() && common.parent().is_some()).then(|| common.to_owned())
}

/// Unmounts the root, and what a shim that was killed may have left of its making.
pub fn unmount_root(bundle: &Path) {
    unmount_all(&bundle.join("rootfs"));
    unmount_all(&bundle.join(LAYERS));
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
        let mapped = sort(&words("uidmap=0:7:1 gidmap=0:8:1 index=off")).expect("options");
        assert_eq!(
            (mapped.uid_map.as_deref(), mapped.gid_map.as_deref()),
            (Some("0:7:1"), Some("0:8:1"))
        );
        assert_eq!(mapped.data, ["index=off"]);
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
