//! `RUN --mount`: files, caches and memory that are lent to a command and never part of the layer.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::cache::{BuildCache, make_private, write_whole};
use super::cache_key::KeyMaker;
use super::dockerfile::instruction::Run;
use super::dockerfile::mount::{Mount, MountKind};
use super::error::StepError;
use super::ignore::Ignore;
use super::plan::Origin;
use super::run::bind;
use super::solve::cache_directory;
use super::source_tree::{Selected, SourceTree};
use super::stage::StageBuilder;
use super::transfer::{Changes, Copier, Destination, absolute_path};
use super::workspace::Workspace;
use crate::bundle;
use crate::fsroot::{FsError, Root};
use crate::identity::Digest;

/// Everything that is lent to one command.
pub(super) struct Lent(Vec<Loan>);

struct Loan {
    target: String,
    what: What,
}

enum What {
    /// Files of the context; copied, so that neither the command nor a change of them is seen on
    /// the other side.
    Context {
        /// The named context, if it is one.
        name: Option<String>,
        selected: Vec<Selected>,
        read_only: bool,
    },
    /// Files of a stage or an image, over which its own upper directory takes all writes.
    Rootfs {
        source: Workspace,
        selected: Vec<Selected>,
        read_only: bool,
    },
    Cache {
        directory: PathBuf,
        /// What the user calls it.
        id: String,
        access: Access,
        mode: u32,
        owner: (u32, u32),
        read_only: bool,
    },
    Tmpfs {
        size: Option<String>,
    },
}

/// What happens when two commands want the same cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Shared,
    /// The second gets a directory of its own.
    Private,
    /// The second waits.
    Locked,
}

impl StageBuilder<'_, '_> {
    /// Reads the mounts of `run` and finds what they show.
    pub(super) fn lent(&self, run: &Run) -> Result<Lent, StepError> {
        run.mounts.iter().map(|mount| self.loan(mount)).collect::<Result<_, _>>().map(Lent)
    }

    fn loan(&self, mount: &Mount) -> Result<Loan, StepError> {
        if matches!(mount.kind, MountKind::Secret | MountKind::Ssh) {
            let what = format!("RUN --mount=type={}", mount.kind.word());
            return Err(StepError::Unsupported { what });
        }
        let word =
            |text: &String| Ok::<_, StepError>(self.state.expand(text, self.build.escape())?.text);
        let optional = |text: &Option<String>| text.as_ref().map(word).transpose();
        let target = optional(&mount.target)?.unwrap_or_default();
        let target = absolute_path(self.state.working_directory(), &target);
        if target == "/" {
            return Err(StepError::Value("invalid mount target \"/\"".to_owned()));
        }
        let source = optional(&mount.source)?;
        let what = match mount.kind {
            MountKind::Bind => self.bind(mount, source.as_deref().unwrap_or("/"))?,
            MountKind::Tmpfs => What::Tmpfs { size: optional(&mount.size)? },
            _ => {
                if mount.from.is_some() || source.is_some() {
                    let what = "RUN --mount=type=cache with from or source".to_owned();
                    return Err(StepError::Unsupported { what });
                }
                let id = optional(&mount.id)?.unwrap_or_else(|| target.clone());
                self.cache_loan(mount, &id)?
            }
        };
        Ok(Loan { target, what })
    }

    fn bind(&self, mount: &Mount, source: &str) -> Result<What, StepError> {
        let read_only = mount.read_only.unwrap_or(true);
        let origin = mount.from.as_ref().and_then(|name| self.plan.origins.get(name));
        let layers = match origin {
            None => return self.bind_context(None, source, read_only),
            Some(Origin::Context(name)) => {
                return self.bind_context(Some(name), source, read_only);
            }
            Some(Origin::Scratch) => Vec::new(),
            Some(Origin::Stage(index)) => self.build.finished(*index)?.layers.clone(),
            Some(Origin::Image(name)) => {
                self.build.image(name, &self.build.platform)?.layers().to_vec()
            }
        };
        let rootfs = Workspace::new(self.build.store, &layers)?;
        let selected = SourceTree::rootfs(rootfs.try_root()?).select(source, &Ignore::default())?;
        Ok(What::Rootfs { source: rootfs, selected, read_only })
    }

    fn bind_context(
        &self,
        name: Option<&String>,
        source: &str,
        read_only: bool,
    ) -> Result<What, StepError> {
        let tree = self.build.tree(name.map(String::as_str))?;
        let selected = tree.select(source, &Ignore::default())?;
        Ok(What::Context { name: name.cloned(), selected, read_only })
    }

    fn cache_loan(&self, mount: &Mount, id: &str) -> Result<What, StepError> {
        let access = match mount.sharing.as_deref() {
            None | Some("shared") => Access::Shared,
            Some("private") => Access::Private,
            Some("locked") => Access::Locked,
            Some(other) => {
                let text = format!("unsupported sharing value {other:?} (shared, private, locked)");
                return Err(StepError::Value(text));
            }
        };
        let number = |text: &Option<String>, radix, default| match text {
            None => Ok(default),
            Some(text) => u32::from_str_radix(text, radix)
                .map_err(|_| StepError::Value(format!("invalid number {text:?} in --mount"))),
        };
        let name = Digest::of(id.as_bytes());
        Ok(What::Cache {
            directory: cache_directory(self.build.store).join("mounts").join(name.hex()),
            id: id.to_owned(),
            access,
            mode: number(&mount.mode, 8, 0o755)?,
            owner: (number(&mount.uid, 10, 0)?, number(&mount.gid, 10, 0)?),
            read_only: mount.read_only.unwrap_or(false),
        })
    }
}

impl Lent {
    /// What the command can see goes into its key; the contents of caches do not.
    pub(super) fn add_to_key(&self, key: KeyMaker) -> KeyMaker {
        self.0.iter().fold(key, |key, loan| {
            let key = key.part("mount", &loan.target);
            match &loan.what {
                What::Context { selected, read_only, .. } => {
                    key.part("bind", [u8::from(*read_only)]).contents(selected)
                }
                What::Rootfs { selected, read_only, .. } => {
                    key.part("bind", [u8::from(*read_only)]).contents(selected)
                }
                What::Cache { .. } => key.part("cache", ""),
                What::Tmpfs { size } => key.part("tmpfs", size.as_deref().unwrap_or_default()),
            }
        })
    }

    /// The mounts for the container's configuration, and what must live until it has ended.
    pub(super) fn mounts(
        &self,
        stage: &StageBuilder<'_, '_>,
        workspace: &Workspace,
    ) -> Result<(Vec<bundle::Mount>, Vec<File>), StepError> {
        let mut mounts = Vec::new();
        let mut locks = Vec::new();
        for (index, loan) in self.0.iter().enumerate() {
            mounts.push(match &loan.what {
                What::Context { name, selected, read_only } => {
                    let directory = workspace.directory(&format!("mount-{index}"))?;
                    let tree = stage.build.tree(name.as_deref())?;
                    let source = copy_out(tree, selected, &directory)?;
                    bind(&source, &loan.target, *read_only)
                }
                What::Rootfs { source, selected, read_only } => {
                    let path = selected.first().map(|selected| selected.path.clone());
                    let path = source.rootfs().join(path.unwrap_or_default());
                    bind(&path, &loan.target, *read_only)
                }
                What::Tmpfs { size } => {
                    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
                    options.extend(size.as_ref().map(|size| format!("size={size}")));
                    bundle::Mount {
                        destination: loan.target.clone(),
                        kind: "tmpfs".to_owned(),
                        source: "tmpfs".to_owned(),
                        options,
                    }
                }
                What::Cache { directory, id, access, mode, owner, read_only } => {
                    let own = || workspace.directory(&format!("mount-{index}"));
                    let (path, lock) = open_cache(directory, *access, *mode, *owner, own)?;
                    note_mount(directory, id);
                    locks.extend(lock);
                    bind(&path, &loan.target, *read_only)
                }
            });
        }
        Ok((mounts, locks))
    }
}

/// Copies what was selected below `directory`, and gives the path of it there.
fn copy_out(
    tree: &SourceTree,
    selected: &[Selected],
    directory: &Path,
) -> Result<PathBuf, StepError> {
    let root = Root::open(directory)?;
    let changes = Changes::default();
    let mut copier = Copier::new(&root, &changes);
    let destination = Destination { path: PathBuf::from("/files"), is_directory: false };
    for source in selected {
        copier.copy(tree, source, &destination)?;
    }
    copier.settle()?;
    Ok(directory.join("files"))
}

/// Notes what a cache is called, for whoever lists the caches, and that it was used just now.
fn note_mount(directory: &Path, id: &str) {
    let file = BuildCache::mount_name_file(directory);
    if !file.exists() {
        // Without it the cache is listed without a name, and no worse.
        let _ = write_whole(&file, id.as_bytes());
    }
    let _ = File::open(directory).and_then(|d| d.set_modified(std::time::SystemTime::now()));
}

/// The directory of a cache, made if it is new, and the lock that keeps others out of it.
fn open_cache(
    directory: &Path,
    access: Access,
    mode: u32,
    (uid, gid): (u32, u32),
    own: impl FnOnce() -> Result<PathBuf, StepError>,
) -> Result<(PathBuf, Option<File>), StepError> {
    let failed = |operation| move |error| FsError::new(operation, directory, error);
    let prepare = |path: &Path| {
        if path.is_dir() {
            return Ok(());
        }
        make_private(path)
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)))
            .and_then(|()| chown(path, Some(uid), Some(gid)))
            .map_err(failed("create directory"))
    };
    if access == Access::Shared {
        prepare(directory)?;
        return Ok((directory.to_owned(), None));
    }
    let lock_path = directory.with_extension("lock");
    let lock = directory
        .parent()
        .map_or(Ok(()), make_private)
        .and_then(|()| File::create(&lock_path))
        .map_err(failed("lock"))?;
    match access {
        Access::Private => match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = own()?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                    .and_then(|()| chown(&path, Some(uid), Some(gid)))
                    .map_err(failed("create directory"))?;
                return Ok((path, None));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock")(error).into()),
        },
        _ => lock.lock().map_err(failed("lock"))?,
    }
    prepare(directory)?;
    Ok((directory.to_owned(), Some(lock)))
}
