//! `keel-image commit`: what a container has changed becomes a layer on its image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keel_image::compare::{copy_upper, write_changes};
use keel_image::fsroot::Root;
use keel_image::reference::Reference;
use keel_image::spec::{History, Timestamp};
use keel_image::store::{CommitOptions, Image, Layer, Scratch, Store};
use serde_json::{Value, json};

use crate::changes;
use crate::diff::tree_of;
use crate::failure::Failure;
use crate::interrupt::Undo;
use crate::output;

/// The file of a bundle that says which image it is of.
pub(crate) const ORIGIN: &str = "keel-image.json";
/// The folder of a running container's bundle in which an ordinary user's runtime keeps it.
pub(crate) const STATE: &str = "state";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image, such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A message for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// Pause a running container meanwhile (the default; =false does not)
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pause: bool,
    /// The name of a container of `run`, or the directory of a bundle
    #[arg(value_name = "CONTAINER|DIR")]
    container: String,
    /// The new image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Notes beside a bundle what `commit` must know of it.
pub(crate) fn note_origin(
    bundle: &Path,
    image: &Image,
    container: Option<(&str, &Path)>,
) -> Result<(), Failure> {
    let mut origin = json!({ "Image": image.id().to_string() });
    if let Some((id, runtime)) = container {
        origin["Container"] = json!(id);
        origin["Runtime"] = json!(runtime);
    }
    let path = bundle.join(ORIGIN);
    fs::write(&path, origin.to_string()).map_err(|error| Failure::at("write", &path, &error))
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let reference = arguments.reference.as_ref().map(|text| text.parse::<Reference>());
    let reference = reference.transpose().map_err(|error| Failure::of(&error))?;
    let _hold = store.hold()?;
    let (bundle, running) = find(store, &arguments.container)?;
    let origin = read_json(&bundle.join(ORIGIN))?;
    let id = origin["Image"].as_str().unwrap_or_default();
    let image = store.resolve(id)?;
    let mut config = image.config().value().clone();
    changes::apply(&mut config, &arguments.change)?;
    let paused = running.filter(|_| arguments.pause).and_then(Running::pause);
    let scratch = store.scratch()?;
    let layer = layer(store, &scratch, &bundle, &image)?;
    drop(paused);
    let created = epoch().unwrap_or_else(Timestamp::now);
    config.created = Some(created);
    config.author = arguments.author.clone().or(config.author);
    config.history.push(History {
        created: Some(created),
        created_by: Some(command_of(&bundle)),
        author: arguments.author.clone(),
        comment: arguments.message.clone(),
        empty_layer: layer.is_none(),
        ..History::default()
    });
    let mut layers = image.layers().to_vec();
    layers.extend(layer);
    let references: Vec<Reference> = reference.into_iter().map(Reference::or_latest).collect();
    let id = store.put_image(&config, &layers, &references)?;
    if arguments.json {
        return output::json(&json!({ "Id": id.to_string() }));
    }
    output::line(&id.to_string())
}

fn epoch() -> Option<Timestamp> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()?;
    Some(Timestamp::from_seconds(seconds))
}

fn read_json(path: &Path) -> Result<Value, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::at("read", path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::at("read", path, &error))
}

/// The bundle of a container that runs, or one on the disk. That one may be anybody's: no program that it
/// names is started.
fn find(store: &Store, name: &str) -> Result<(PathBuf, Option<Running>), Failure> {
    let entries = fs::read_dir(store.path().join("tmp")).into_iter().flatten().flatten();
    for bundle in entries.map(|entry| entry.path()) {
        let Ok(origin) = read_json(&bundle.join(ORIGIN)) else { continue };
        if origin["Container"] == name {
            let runtime = origin["Runtime"].as_str().map(PathBuf::from);
            let state = Some(bundle.join(STATE)).filter(|state| state.is_dir());
            let running = runtime.map(|runtime| Running { runtime, state, id: name.to_owned() });
            return Ok((bundle, running));
        }
    }
    let directory = PathBuf::from(name);
    if directory.join(ORIGIN).is_file() {
        return Ok((directory, None));
    }
    if directory.join("config.json").is_file() {
        return Err(Failure::new(format!("{directory:?} does not say which image it is of"))
            .with_hint("only bundles that keel-image has made can be committed"));
    }
    Err(Failure::new(format!("No such container: {name}")))
}

/// What the container runs.
fn command_of(bundle: &Path) -> String {
    let config = read_json(&bundle.join("config.json")).unwrap_or_default();
    let words = config["process"]["args"].as_array().cloned().unwrap_or_default();
    words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn layer(
    store: &Store,
    scratch: &Scratch,
    bundle: &Path,
    image: &Image,
) -> Result<Option<Layer>, Failure> {
    let failed = |error| Failure::of(&error);
    let upper = scratch.path().join("upper");
    fs::create_dir(&upper).map_err(|error| Failure::at("create", &upper, &error))?;
    let target = Root::open(&upper).map_err(failed)?;
    // A container of `run` has its changes apart; a bundle is a whole copy, and is compared.
    let own = bundle.join("upper");
    if own.is_dir() {
        copy_upper(&Root::open(&own).map_err(failed)?, &target).map_err(failed)?;
    } else {
        let empty = store.scratch()?;
        let before = tree_of(store, image, &empty)?;
        let after = Root::open(&bundle.join("rootfs")).map_err(failed)?;
        write_changes(&before, &after, &target).map_err(failed)?;
    }
    drop(target);
    let options = CommitOptions { epoch: epoch(), ..CommitOptions::default() };
    Ok(store.commit_upper(&upper, &options)?)
}

/// A container of `run`.
#[derive(Clone)]
struct Running {
    runtime: PathBuf,
    /// Where the runtime keeps it, if not in its own place.
    state: Option<PathBuf>,
    id: String,
}

impl Running {
    /// Pauses it until what is returned is dropped, or a signal ends the command.
    fn pause(self) -> Option<Undo> {
        let own = self.clone();
        let undo = Undo::with(move || {
            own.ask("resume");
        });
        if self.ask("pause") {
            return Some(undo);
        }
        output::error_line("warning: the container could not be paused; it may change meanwhile");
        None
    }

    fn ask(&self, verb: &str) -> bool {
        let mut command = Command::new(&self.runtime);
        if let Some(state) = &self.state {
            command.arg("--root").arg(state);
        }
        let quiet = command.args([verb, &self.id]).stdin(Stdio::null());
        let status = quiet.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}
