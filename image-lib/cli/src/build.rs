//! `keel-image build`: a Dockerfile and a context to an image.
//!
//! Progress goes to the standard error in the shape of BuildKit's, the image's id to the standard
//! output where `--quiet` asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keel_image::build::{
    BuildError, BuildOptions, BuildOutcome, DockerfileSource, Event, Network, Progress,
    RuntimeExecutor, build_image,
};
use keel_image::reference::Reference;
use keel_image::spec::Platform;
use keel_image::store::Store;
use lexopt::prelude::{Long, Short, Value};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What `keel-image build --help` prints.
pub(crate) const HELP: &str = "\
Usage: keel-image build [OPTIONS] PATH | -

Build an image from a Dockerfile. PATH is the directory whose files COPY takes; - reads
the Dockerfile from the standard input and has no such directory.

Options:
  -t, --tag NAME[:TAG]       Name the image (repeatable)
  -f, --file PATH            The Dockerfile (default PATH/Dockerfile; - for the standard input)
      --build-arg NAME[=V]   Set a build argument, from the environment if V is left out
      --target STAGE         Build this stage instead of the last one
      --label NAME=VALUE     Set a label (repeatable)
      --network MODE         Network of RUN: default, none or host (default has loopback only)
      --no-cache             Do every step anew
      --platform OS/ARCH     The platform that is built for
      --progress MODE        auto, plain, tty or quiet
  -q, --quiet                Print nothing but the image's id
      --iidfile FILE         Write the image's id to FILE
      --root DIR             The store (default $KEEL_IMAGE_ROOT, /var/lib/keel, or
                             ~/.local/share/keel)
      --runtime PATH         What runs RUN: keel, runc or another with its command line
  -h, --help                 Print this
";

/// Why the command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// The build failed.
    Build(BuildError),
    /// A file of the command line cannot be read or written.
    File {
        /// What was to be done with it.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Build(error) => error.fmt(f),
            Self::File { operation, path, .. } => write!(f, "cannot {operation} {path:?}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) => None,
            // Its text is this error's own.
            Self::Build(error) => error.source(),
            Self::File { source, .. } => Some(source),
        }
    }
}

impl Failure {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(_) => Some("keel-image build --help lists the options".to_owned()),
            Self::Build(error) => error.hint(),
            Self::File { .. } => None,
        }
    }

    /// The exit code: that of docker's command line, 125 for its own and 1 for the build's.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 125,
            _ => 1,
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The options of one call.
struct Call {
    options: BuildOptions,
    display: Display,
    image_id_file: Option<PathBuf>,
    runtime: Option<PathBuf>,
    root: Option<PathBuf>,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    /// Whole lines, one after the other.
    Plain,
    /// One line per step, rewritten while it runs.
    Terminal,
    /// Nothing.
    Quiet,
}

impl Display {
    /// What fits the standard error.
    pub(crate) fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Terminal } else { Self::Plain }
    }
}

/// Runs the command with the arguments that are left in `parser`, on the store at `root`.
pub(crate) fn run(parser: &mut lexopt::Parser, root: &Path) -> Result<(), Failure> {
    let Some(call) = read_call(parser)? else {
        return print(HELP);
    };
    let root = call.root.as_deref().unwrap_or(root);
    let store = Store::open(root).map_err(|error| Failure::Build(BuildError::Store(error)))?;
    let outcome = build(&store, &call.options, call.runtime, call.display)?;
    let id = outcome.image_id.to_string();
    if let Some(path) = call.image_id_file {
        std::fs::write(&path, &id).map_err(|source| Failure::File {
            operation: "write",
            path,
            source,
        })?;
    }
    if call.display == Display::Quiet { print(&format!("{id}\n")) } else { Ok(()) }
}

/// Builds and shows how it goes; `run --build` does the same.
pub(crate) fn build(
    store: &Store,
    options: &BuildOptions,
    runtime: Option<PathBuf>,
    display: Display,
) -> Result<BuildOutcome, Failure> {
    let executor = runtime.map_or_else(RuntimeExecutor::find, RuntimeExecutor::new);
    let mut progress = Printer::new(display);
    let interrupts = Interrupts::cancel(&options.cancelled);
    let outcome = build_image(store, options, &executor, &mut progress).map_err(Failure::Build);
    drop(interrupts);
    let outcome = outcome?;
    if display != Display::Quiet {
        let BuildOutcome { steps, cached, .. } = &outcome;
        progress.line(&format!("{cached} of {steps} steps from the cache"));
    }
    Ok(outcome)
}

/// While it lives, the signals that ask a program to end cancel the build, so that nothing is left
/// behind. A second one does nothing more: some senders send two at once.
struct Interrupts(Vec<signal_hook::SigId>);

impl Interrupts {
    fn cancel(flag: &Arc<AtomicBool>) -> Self {
        let mut ids = Vec::new();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Where no handler can be set, the signal does what it always did.
            ids.extend(signal_hook::flag::register(signal, Arc::clone(flag)));
        }
        Self(ids)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    // Who closes the pipe early has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// Reads the arguments; `None` asks for help.
fn read_call(parser: &mut lexopt::Parser) -> Result<Option<Call>, Failure> {
    let mut options = BuildOptions::new(".");
    let mut context = None;
    let mut file = None;
    let mut display = None;
    let mut image_id_file = None;
    let mut runtime = None;
    let mut root = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Short('t') | Long("tag") => options.tags.push(read_tag(&text(parser)?)?),
            Short('f') | Long("file") => file = Some(PathBuf::from(parser.value()?)),
            Long("build-arg") => read_build_argument(&mut options.arguments, &text(parser)?),
            Long("target") => options.target = Some(text(parser)?),
            Long("label") => {
                let label = text(parser)?;
                let (name, value) = label.split_once('=').unwrap_or((&label, ""));
                options.labels.insert(name.to_owned(), value.to_owned());
            }
            Long("network") => {
                let mode = text(parser)?;
                options.network = Network::parse(&mode).ok_or_else(|| {
                    Failure::Usage(format!("--network={mode}: it is none of default, none, host"))
                })?;
            }
            Long("no-cache") => options.no_cache = true,
            Long("platform") => options.platform = Some(read_platform(&text(parser)?)?),
            Long("progress") => display = read_display(&text(parser)?)?,
            Short('q') | Long("quiet") => display = Some(Display::Quiet),
            Long("iidfile") => image_id_file = Some(PathBuf::from(parser.value()?)),
            Long("root") => root = Some(PathBuf::from(parser.value()?)),
            Long("runtime") => runtime = Some(PathBuf::from(parser.value()?)),
            Long(
                name @ ("pull" | "push" | "output" | "secret" | "ssh" | "cache-from" | "cache-to"
                | "build-context" | "add-host" | "annotation" | "ulimit" | "shm-size"
                | "check" | "call" | "metadata-file" | "no-cache-filter"),
            ) => {
                return Err(Failure::Usage(format!("--{name} is not supported by this builder")));
            }
            Short('o') => {
                return Err(Failure::Usage("--output is not supported by this builder".to_owned()));
            }
            Value(path) if context.is_none() => context = Some(PathBuf::from(path)),
            other => return Err(Failure::from(other.unexpected())),
        }
    }
    let Some(context) = context else {
        let text = "keel-image build requires exactly one argument: the context, often .";
        return Err(Failure::Usage(text.to_owned()));
    };
    (options.context, options.dockerfile) = read_sources(context, file)?;
    let display = display.unwrap_or_else(Display::fitting);
    Ok(Some(Call { options, display, image_id_file, runtime, root }))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    use lexopt::ValueExt;
    Ok(parser.value()?.string()?)
}

fn read_tag(text: &str) -> Result<Reference, Failure> {
    let reference: Reference =
        text.parse().map_err(|error| Failure::Usage(format!("--tag {text}: {error}")))?;
    Ok(reference.or_latest())
}

/// `NAME=value`, or `NAME` for the value of the environment; unset there, it is not given at all.
fn read_build_argument(arguments: &mut BTreeMap<String, String>, text: &str) {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if let Some(value) = value {
        arguments.insert(name.to_owned(), value);
    }
}

fn read_platform(text: &str) -> Result<Platform, Failure> {
    text.parse().map_err(|error| Failure::Usage(format!("--platform: {error}")))
}

fn read_display(mode: &str) -> Result<Option<Display>, Failure> {
    match mode {
        "auto" => Ok(None),
        "plain" => Ok(Some(Display::Plain)),
        "tty" => Ok(Some(Display::Terminal)),
        "quiet" | "none" => Ok(Some(Display::Quiet)),
        _ => {
            Err(Failure::Usage(format!("--progress={mode}: it is none of auto, plain, tty, quiet")))
        }
    }
}

/// The context and the Dockerfile. A context of `-` is a Dockerfile on the standard input and no
/// files at all.
fn read_sources(
    context: PathBuf,
    file: Option<PathBuf>,
) -> Result<(Option<PathBuf>, DockerfileSource), Failure> {
    let standard_input = Path::new("-");
    if context == standard_input {
        if file.is_some() {
            let text = "a context of - holds the Dockerfile itself, so --file cannot be given";
            return Err(Failure::Usage(text.to_owned()));
        }
        return Ok((None, read_standard_input()?));
    }
    Ok(match file {
        None => (Some(context), DockerfileSource::Default),
        Some(file) if file == standard_input => (Some(context), read_standard_input()?),
        Some(file) => (Some(context), DockerfileSource::File(file)),
    })
}

fn read_standard_input() -> Result<DockerfileSource, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|source| Failure::File {
        operation: "read",
        path: PathBuf::from("-"),
        source,
    })?;
    let is_archive = bytes.starts_with(b"\x1f\x8b") || bytes.get(257..262) == Some(b"ustar");
    let text = String::from_utf8(bytes).ok().filter(|_| !is_archive).ok_or_else(|| {
        Failure::Usage("a context archive on the standard input is not supported".to_owned())
    })?;
    Ok(DockerfileSource::Text { name: "Dockerfile".to_owned(), text })
}

/// Shows a build as it goes.
pub(crate) struct Printer {
    display: Display,
    names: BTreeMap<usize, String>,
    /// The step whose lines were printed last.
    last: usize,
    columns: usize,
}

impl Printer {
    /// A printer to the standard error.
    pub(crate) fn new(display: Display) -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        // A terminal that does not know its width is taken for an old one.
        let columns = if columns == 0 { 80 } else { columns };
        Self { display, names: BTreeMap::new(), last: 0, columns }
    }

    fn line(&mut self, text: &str) {
        // Who does not read the progress still wants the image.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A line of a step. Where the lines of several steps interleave, the step is named again.
    fn step_line(&mut self, step: usize, text: &str) {
        if self.last != step {
            let name = self.names.get(&step).cloned().unwrap_or_default();
            self.line(&format!("\n#{step} {name}"));
            self.last = step;
        }
        self.line(&format!("#{step} {text}"));
    }

    fn name(&self, step: usize) -> &str {
        self.names.get(&step).map_or("", String::as_str)
    }

    /// Rewrites the last line of the terminal.
    fn rewrite(&self, text: &str, end: &str) {
        let text: String = text.chars().take(self.columns.saturating_sub(1)).collect();
        let mut stderr = std::io::stderr().lock();
        // Who does not read the progress still wants the image.
        let _ = write!(stderr, "\r\x1b[K{text}{end}").and_then(|()| stderr.flush());
    }

    fn plain(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, name } => {
                let separator = if self.last == 0 { "" } else { "\n" };
                self.line(&format!("{separator}#{step} {name}"));
                self.last = step;
            }
            Event::Output { step, line, after } => {
                self.step_line(step, &format!("{:.3} {line}", after.as_secs_f64()));
            }
            Event::Note { step, text } => self.step_line(step, text),
            Event::Cached { step } => self.step_line(step, "CACHED"),
            Event::Done { step, after } => self.step_line(step, &done(after)),
            Event::Failed { step, reason } => self.step_line(step, &format!("ERROR: {reason}")),
            Event::Warning { text } => self.line(&format!("\nWARN: {text}")),
        }
    }

    fn terminal(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, .. } => self.rewrite(&format!(" => {}", self.name(step)), ""),
            Event::Output { step, line, .. } => {
                self.rewrite(&format!(" => {} | {line}", self.name(step)), "");
            }
            Event::Note { text, .. } => self.rewrite(&format!(" => {text}"), "\n"),
            Event::Cached { step } => {
                self.rewrite(&format!(" => CACHED {}", self.name(step)), "\n");
            }
            Event::Done { step, after } => {
                self.rewrite(&format!(" => {} {:.1}s", self.name(step), after.as_secs_f64()), "\n");
            }
            Event::Failed { step, .. } => {
                self.rewrite(&format!(" => ERROR {}", self.name(step)), "\n");
            }
            Event::Warning { text } => self.rewrite(&format!(" WARN {text}"), "\n"),
        }
    }
}

fn done(after: Duration) -> String {
    format!("DONE {:.1}s", after.as_secs_f64())
}

impl Progress for Printer {
    fn report(&mut self, event: Event<'_>) {
        if let Event::Started { step, name } = event {
            self.names.insert(step, name.to_owned());
        }
        match self.display {
            Display::Quiet => {}
            Display::Plain => self.plain(event),
            Display::Terminal => self.terminal(event),
        }
    }
}
