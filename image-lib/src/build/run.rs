//! The step of a `RUN`: its words, its key, and the container that runs it.
//!
//! The rootfs is the stage's layers with a fresh upper directory; what the command changes there
//! becomes the layer. Everything that is only lent to the command never touches the upper
//! directory: where the image lacks a place to mount it, the place comes from a lower directory of
//! its own, see [`super::stub`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cache_key::{CacheKey, KeyMaker};
use super::device;
use super::dockerfile::expand::Variables;
use super::dockerfile::heredoc;
use super::dockerfile::instruction::{CommandLine, Network, Run};
use super::error::{NETWORK_HINT, StepError, is_name_failure};
use super::execute::Execution;
use super::failed::FailedRun;
use super::network::{HOSTNAME, HostAddress, Link, Rights};
use super::orphan;
use super::progress::Step;
use super::reads::Watch;
use super::run_mount::{self, Lent};
use super::stage::StageBuilder;
use super::stub;
use super::tail::Tail;
use super::workspace::Workspace;
use crate::bundle::{self, Mount};
use crate::fsroot::FsError;
use crate::spec::{Platform, Preferences};

/// Where the script of a here-document appears.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

/// What a `RUN` runs.
struct Invocation {
    args: Vec<String>,
    /// A script that is lent to the command: its name and text.
    script: Option<(String, String)>,
    is_insecure: bool,
    devices: device::Edits,
}

impl StageBuilder<'_, '_> {
    pub(super) fn run(&mut self, run: &Run, text: &str) -> Result<(), StepError> {
        if run.insecure && !self.build.options.allow_insecure {
            return Err(StepError::Insecure);
        }
        self.check_emulation()?;
        let network = self.network(run);
        let invocation = self.invocation(run)?;
        let lent = self.lent(run)?;
        let config = self.state.config().clone();
        let on = |start: KeyMaker| {
            let key = lent.add_to_key(
                start
                    .parts("args", &invocation.args)
                    .parts("env", self.state.environment.entries())
                    .part("cwd", self.state.working_directory())
                    .part("user", &config.user)
                    .part("network", [network_part(network)])
                    .part("script", invocation.script.as_ref().map_or("", |(_, text)| text))
                    .part("hostname", HOSTNAME),
            );
            let key = if run.insecure { key.part("security", "insecure") } else { key };
            let key = match run.devices.is_empty() {
                true => key,
                false => key.parts("device", run.devices.iter().map(|device| &device.name)),
            };
            self.add_surroundings(key).finish()
        };
        let key = on(self.key("run").parts("layers", self.layer_parts()));
        // An insecure command has no filter of system calls that could tell what it reads.
        let reads = self.build.options.read_sets && !run.insecure;
        let reads = reads.then(|| on(self.key("reads")));
        let created_by = self.run_history(&invocation);
        self.step(text, (&key, reads.as_ref()), created_by, |stage, step| {
            let keys = reads.as_ref().map(|reads| (reads, &key));
            stage.execute(&invocation, network, &lent, (step, keys))
        })
    }

    /// What the user gave to all commands and what they can see of it. The addresses of hosts are not
    /// among it: they are another thing on every machine.
    fn add_surroundings(&self, mut key: KeyMaker) -> KeyMaker {
        let options = &self.build.options;
        if !options.hosts.is_empty() {
            key = key.parts("hosts", options.hosts.iter().map(|(name, _)| name));
        }
        for limit in &options.rlimits {
            key = key.part("rlimit", format!("{} {} {}", limit.kind, limit.soft, limit.hard));
        }
        if options.cgroup_parent.is_some() {
            key = key.part("cgroup", self.cgroup_parent());
        }
        if self.platform == Platform::host() {
            return key;
        }
        key.part("platform", self.platform.to_string())
    }

    /// The cgroup that those of commands are made in, without a slash at the end.
    fn cgroup_parent(&self) -> String {
        let parent = self.build.options.cgroup_parent.as_deref().unwrap_or_default();
        match parent.trim_matches('/') {
            "" => String::new(),
            parent => format!("/{parent}"),
        }
    }

    fn check_emulation(&self) -> Result<(), StepError> {
        let host = Platform::detected();
        if Preferences::of(&host).rank(&self.platform).is_some() || is_emulated(&self.platform) {
            return Ok(());
        }
        let (wanted, host) = (self.platform.to_string(), Platform::host().to_string());
        Err(StepError::Emulation { wanted, host })
    }

    fn network(&self, run: &Run) -> Network {
        match run.network {
            None | Some(Network::Default) => self.build.options.network,
            Some(network) => network,
        }
    }

    fn devices(&self, run: &Run) -> Result<device::Edits, StepError> {
        let options = self.build.options;
        let warn = |text: &str| self.build.reporter.warning(text);
        device::resolve(&run.devices, &options.device_directories, &options.devices, &warn)
    }

    fn invocation(&self, run: &Run) -> Result<Invocation, StepError> {
        let (devices, is_insecure) = (self.devices(run)?, run.insecure);
        let text = match &run.command {
            CommandLine::Exec(words) => {
                let args = words.clone();
                return Ok(Invocation { args, script: None, is_insecure, devices });
            }
            CommandLine::Shell(text) => text,
        };
        let (command, script) = match run.heredocs.as_slice() {
            [] => (text.clone(), None),
            [only] if heredoc::is_whole(text) => {
                let content = only.content();
                if content.starts_with("#!") {
                    let path = format!("{SCRIPT_DIRECTORY}/{}", only.name);
                    (path, Some((only.name.clone(), content)))
                } else {
                    (content, None)
                }
            }
            // The shell reads the documents itself, so it gets them back as they were.
            several => {
                let mut whole = text.clone();
                for document in several {
                    whole.push_str(&format!("\n{}{}", document.body, document.name));
                }
                (whole, None)
            }
        };
        let mut args = self.state.shell();
        args.push(command);
        Ok(Invocation { args, script, is_insecure, devices })
    }

    /// `RUN [|N NAME=value …] words # buildkit`.
    fn run_history(&self, invocation: &Invocation) -> String {
        let mut words = vec!["RUN".to_owned()];
        if !self.state.arguments.is_empty() {
            words.push(format!("|{}", self.state.arguments.len()));
        }
        for (name, value) in &self.state.arguments {
            let value = self.state.variable(name).or(value.as_deref()).unwrap_or_default();
            words.push(format!("{name}={value}"));
        }
        words.extend(invocation.args.iter().cloned());
        words.push("# buildkit".to_owned());
        words.join(" ")
    }

    fn execute(
        &self,
        invocation: &Invocation,
        network: Network,
        lent: &Lent,
        (step, reads): (Step, Option<(&CacheKey, &CacheKey)>),
    ) -> Result<Workspace, StepError> {
        let mut workspace = Workspace::new(self.build.store, &self.state.layers)?;
        let options = self.build.options;
        // It goes when the command has ended, whatever becomes of it.
        let rights = if invocation.is_insecure { Rights::All } else { Rights::Ordinary };
        let link = Link::make(network, options.networks.as_deref(), rights)?;
        let mut mounts = lend_network_files(&workspace, &link, &options.hosts)?;
        if let Some((name, text)) = &invocation.script {
            mounts.push(lend_script(&workspace, name, text)?);
        }
        // Locks of caches are held until the command has ended.
        let (lent_mounts, held) = lent.mounts(self, &mut workspace)?;
        mounts.extend(lent_mounts);
        mounts.extend(invocation.devices.mounts());
        let mut workspace = match stub::make(&workspace, &targets(&mounts))? {
            Some(directory) => workspace.with_lower(directory)?,
            None => workspace,
        };
        let id = container_id(&workspace);
        let spec = self.spec(&workspace, invocation, &link, (mounts, lent), &id)?;
        let file = workspace.bundle().join("config.json");
        write(&file, &[])?;
        // A build argument may be what others must not see.
        set_mode(&file, 0o600)?;
        let has_links = invocation.devices.mounts().next().is_some() || lent.has_trees();
        let watch = reads.map(|_| Watch::start(workspace.bundle(), has_links)).transpose();
        let watch = watch.map_err(|error| FsError::new("watch from", workspace.bundle(), error))?;
        let watched = watch.as_ref().and_then(|watch| watch.configure(&spec));
        write(&file, watched.as_ref().unwrap_or(&spec))?;
        // Runtimes keep a copy of the configuration, or of parts of it.
        let state = workspace.bundle().join("state");
        fs::create_dir(&state).map_err(|error| FsError::new("create directory", &state, error))?;
        orphan::note(workspace.path(), &self.build.executor.name(), &state, &id)?;
        let cancelled = || self.build.is_cancelled();
        let execution =
            Execution { bundle: workspace.bundle(), state: &state, id: &id, cancelled: &cancelled };
        let mut tail = Tail::default();
        let mut misses_network = false;
        let code = self.build.executor.run(&execution, &mut |bytes, is_ended| {
            let text = String::from_utf8_lossy(bytes);
            misses_network |= !link.is_connected() && is_name_failure(&text);
            tail.push(&text, is_ended);
            self.build.reporter.output(step, bytes, is_ended);
        })?;
        if cancelled() {
            return Err(StepError::Cancelled);
        }
        if code == 0 {
            if misses_network {
                // The command may take it lightly, as apt-get update does; its result is kept.
                self.build.reporter.warning(NETWORK_HINT);
            }
            if let (Some(keys), Some(watch)) = (reads, watch) {
                let program = invocation.args.first().map_or("", String::as_str);
                let kept = self.keep_reads(keys, watch, program, &workspace);
                // The command has done its work; what it read is no reason to lose that.
                if let Some(gap) = kept.unwrap_or_else(|error| Some(error.to_string())) {
                    let text = format!(
                        "what it reads cannot be told, so --read-sets does not count for it: {gap}"
                    );
                    self.build.reporter.warning(&text);
                }
            }
            workspace.forget();
            return Ok(workspace);
        }
        let networked = link.is_connected();
        if let Some(keep) = &options.keep_failed {
            keep.keep(FailedRun { spec, state, id, link, held, workspace });
        }
        let command = invocation.args.join(" ");
        Err(StepError::Exit { command, code, tail: tail.into_lines(), networked })
    }

    /// The container's configuration: as of any container of the image, with what a build changes.
    fn spec(
        &self,
        workspace: &Workspace,
        invocation: &Invocation,
        link: &Link,
        (mounts, lent): (Vec<Mount>, &Lent),
        id: &str,
    ) -> Result<Vec<u8>, StepError> {
        let mut config = self.state.image.execution();
        let mut environment = self.state.environment.clone();
        for (name, value) in self.build.arguments.proxies() {
            if environment.get(name).is_none() {
                environment.set(name, value);
            }
        }
        for (name, value) in lent.variables() {
            environment.set(name, &value);
        }
        config.env = environment.entries();
        let is_insecure = invocation.is_insecure;
        let privilege = bundle::Privilege::of_this_process();
        // Where an ordinary user's cgroups are is the runtime's affair.
        let is_root = privilege == bundle::Privilege::Root;
        let options = bundle::Options {
            privilege,
            entrypoint: Some(invocation.args.clone()),
            hostname: Some(HOSTNAME.to_owned()),
            network: link.network(),
            mounts,
            rlimits: self.build.options.rlimits.clone(),
            shm_bytes: self.build.options.shm_bytes,
            cap_add: if is_insecure { vec!["ALL".to_owned()] } else { Vec::new() },
            seccomp: if is_insecure {
                bundle::Seccomp::Unconfined
            } else {
                bundle::Seccomp::Default
            },
            cgroups_path: is_root.then(|| format!("{}/{id}", self.cgroup_parent())),
            ..bundle::Options::default()
        };
        let spec = bundle::Spec::new(&config, workspace.root(), &options)?.to_json();
        Ok(adjusted(spec, &workspace.rootfs(), invocation))
    }
}

/// Whether the kernel hands programs of a platform to an emulator that it has open itself (flag `F`
/// of binfmt_misc), so that it is found in every root file system.
fn is_emulated(platform: &Platform) -> bool {
    let program = match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", _) => "x86_64",
        ("386", _) => "i386",
        ("arm64", _) => "aarch64",
        (other, _) => other,
    };
    let entry = std::fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{program}"));
    entry.is_ok_and(|text| {
        let has_flag = |line: &str| line.strip_prefix("flags:").is_some_and(|f| f.contains('F'));
        text.starts_with("enabled") && text.lines().any(has_flag)
    })
}

/// Gives the command Docker's umask: a runtime would hand on the caller's, and what a build makes must not
/// depend on who builds. The rootfs may lie elsewhere than the bundle. An insecure one sees all of `/proc` and `/sys`.
/// Devices change what they want.
fn adjusted(spec: Vec<u8>, rootfs: &Path, invocation: &Invocation) -> Vec<u8> {
    const UMASK: u32 = 0o022;
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&spec) else { return spec };
    if let Some(user) = value.pointer_mut("/process/user") {
        user["umask"] = UMASK.into();
    }
    if let Some(root) = value.pointer_mut("/root/path") {
        *root = rootfs.to_string_lossy().into();
    }
    invocation.devices.apply(&mut value);
    if invocation.is_insecure
        && let Some(linux) = value.get_mut("linux").and_then(|l| l.as_object_mut())
    {
        linux.remove("maskedPaths");
        linux.remove("readonlyPaths");
    }
    serde_json::to_vec(&value).unwrap_or(spec)
}

/// Ids are names of cgroups and state directories; the scratch directory's name is unique.
fn container_id(workspace: &Workspace) -> String {
    let name = workspace.path().file_name().unwrap_or_default().to_string_lossy();
    format!("keel-build-{}-{name}", std::process::id())
}

/// What a network is in a key.
fn network_part(network: Network) -> u8 {
    match network {
        Network::Default => 0,
        Network::Host => 1,
        Network::None => 2,
    }
}

/// `/etc/hosts` and `/etc/resolv.conf` as the command sees them.
fn lend_network_files(
    workspace: &Workspace,
    link: &Link,
    further: &[(String, HostAddress)],
) -> Result<Vec<Mount>, StepError> {
    let (hosts, resolver) = (link.hosts(further), link.resolver());
    let files = [("hosts", hosts), ("resolv.conf", resolver)];
    let lend = |(name, content): (&str, String)| {
        let file = workspace.path().join(name);
        write(&file, content.as_bytes())?;
        // Every user of the container reads these, whatever the caller's umask is.
        set_mode(&file, 0o644)?;
        Ok(bind(&file, &format!("/etc/{name}"), false))
    };
    files.into_iter().map(lend).collect()
}

fn lend_script(workspace: &Workspace, name: &str, text: &str) -> Result<Mount, StepError> {
    let directory = workspace.directory("pipes")?;
    let file = directory.join(name.replace('/', "_"));
    write(&file, text.as_bytes())?;
    set_mode(&file, 0o755)?;
    Ok(bind(&directory, SCRIPT_DIRECTORY, true))
}

/// A bind mount of `source` for the container's configuration.
pub(super) fn bind(source: &Path, destination: &str, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    Mount {
        destination: destination.to_owned(),
        kind: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        options: ["rbind", "rprivate", access].map(str::to_owned).to_vec(),
    }
}

/// Where things are mounted that the image may have no place for, and whether as directories.
fn targets(mounts: &[Mount]) -> Vec<stub::Target> {
    let directory = |path: &str, mode| stub::Target { path: path.into(), is_directory: true, mode };
    let own = ["/proc", "/sys", "/dev"].map(|path| directory(path, 0o755));
    let lent = mounts.iter().map(|mount| match mount.kind.as_str() {
        "tmpfs" => directory(&mount.destination, run_mount::TMPFS_MODE),
        "bind" if !Path::new(&mount.source).is_dir() => {
            let path = PathBuf::from(&mount.destination);
            stub::Target { path, is_directory: false, mode: 0o644 }
        }
        _ => directory(&mount.destination, 0o755),
    });
    // What is below these is not in the image's files but in what the runtime mounts.
    let is_below_own = |path: &Path| {
        path.parent().is_some_and(|above| above.starts_with("/dev") || above.starts_with("/proc"))
    };
    own.into_iter().chain(lent).filter(|target| !is_below_own(&target.path)).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StepError> {
    std::fs::write(path, bytes).map_err(|error| FsError::new("write", path, error))?;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StepError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| FsError::new("change mode of", path, error))?;
    Ok(())
}
