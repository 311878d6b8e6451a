//! From the words of the command line to what the library is told.

use std::collections::BTreeMap;

use keel_image::build::form::ImageAnnotations;
use keel_image::build::{BuildOptions, KeepFailed, Network};
use keel_image::bundle::Privilege;
use keel_image::cancel::Cancellation;
use keel_image::reference::Reference;
use keel_image::registry::Client;
use keel_image::spec::Platform;

use super::display::Display;
use super::flags::Arguments;
use super::inputs::Keys;
use super::{attest, inputs, usage};
use crate::bridge;
use crate::failure::Failure;
use crate::units;

/// How progress is shown.
pub(super) fn display(arguments: &Arguments) -> Result<Display, Failure> {
    if arguments.quiet {
        return Ok(Display::Quiet);
    }
    let environment = || std::env::var("BUILDKIT_PROGRESS").ok();
    let mode = arguments.progress.clone().or_else(environment).unwrap_or_default();
    Display::read(&mode).map_err(usage)
}

/// The options of one build for every platform; there is always one.
pub(super) fn read(
    arguments: &Arguments,
    cancellation: &Cancellation,
) -> Result<Vec<BuildOptions>, Failure> {
    let mut options = BuildOptions::new(".");
    options.target.clone_from(&arguments.target);
    options.arguments = build_arguments(&arguments.build_arg);
    options.tags = arguments.tag.iter().map(|text| tag(text)).collect::<Result<_, _>>()?;
    options.labels = arguments.label.iter().map(|text| pair(text)).collect();
    options.annotations = annotations(&arguments.annotation)?;
    for secret in &arguments.secret {
        options.secrets.insert(secret.id.clone(), secret.source.clone());
    }
    for ssh in &arguments.ssh {
        // An agent for keys is started when the build begins.
        if let Keys::Agent(socket) = &ssh.keys {
            options.ssh.insert(ssh.id.clone(), socket.clone());
        }
    }
    options.no_cache = arguments.no_cache;
    options.no_cache_stages.clone_from(&arguments.no_cache_filter);
    options.dry_run = arguments.dry_run;
    options.explain = arguments.dry_run || arguments.explain.is_some();
    options.read_sets = arguments.read_sets;
    options.keep_failed = arguments.shell_on_fail.as_ref().map(|_| KeepFailed::default());
    options.pull = arguments.pull;
    let mut registry = arguments.registry.options()?;
    registry.cancellation = cancellation.clone();
    options.registry = Some(Client::new(registry)?);
    options.network = Network::parse(&arguments.network).ok_or_else(|| {
        usage(format!("--network={}: it is none of default, none, host", arguments.network))
    })?;
    options.networks = bridge::networks();
    let hosts = arguments.add_host.iter().map(|text| inputs::host(text));
    options.hosts = hosts.collect::<Result<_, _>>().map_err(usage)?;
    options.rlimits.clone_from(&arguments.ulimit);
    options.shm_bytes = arguments.shm_size.as_deref().map(units::parse_bytes).transpose()?;
    options.cgroup_parent = arguments.cgroup_parent.as_deref().map(cgroup).transpose()?;
    allow(&mut options, &arguments.allow)?;
    if !arguments.cdi_config_dir.is_empty() {
        options.device_directories.clone_from(&arguments.cdi_config_dir);
    }
    options.attestations = attest::read(arguments).map_err(usage)?;
    for_platforms(options, &arguments.platform)
}

/// The path of a cgroup that there may be commands in.
fn cgroup(path: &str) -> Result<String, Failure> {
    let is_inside = !path.split('/').any(|name| matches!(name, "." | ".."));
    if path.trim_matches('/').is_empty() || !is_inside {
        return Err(usage(format!("--cgroup-parent={path}: it is no path of a cgroup")));
    }
    if Privilege::of_this_process() != Privilege::Root {
        return Err(usage("--cgroup-parent: the cgroups of an ordinary user are not made here"));
    }
    Ok(path.to_owned())
}

fn for_platforms(
    options: BuildOptions,
    platforms: &[String],
) -> Result<Vec<BuildOptions>, Failure> {
    let mut wanted: Vec<Platform> = Vec::new();
    for text in platforms {
        let platform = match text.as_str() {
            "local" => Platform::host(),
            text => text.parse().map_err(|error| usage(format!("--platform: {error}")))?,
        };
        if !wanted.contains(&platform) {
            wanted.push(platform);
        }
    }
    if wanted.is_empty() {
        return Ok(vec![options]);
    }
    let one = |platform| BuildOptions { platform: Some(platform), ..options.clone() };
    Ok(wanted.into_iter().map(one).collect())
}

fn tag(text: &str) -> Result<Reference, Failure> {
    let refuse = |error: &dyn std::fmt::Display| usage(format!("--tag {text}: {error}"));
    let reference: Reference = text.parse().map_err(|error| refuse(&error))?;
    if reference.digest().is_some() {
        return Err(refuse(&"a digest is what comes of a build, and no name for it"));
    }
    Ok(reference.or_latest())
}

/// `NAME=VALUE`; without a value it is empty.
fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `NAME=value`, or `NAME` for the value of the environment; unset there, it is not given at all.
fn build_arguments(texts: &[String]) -> BTreeMap<String, String> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => Some((text.clone(), std::env::var(text).ok()?)),
    };
    texts.iter().filter_map(one).collect()
}

/// Annotations: `NAME=VALUE` of the manifest, or with what bears them before the name.
fn annotations(texts: &[String]) -> Result<ImageAnnotations, Failure> {
    let mut all = ImageAnnotations::default();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| usage(format!("invalid annotation {text:?}: it is NAME=VALUE")))?;
        let is_level = |word: &str| word.starts_with("manifest") || word.starts_with("index");
        let (levels, name) = match name.split_once(':') {
            Some((levels, name)) if levels.split(',').all(is_level) => (levels, name),
            _ => ("manifest", name),
        };
        for level in levels.split(',') {
            let bearer = match level {
                "manifest" => &mut all.manifest,
                "index" => &mut all.index,
                "manifest-descriptor" => &mut all.manifest_descriptor,
                _ => {
                    return Err(usage(format!(
                        "--annotation {text}: {level} is none of manifest, index, manifest-descriptor"
                    )));
                }
            };
            bearer.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(all)
}

/// What `--allow` says.
fn allow(options: &mut BuildOptions, texts: &[String]) -> Result<(), Failure> {
    for text in texts {
        match text.as_str() {
            // The host's network needs no leave.
            "network.host" => {}
            "security.insecure" => options.allow_insecure = true,
            "device" => options.devices.all = true,
            text => match text.strip_prefix("device=") {
                Some(name) if !name.is_empty() => {
                    options.devices.names.insert(name.to_owned());
                }
                _ => {
                    return Err(usage(format!(
                        "--allow {text}: it is none of network.host, security.insecure, device, device=NAME"
                    )));
                }
            },
        }
    }
    Ok(())
}
