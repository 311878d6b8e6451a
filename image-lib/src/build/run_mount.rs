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
use super::run_secret::{AGENT_VARIABLE, Agent, Secret, number};
use super::source_tree::{Selected, SourceTree};
use super::stage::StageBuilder;
use super::transfer::{Changes, Copier, Destination, absolute_path};
use super::workspace::Workspace;
use crate::bundle;
use crate::fsroot::{FileKind, FsError, Root};
use crate::identity::Digest;

/// The mode of a tmpfs, as of any temporary directory, where the image has no directory in its place.
pub(super) const TMPFS_MODE: u32 = 0o1777;

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
        /// What it holds when it is new.
        first: Option<Box<What>>,
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
    Secret(Secret),
    Agent(Agent),
}

/// What must live until the command has ended.
pub(super) struct Held {
    _locks: Vec<File>,
}

/// The memory that the secrets of one command may take, with the bundle that names them.
const SECRETS_BYTES_MAX: u64 = 64 << 20;

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
        let loans = run.mounts.iter().enumerate();
        loans.map(|(index, mount)| self.loan(mount, index)).collect::<Result<_, _>>().map(Lent)
    }

    fn loan(&self, mount: &Mount, index: usize) -> Result<Loan, StepError> {
        match mount.kind {
            MountKind::Secret => {
                let secret = self.secret(mount)?;
                let target = secret.target.clone().unwrap_or_default();
                return Ok(Loan { target, what: What::Secret(secret) });
            }
            MountKind::Ssh => {
                let agent = self.agent(mount, index)?;
                return Ok(Loan { target: agent.target.clone(), what: What::Agent(agent) });
            }
            _ => {}
        }
        let optional = |text: &Option<String>| self.expand_optional(text);
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
                let id = optional(&mount.id)?.unwrap_or_else(|| target.clone());
                self.cache_loan(mount, &id, source.as_deref().unwrap_or("/"))?
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

    fn cache_loan(&self, mount: &Mount, id: &str, source: &str) -> Result<What, StepError> {
        let access = match mount.sharing.as_deref() {
            None | Some("shared") => Access::Shared,
            Some("private") => Access::Private,
            Some("locked") => Access::Locked,
            Some(other) => {
                let text = format!("unsupported sharing value {other:?} (shared, private, locked)");
                return Err(StepError::Value(text));
            }
        };
        // A cache that begins with files is another one for each beginning.
        let (name, first) = match &mount.from {
            None => (Digest::of(id.as_bytes()), None),
            Some(_) => {
                let first = Loan { target: String::new(), what: self.bind(mount, source)? };
                let key = first.add_to_key(KeyMaker::new("cache").part("id", id)).finish();
                (Digest::of(key.to_string().as_bytes()), Some(Box::new(first.what)))
            }
        };
        Ok(What::Cache {
            first,
            directory: self.build.cache.mount_directory(name.hex()),
            id: id.to_owned(),
            access,
            mode: number(&mount.mode, 8, 0o755)?,
            owner: (number(&mount.uid, 10, 0)?, number(&mount.gid, 10, 0)?),
            read_only: mount.read_only.unwrap_or(false),
        })
    }
}

impl Lent {
    /// Whether there are whole trees among it, which may have links.
    pub(super) fn has_trees(&self) -> bool {
        let is_tree = |loan: &Loan| {
            matches!(loan.what, What::Context { .. } | What::Rootfs { .. } | What::Cache { .. })
        };
        self.0.iter().any(is_tree)
    }

    /// What the command can see goes into its key; the contents of caches do not.
    pub(super) fn add_to_key(&self, key: KeyMaker) -> KeyMaker {
        self.0.iter().fold(key, |key, loan| loan.add_to_key(key))
    }

    /// Variables with their values that are for this command alone.
    pub(super) fn variables(&self) -> Vec<(&str, String)> {
        let secrets = self.0.iter().filter_map(|loan| match &loan.what {
            What::Secret(secret) => secret.variable(),
            _ => None,
        });
        let agent = self.0.iter().find_map(|loan| match &loan.what {
            What::Agent(agent) if agent.socket.is_some() => Some(agent.target.clone()),
            _ => None,
        });
        secrets.chain(agent.map(|target| (AGENT_VARIABLE, target))).collect()
    }

    /// The mounts for the container's configuration, and what must live until it has ended.
    pub(super) fn mounts(
        &self,
        stage: &StageBuilder<'_, '_>,
        workspace: &mut Workspace,
    ) -> Result<(Vec<bundle::Mount>, Held), StepError> {
        let mut mounts = Vec::new();
        let mut held = Held { _locks: Vec::new() };
        if self.0.iter().any(|loan| matches!(loan.what, What::Secret(_))) {
            workspace.remember(SECRETS_BYTES_MAX)?;
        }
        for (index, loan) in self.0.iter().enumerate() {
            mounts.push(match &loan.what {
                What::Secret(secret) => {
                    let Some(file) = secret.write(workspace.bundle(), index)? else { continue };
                    bind(&file, &loan.target, true)
                }
                What::Agent(agent) => {
                    let Some(socket) = &agent.socket else { continue };
                    bind(socket, &loan.target, true)
                }
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
                    // Without one runtimes differ: the directory's below, or that of temporary directories.
                    let mode =
                        directory_mode(workspace.root(), &loan.target)?.unwrap_or(TMPFS_MODE);
                    let mode = format!("mode={mode:o}");
                    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), mode];
                    options.extend(size.as_ref().map(|size| format!("size={size}")));
                    bundle::Mount {
                        destination: loan.target.clone(),
                        kind: "tmpfs".to_owned(),
                        source: "tmpfs".to_owned(),
                        options,
                    }
                }
                What::Cache { first, directory, id, access, mode, owner, read_only } => {
                    let own = || workspace.directory(&format!("mount-{index}"));
                    if let Some(first) = first.as_deref().filter(|_| !directory.exists()) {
                        let from = workspace.directory(&format!("first-{index}"))?;
                        begin_cache(stage, first, &from, directory)?;
                    }
                    let (path, lock) = open_cache(directory, *access, *mode, *owner, own)?;
                    note_mount(directory, id);
                    held._locks.extend(lock);
                    bind(&path, &loan.target, *read_only)
                }
            });
        }
        Ok((mounts, held))
    }
}

impl Loan {
    fn add_to_key(&self, key: KeyMaker) -> KeyMaker {
        let key = key.part("mount", &self.target);
        match &self.what {
            What::Context { selected, read_only, .. }
            | What::Rootfs { selected, read_only, .. } => {
                key.part("bind", [u8::from(*read_only)]).contents(selected)
            }
            What::Cache { .. } => key.part("cache", ""),
            What::Tmpfs { size } => key.part("tmpfs", size.as_deref().unwrap_or_default()),
            // Their values are no part of it, nor whether there are any.
            What::Secret(secret) => {
                key.part("secret", &secret.id).parts("variable", secret.variable.iter())
            }
            What::Agent(agent) => key.part("agent", &agent.id),
        }
    }
}

/// The mode of a directory of the rootfs, if it is there.
fn directory_mode(rootfs: &Root, target: &str) -> Result<Option<u32>, StepError> {
    let path = rootfs.real_path(Path::new(target))?;
    let found = rootfs.symlink_metadata(&path)?;
    Ok(found.filter(|found| found.kind == FileKind::Directory).map(|found| found.mode & 0o7777))
}

/// Fills a new cache with what it begins with. Where two do so at once, the first wins.
fn begin_cache(
    stage: &StageBuilder<'_, '_>,
    first: &What,
    scratch: &Path,
    directory: &Path,
) -> Result<(), StepError> {
    let files = match first {
        What::Context { name, selected, .. } => {
            copy_out(stage.build.tree(name.as_deref())?, selected, scratch)?
        }
        What::Rootfs { source, selected, .. } => {
            copy_out(&SourceTree::rootfs(source.try_root()?), selected, scratch)?
        }
        _ => return Ok(()),
    };
    let failed = |error| FsError::new("create directory", directory, error);
    directory.parent().map_or(Ok(()), make_private).map_err(failed)?;
    match std::fs::rename(&files, directory) {
        Err(_) if directory.exists() => Ok(()),
        renamed => Ok(renamed.map_err(failed)?),
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
    let lock = BuildCache::open_mount_lock(directory).map_err(failed("lock"))?;
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
