//! checkpoint: criu writes the container's processes into images (no operation of the specification; the
//! behaviour is runc's).

use std::ffi::CString;
use std::fs::Metadata;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::delete::clear;
use super::error::RuntimeError;
use super::hooks;
use super::host::plan_cgroups;
use super::outside::{self, Directories, Resolver, number};
use super::state::Container;
use crate::cgroup;
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::criu::message::{Features, Kind, Options};
use crate::criu::{Criu, CriuError, plan};
use crate::root::Root;
use crate::sys::open::{OpenFlags, fstat, inherited, openat, write_all};

/// The file beside the images that says what the standard streams were.
pub(super) const DESCRIPTORS: &std::ffi::CStr = c"descriptors.json";

/// What a checkpoint is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The directory for the images.
    pub images: PathBuf,
    /// The directory for the log, where it is another.
    pub work: Option<PathBuf>,
    /// Write the memory alone; the container runs on.
    pub pre_dump: bool,
    /// A descriptor that is told by a zero byte that pages can be had.
    pub status_fd: Option<i32>,
    /// The switches, and the earlier images.
    pub options: Options,
}

/// Writes the processes of a container into images, and deletes the container unless it shall run on. The
/// warnings say what the user should know.
///
/// # Errors
/// When it does not run, or criu cannot; it runs on then.
pub fn checkpoint(
    root: &Path,
    id: &ContainerId,
    request: &Request,
) -> Result<Vec<String>, RuntimeError> {
    let container = Container::open(root, id)?;
    container.directory.lock(true)?;
    if let Some(text) = container.status()?.refuses_checkpoint() {
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let status_fd = match (request.options.lazy_pages, request.status_fd) {
        (true, Some(number)) => Some(writable(number)?),
        _ => None,
    };
    let spec = container.config()?;
    if let Some(text) = plan::refuse(&spec) {
        return Err(RuntimeError::Refused(text));
    }
    make_image_directory(request)?;
    let directories = Directories::open(&request.images, request.work.as_deref(), "dump.log")?;
    let mut options = request.options.clone();
    options.log_file = "dump.log".to_owned();
    options.images = number(&directories.images);
    options.work = directories.work.as_ref().map(number);
    options.pid = Some(container.state.process.pid);
    options.config_file = plan::config_file(&container.state.annotations);
    options.track_memory = options.parent.is_some();
    options.freezer = freezer(&container.cgroups());
    let resolver = Resolver::new(Path::new(&container.state.rootfs))?;
    options.root = resolver.root().to_string_lossy().into_owned();

    let criu = Criu::start(0, &[], directories.log.clone(), || Ok(()))?;
    let dumped =
        dump(&criu, request, &container, &spec, (&resolver, &directories), options, status_fd);
    let finished = criu.finish();
    dumped?;
    if request.pre_dump {
        // It waits for a further dump over the same connection, and takes the end of that for a failure.
        return Ok(Vec::new());
    }
    finished?;
    if request.options.leave_running {
        return Ok(Vec::new());
    }
    let listed = container.poststop_hooks()?;
    container.kill_all()?;
    clear(&container.directory, &container.state)?;
    Ok(listed.map_or_else(Vec::new, |listed| hooks::after_deletion(&listed, &container.state)))
}

/// The talk with criu.
fn dump(
    criu: &Criu,
    request: &Request,
    container: &Container,
    spec: &Spec,
    (resolver, directories): (&Resolver, &Directories),
    mut options: Options,
    status_fd: Option<std::os::fd::BorrowedFd<'_>>,
) -> Result<(), RuntimeError> {
    let version = outside::version(criu)?;
    check_features(criu, request)?;
    options.external = external_namespaces(spec, version)?;
    let kind = if request.pre_dump { Kind::PreDump } else { Kind::Dump };
    if !request.pre_dump {
        let id = ContainerId::parse(&container.state.id)?;
        let by_systemd = container.state.systemd_unit.is_some();
        let (cgroups, _) = plan_cgroups(spec, &id, by_systemd, true)?;
        let binds = outside::cgroup_binds(&cgroups);
        let masked = masked_files(spec, container.state.process.pid)?;
        let facts =
            plan::Facts { bundle: &container.state.bundle, cgroups: &binds, masked_files: &masked };
        plan::dump(spec, &facts, |path| resolver.resolve(path), &mut options);
        let streams = streams(container.state.process.pid);
        let outside = streams.iter().filter(|stream| stream.starts_with("file["));
        options.external.extend(outside.cloned());
        options.external.sort();
        options.external.dedup();
        write_descriptors(&directories.images, &streams)?;
    }
    // Since 3.15 there is a notice; before, criu writes to the descriptor itself.
    const NOTICE_OF_PAGES: u32 = 31_500;
    let by_notice = version >= NOTICE_OF_PAGES;
    options.status_fd = status_fd.filter(|_| !by_notice).map(number);
    criu.carry_out(kind, options, |notice| match (notice.point.as_str(), status_fd) {
        ("status-ready", Some(fd)) if by_notice => {
            write_all(fd, &[0]).map_err(RuntimeError::system("--status-fd"))
        }
        _ => Ok(()),
    })?;
    Ok(())
}

fn check_features(criu: &Criu, request: &Request) -> Result<(), CriuError> {
    let wanted =
        Features { memory_tracking: request.pre_dump, lazy_pages: request.options.lazy_pages };
    if wanted == Features::default() {
        return Ok(());
    }
    let there = criu.check(wanted)?;
    if wanted.memory_tracking && !there.memory_tracking {
        return Err(CriuError::Features("MemTrack"));
    }
    if wanted.lazy_pages && !there.lazy_pages {
        return Err(CriuError::Features("LazyPages"));
    }
    Ok(())
}

/// A descriptor of the caller's that can be written to.
fn writable(number: i32) -> Result<std::os::fd::BorrowedFd<'static>, RuntimeError> {
    let refused = |reason: &str| {
        RuntimeError::Refused(format!("invalid --status-fd argument {number}: {reason}"))
    };
    let fd = inherited(number).map_err(|_| refused("bad file descriptor"))?;
    match crate::sys::open::is_writable(fd) {
        Ok(true) => Ok(fd),
        _ => Err(refused("not writable")),
    }
}

fn make_image_directory(request: &Request) -> Result<(), RuntimeError> {
    let images = &request.images;
    outside::make(images, 0o600, true)
        .map_err(|error| outside::refused("--image-path", images, &error))?;
    let Some(parent) = &request.options.parent else { return Ok(()) };
    if parent.starts_with('/') {
        return Err(RuntimeError::Refused("--parent-path must be relative".to_owned()));
    }
    let path = images.join(parent);
    outside::open_directory(&path)
        .map(drop)
        .map_err(RuntimeError::system(format!("invalid --parent-path: {}", path.display())))
}

/// The cgroup by which criu stops all processes at once.
fn freezer(cgroups: &cgroup::Paths) -> Option<String> {
    let path = cgroups.get("freezer").or_else(|| cgroups.get(""))?;
    Some(path.to_string_lossy().into_owned())
}

/// `net[4026532000]:extRootNetNS`: the namespace is not the container's, and a restore finds another under
/// the same key.
fn external_namespaces(spec: &Spec, version: u32) -> Result<Vec<String>, RuntimeError> {
    let mut external = Vec::new();
    for joined in plan::joined(spec) {
        let Some(key) = joined.key else { continue };
        outside::require(version, joined.since, "a namespace that was joined")?;
        let what = format!("linux.namespaces: {}.path ({})", joined.kind.name(), joined.path);
        let path = CString::new(joined.path).unwrap_or_default();
        let inode = openat(crate::sys::open::CWD, &path, OpenFlags::O_RDONLY, 0)
            .and_then(fstat)
            .map_err(RuntimeError::system(what))?
            .st_ino;
        external.push(format!("{}[{inode}]:{key}", joined.kind.proc_name()));
    }
    Ok(external)
}

/// The masked paths that hide a file: a directory is hidden by a file system that criu saves.
fn masked_files(spec: &Spec, pid: i32) -> Result<Vec<String>, RuntimeError> {
    let failed = || RuntimeError::system(format!("root directory of process {pid}"));
    let path = CString::new(format!("/proc/{pid}/root")).unwrap_or_default();
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
    let root = Root::new(openat(crate::sys::open::CWD, &path, flags, 0).map_err(failed())?);
    let is_file = |path: &&String| {
        let path = CString::new(path.as_str()).unwrap_or_default();
        let mode = root.find(&path).ok().and_then(|fd| fstat(fd).ok()).map(|s| s.st_mode);
        mode.is_some_and(|mode| mode & libc::S_IFMT != libc::S_IFDIR)
    };
    Ok(spec.linux.masked_paths.iter().filter(is_file).cloned().collect())
}

/// What the standard streams are, so that a restore can put the caller's in their place: a pipe by criu's
/// name for it, and a file from outside of the container likewise.
fn streams(pid: i32) -> [String; 3] {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    [0, 1, 2].map(|number| {
        let link = format!("/proc/{pid}/fd/{number}");
        let Ok(path) = std::fs::read_link(&link) else { return String::new() };
        let path = path.to_string_lossy().into_owned();
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
        let file = path.starts_with('/').then(|| std::fs::metadata(&link).ok()).flatten();
        let key = file.and_then(|file| outside_file(&file, &info.unwrap_or_default(), &mounts));
        key.unwrap_or(path)
    })
}

/// `file[MOUNT:INODE]`, both in hexadecimal, for a file that is open but on no mount of the container. Of
/// devices those of memory, the null device above all: terminals are another matter to criu.
fn outside_file(file: &Metadata, info: &str, mounts: &str) -> Option<String> {
    const MEMORY_DEVICES: u64 = 1;
    let kind = file.file_type();
    let is_known = kind.is_file()
        || kind.is_char_device() && crate::sys::open::device_major(file.rdev()) == MEMORY_DEVICES;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let is_own = mounts.lines().any(|line| line.split(' ').next() == Some(mount));
    let mount: u32 = mount.parse().ok()?;
    (is_known && !is_own).then(|| format!("file[{mount:x}:{:x}]", file.ino()))
}

fn write_descriptors(images: &OwnedFd, streams: &[String]) -> Result<(), RuntimeError> {
    let text = serde_json::Value::from(streams).to_string();
    let flags =
        OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::O_NOFOLLOW;
    openat(images, DESCRIPTORS, flags, 0o600)
        .and_then(|file| write_all(file, text.as_bytes()))
        .map_err(RuntimeError::system("--image-path: descriptors.json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn knows_a_file_from_outside_by_its_mount() {
        let null = std::fs::metadata("/dev/null").unwrap();
        let info = "pos:\t0\nflags:\t0100002\nmnt_id:\t26\nino:\t4\n";
        let key = format!("file[1a:{:x}]", null.ino());
        assert_eq!(outside_file(&null, info, "27 1 0:5 / / rw - tmpfs none rw\n"), Some(key));
        assert_eq!(outside_file(&null, info, "26 1 0:5 / / rw - tmpfs none rw\n"), None);
        assert_eq!(outside_file(&null, "", ""), None);
        let terminals = std::fs::metadata("/dev/tty").unwrap();
        assert_eq!(outside_file(&terminals, info, ""), None);
    }
}
