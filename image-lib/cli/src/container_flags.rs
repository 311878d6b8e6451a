//! The flags of `docker run` that say what a container is like.

use std::fs;
use std::path::{Path, PathBuf};

use keel_image::bundle::{Mount, Network, Options, Privilege, Seccomp, Volume};

use crate::failure::Failure;
use crate::units;

#[derive(Debug, clap::Args)]
pub(crate) struct ContainerFlags {
    /// Set a variable; without a value, the one of this environment
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user, as name or number, with an optional group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// A directory or file of this host
    #[arg(short, long, value_name = "SOURCE:DESTINATION[:ro]")]
    volume: Vec<String>,
    /// A temporary file system
    #[arg(long, value_name = "DESTINATION[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Run this in place of the image's entrypoint; empty for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// The host name
    #[arg(long)]
    hostname: Option<String>,
    /// Give the container a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Mount the rootfs read-only
    #[arg(long)]
    read_only: bool,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// The most memory
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// The number of processors
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// The most processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// none (loopback only) or host
    #[arg(long, visible_alias = "net", default_value = "none", value_name = "MODE")]
    network: String,
    /// seccomp=unconfined allows all system calls
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// An annotation of the bundle
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
}

fn usage(message: String) -> Failure {
    Failure::new(message).with_code(125)
}

impl ContainerFlags {
    /// What differs from the image. Directories for volumes are made, as docker does.
    pub(crate) fn options(&self, args: &[String]) -> Result<Options, Failure> {
        let annotations = self.annotation.iter().map(|text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        });
        let entrypoint = self.entrypoint.as_ref().map(|text| match text.as_str() {
            "" => Vec::new(),
            command => vec![command.to_owned()],
        });
        Ok(Options {
            args: args.to_vec(),
            entrypoint,
            env: self.environment()?,
            working_dir: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            terminal: self.tty,
            read_only: self.read_only,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            volumes: self.volume.iter().map(|text| volume(text)).collect::<Result<_, _>>()?,
            mounts: self.tmpfs.iter().map(|text| tmpfs(text)).collect::<Result<_, _>>()?,
            memory_bytes: self.memory.as_deref().map(units::parse_bytes).transpose()?,
            nano_cpus: self.cpus.as_deref().map(units::parse_cpus).transpose()?,
            pids_limit: self.pids_limit.filter(|limit| *limit != 0),
            network: match self.network.as_str() {
                "none" => Network::None,
                "host" => Network::Host,
                other => {
                    let message = format!("--network {other}: it is none of none, host");
                    return Err(
                        usage(message).with_hint("networks of other kinds are not made yet")
                    );
                }
            },
            seccomp: self.seccomp()?,
            cgroups_path: None,
            privilege: Privilege::of_this_process(),
            annotations: annotations.collect(),
            ..Options::default()
        })
    }

    /// The host name that was asked for.
    pub(crate) fn hostname(&self) -> Option<&str> {
        self.hostname.as_deref()
    }

    /// Is the network the host's?
    pub(crate) fn has_host_network(&self) -> bool {
        self.network == "host"
    }

    fn seccomp(&self) -> Result<Seccomp, Failure> {
        let mut seccomp = Seccomp::Default;
        for option in &self.security_opt {
            match option.as_str() {
                "seccomp=unconfined" => seccomp = Seccomp::Unconfined,
                "seccomp=builtin" => seccomp = Seccomp::Default,
                other => return Err(usage(format!("--security-opt {other}: it is not known"))),
            }
        }
        Ok(seccomp)
    }

    fn environment(&self) -> Result<Vec<String>, Failure> {
        let mut entries = Vec::new();
        for path in &self.env_file {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::at("read", path, &error).with_code(125))?;
            let lines = text.lines().map(str::trim_start);
            entries
                .extend(lines.filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
        }
        entries.extend(self.env.iter().cloned());
        let mut environment = Vec::new();
        for entry in entries {
            match entry.split_once('=') {
                Some(("", _)) => {
                    return Err(usage(format!("invalid environment variable: {entry}")));
                }
                Some(_) => environment.push(entry),
                // A variable that is not set here is not set there.
                None => {
                    environment.extend(std::env::var(&entry).ok().map(|v| format!("{entry}={v}")));
                }
            }
        }
        Ok(environment)
    }
}

fn volume(text: &str) -> Result<Volume, Failure> {
    let (source, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut absolute = text.to_owned();
    if source.starts_with('.') {
        let here = std::env::current_dir()
            .map_err(|error| Failure::at("find", Path::new("."), &error).with_code(125))?;
        absolute = format!("{}:{rest}", here.join(source).display());
    } else if !source.starts_with('/') {
        let failure = usage(format!("invalid volume specification: {text:?}"));
        return Err(
            failure.with_hint("a volume is a path of this host; named volumes are not kept")
        );
    }
    let volume = Volume::parse(&absolute).map_err(|error| Failure::from(error).with_code(125))?;
    if !volume.source.exists() {
        fs::create_dir_all(&volume.source)
            .map_err(|error| Failure::at("create", &volume.source, &error).with_code(125))?;
    }
    Ok(volume)
}

fn tmpfs(text: &str) -> Result<Mount, Failure> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') {
        return Err(usage(format!("invalid tmpfs: {text:?} is not absolute")));
    }
    let given = options.split(',').filter(|option| !option.is_empty());
    Ok(Mount {
        destination: destination.to_owned(),
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        options: ["nosuid", "nodev", "noexec"]
            .into_iter()
            .chain(given)
            .map(str::to_owned)
            .collect(),
    })
}
