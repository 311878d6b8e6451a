//! Where a build takes its files and its Dockerfile from: a directory, the standard input, an archive, a
//! URL, a repository.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use keel_image::build::remote::{Fetched, Remote, RemoteError};
use keel_image::build::{BuildOptions, DockerfileSource, NamedContext, Report};
use keel_image::store::Store;

use super::agent::KeyAgent;
use super::flags::Arguments;
use super::inputs::{Keys, Place};
use super::usage;
use crate::failure::Failure;

const STANDARD_INPUT: &str = "-";

/// What was fetched and started, for as long as it is needed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    fetched: Vec<Fetched>,
    agents: Vec<KeyAgent>,
}

/// Whether something has to be brought here before the build can look at it.
pub(super) fn is_local(arguments: &Arguments) -> bool {
    arguments.context.is_dir()
}

/// Sets the context and the Dockerfile of `options`. What is not a directory of this host is brought into
/// `store`; it goes away with what is returned.
pub(super) fn settle(
    arguments: &Arguments,
    options: &mut BuildOptions,
    store: Option<&Store>,
    report: &dyn Report,
) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    if let Some(store) = store {
        kept.agents = start_agents(arguments, options, store)?;
    }
    let store = || store.ok_or_else(|| Failure::new("the context is no directory"));
    let file = arguments.file.as_deref();
    let is_input = |path: &Path| path == Path::new(STANDARD_INPUT);
    let context = &arguments.context;
    let text = context.to_string_lossy();
    if is_local(arguments) {
        options.context = Some(context.clone());
        options.dockerfile = match file {
            None => DockerfileSource::Default,
            Some(file) if is_input(file) => standard_input_text()?,
            Some(file) => DockerfileSource::File(file.to_owned()),
        };
    } else {
        if is_input(context) && file.is_some_and(is_input) {
            return Err(usage(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        let fetched = if is_input(context) {
            if io::stdin().is_terminal() {
                return Err(usage(
                    "a context of - is read from the standard input, which is a terminal",
                ));
            }
            shown(report, "[internal] load build context from the standard input", || {
                Fetched::of_stream(store()?, io::stdin().lock()).map_err(Failure::from)
            })?
        } else if let Some(remote) = Remote::parse(&text)? {
            fetch(&remote, &text, options, store()?, report)?
        } else {
            let archive =
                File::open(context).map_err(|error| Failure::at("open", context, &error))?;
            Fetched::of_stream(store()?, archive)?
        };
        if fetched.is_dockerfile() && file.is_some() {
            return Err(usage("the context is a Dockerfile itself, so --file cannot be given"));
        }
        let inside = file.filter(|file| !is_input(file));
        fetched.apply(options, &text, inside);
        if file.is_some_and(is_input) {
            options.dockerfile = standard_input_text()?;
        }
        kept.fetched.push(fetched);
    }
    for named in &arguments.build_context {
        let place = match &named.place {
            Place::Known(place) => place.clone(),
            Place::Remote(remote, text) => {
                let fetched = fetch(remote, text, options, store()?, report)?;
                let mut inner = BuildOptions::new(".");
                fetched.apply(&mut inner, text, None);
                let directory = inner.context.ok_or_else(|| {
                    usage(format!("--build-context {}: {text} is no archive", named.name))
                })?;
                options.context_materials.extend(fetched.material.clone());
                kept.fetched.push(fetched);
                NamedContext::Directory(directory)
            }
        };
        options.contexts.insert(named.name.clone(), place);
    }
    Ok(kept)
}

/// Starts an agent for each `--ssh` that names keys.
fn start_agents(
    arguments: &Arguments,
    options: &mut BuildOptions,
    store: &Store,
) -> Result<Vec<KeyAgent>, Failure> {
    let mut agents = Vec::new();
    for ssh in &arguments.ssh {
        let Keys::Files(files) = &ssh.keys else { continue };
        let agent = KeyAgent::start(store, &ssh.id, files)?;
        options.ssh.insert(ssh.id.clone(), agent.socket().to_owned());
        agents.push(agent);
    }
    Ok(agents)
}

fn fetch(
    remote: &Remote,
    text: &str,
    options: &BuildOptions,
    store: &Store,
    report: &dyn Report,
) -> Result<Fetched, Failure> {
    let what = if matches!(remote, Remote::Git(_)) { "git source" } else { "remote build context" };
    shown(report, &format!("[internal] load {what} {text}"), || {
        Fetched::of_remote(store, remote, text, options).map_err(Failure::from)
    })
}

/// Does something as a step.
fn shown<T>(
    report: &dyn Report,
    title: &str,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let step = report.begin(title);
    let result = work();
    match &result {
        Ok(_) => report.done(step),
        Err(failure) => report.failed(step, failure.message()),
    }
    result
}

fn standard_input_text() -> Result<DockerfileSource, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::at("read", Path::new(STANDARD_INPUT), &error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| usage("the Dockerfile on the standard input is no text"))?;
    Ok(DockerfileSource::Text { name: "Dockerfile".to_owned(), text })
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Registry(error) => (*error).into(),
            RemoteError::Store(error) => error.into(),
            error => match error.hint() {
                Some(hint) => Self::of(&error).with_hint(&hint),
                None => Self::of(&error),
            },
        }
    }
}
