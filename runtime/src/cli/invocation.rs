//! Turns what the parser found into typed commands: paths absolute, numbers in range, choices known.

mod images;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::command::{
    Command, CreateArgs, ExecArgs, ExplainArgs, Global, ListFormat, LogFormat, PsFormat, Rootless,
    RunArgs,
};
use super::duration;
use super::error::CommandError;
use super::flags::{GLOBAL, HELP, Order, VERBS, Verb};
use super::parse::{self, Matches};
use super::program::Program;
use super::quote::quoted;
use super::root::{self, Surroundings};
use super::signal::Signal;
use super::user::{self, User};
use crate::lifecycle;

mod update;

pub(super) use update::flag_of;

/// What stands before the command, and the rest.
#[derive(Debug)]
pub(super) enum Start {
    /// `--help`, or no command.
    Help,
    /// `--version`.
    Version,
    /// A command follows.
    Command { global: Global, ignored_criu: bool, rest: Vec<OsString> },
}

/// What stands behind the global flags.
#[derive(Debug)]
pub(super) enum Request {
    /// `help`.
    Help,
    /// `help COMMAND`, or `COMMAND --help`.
    HelpOf(&'static Verb),
    /// Something to do.
    Do(Box<Command>),
}

/// Why a command line was not understood.
#[derive(Debug)]
pub(super) enum Misuse {
    /// A flag is wrong: the sentence stands before the help text, too.
    Flag(String, Option<&'static Verb>),
    /// The number of arguments is wrong.
    Count(String, &'static Verb),
    /// The value of a flag or argument is wrong, or something else; no help text is printed.
    Plain(CommandError),
}

impl From<CommandError> for Misuse {
    fn from(error: CommandError) -> Self {
        Self::Plain(error)
    }
}

/// Reads the flags before the command.
///
/// # Errors
/// One of them is wrong.
pub(super) fn read_global(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
) -> Result<Start, Misuse> {
    let mut matches = parse::parse(&GLOBAL.iter(), Order::FlagsFirst, arguments)
        .map_err(|message| Misuse::Flag(message, None))?;
    let asks = |name| matches.switch(name).unwrap_or(false);
    if asks(HELP.name) {
        return Ok(Start::Help);
    }
    if asks("version") {
        return Ok(Start::Version);
    }
    if matches.arguments.is_empty() {
        return Ok(Start::Help);
    }
    let (root, root_origin) = root::choose(matches.text("root"), program.name, surroundings)?;
    let global = Global {
        root,
        root_origin,
        log: matches.text("log").filter(|path| !path.is_empty()).map(PathBuf::from),
        log_format: log_format(matches.text("log-format"))?,
        debug: asks("debug"),
        name: program.name,
        systemd_cgroup: asks("systemd-cgroup") || is_systemd(matches.text("cgroup-manager"))?,
        rootless: rootless(matches.text("rootless"))?,
    };
    let ignored_criu = matches.text("criu").is_some();
    Ok(Start::Command { global, ignored_criu, rest: std::mem::take(&mut matches.arguments) })
}

fn is_systemd(driver: Option<&OsStr>) -> Result<bool, CommandError> {
    match driver.map(OsStr::to_string_lossy).as_deref() {
        None | Some("" | "cgroupfs") => Ok(false),
        Some("systemd") => Ok(true),
        Some(other) => {
            let text =
                format!("--cgroup-manager {other}: not supported (known: cgroupfs, systemd)");
            Err(CommandError::new(text))
        }
    }
}

fn log_format(text: Option<&OsStr>) -> Result<LogFormat, CommandError> {
    match text.map(OsStr::to_string_lossy).as_deref() {
        None | Some("" | "text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(CommandError::new(format!("invalid log-format: {other}"))),
    }
}

fn rootless(text: Option<&OsStr>) -> Result<Rootless, Misuse> {
    let Some(text) = text.filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("auto"))
    else {
        return Ok(Rootless::Auto);
    };
    match parse::boolean(text) {
        Some(true) => Ok(Rootless::Yes),
        Some(false) => Ok(Rootless::No),
        None => {
            let text = quoted(&text.to_string_lossy());
            let message = format!("invalid value {text} for flag -rootless: parse error");
            Err(Misuse::Flag(message, None))
        }
    }
}

/// Reads the command and what follows it.
///
/// # Errors
/// There is no such command, or its flags or arguments are wrong.
pub(super) fn read_command(
    program: &Program,
    line: Vec<OsString>,
    surroundings: &Surroundings,
) -> Result<Request, Misuse> {
    let mut line = line.into_iter();
    let name = line.next().unwrap_or_default();
    if name == "help" || name == "h" {
        return match line.next() {
            None => Ok(Request::Help),
            Some(name) => find(&name).map(Request::HelpOf),
        };
    }
    let verb = find(&name)?;
    let matches = parse::parse(&verb.flags(), verb.order, line)
        .map_err(|message| Misuse::Flag(message, Some(verb)))?;
    if matches.switch(HELP.name).unwrap_or(false) {
        return Ok(Request::HelpOf(verb));
    }
    if let Some(wrong) = verb.count.refuse(matches.arguments.len()) {
        let message = format!("{}: \"{}\" requires {wrong}", program.argv0, verb.name);
        return Err(Misuse::Count(message, verb));
    }
    Reader { verb, matches, surroundings }.command().map(|command| Request::Do(Box::new(command)))
}

fn find(name: &OsStr) -> Result<&'static Verb, Misuse> {
    let found = VERBS.iter().find(|verb| name == verb.name);
    found.ok_or_else(|| Misuse::Plain(CommandError::unknown_command(&name.to_string_lossy())))
}

/// Reads the flags and arguments of one command.
struct Reader<'a> {
    verb: &'static Verb,
    matches: Matches,
    surroundings: &'a Surroundings,
}

impl Reader<'_> {
    fn command(&self) -> Result<Command, Misuse> {
        Ok(match self.verb.name {
            "create" => Command::Create(self.create()?),
            "run" => Command::Run(RunArgs {
                create: self.create()?,
                detach: self.is_set("detach"),
                keep: self.is_set("keep"),
                no_subreaper: self.is_set("no-subreaper"),
            }),
            "start" => Command::Start { id: self.id()? },
            "state" => Command::State { id: self.id()? },
            "kill" => {
                Command::Kill { id: self.id()?, signal: self.signal()?, all: self.is_set("all") }
            }
            "delete" => Command::Delete { id: self.id()?, force: self.is_set("force") },
            "pause" => Command::Pause { id: self.id()? },
            "resume" => Command::Resume { id: self.id()? },
            "ps" => Command::Ps {
                id: self.id()?,
                format: self.ps_format()?,
                args: self.matches.arguments.get(1..).unwrap_or_default().to_vec(),
            },
            "update" => Command::Update(self.update()?),
            "events" => Command::Events {
                id: self.id()?,
                interval: self.interval()?,
                once: self.is_set("stats"),
            },
            "list" => Command::List { format: self.list_format()? },
            "exec" => Command::Exec(self.exec()?),
            "checkpoint" => Command::Checkpoint(self.checkpoint()?),
            "restore" => Command::Restore(self.restore()?),
            "spec" => Command::Spec {
                bundle: self.matches.text("bundle").filter(|b| !b.is_empty()).map(PathBuf::from),
                rootless: self.is_set("rootless"),
            },
            "features" => Command::Features,
            "doctor" => Command::Doctor { json: self.json()?, require: self.texts("require")? },
            "explain" => Command::Explain(self.explain()?),
            "gc" => Command::Gc(lifecycle::gc::Request {
                dry_run: self.is_set("dry-run"),
                stopped: self.is_set("stopped"),
            }),
            "completion" => Command::Completion { shell: self.id()? },
            "plan" => Command::Plan {
                bundle: self.bundle()?,
                config: self.host_path("config")?,
                id: self.matches.arguments.first().map(|id| unicode("id", id)).transpose()?,
            },
            // Every verb of the table has its arm; a test walks the table.
            other => return Err(CommandError::unknown_command(other).into()),
        })
    }

    fn create(&self) -> Result<CreateArgs, CommandError> {
        Ok(CreateArgs {
            id: self.id()?,
            bundle: self.bundle()?,
            config: self.host_path("config")?,
            console_socket: self.host_path("console-socket")?,
            pidfd_socket: self.host_path("pidfd-socket")?,
            pid_file: self.host_path("pid-file")?,
            no_pivot: self.is_set("no-pivot"),
            no_new_keyring: self.is_set("no-new-keyring"),
            preserve_fds: self.matches.number("preserve-fds").unwrap_or(0),
        })
    }

    fn explain(&self) -> Result<ExplainArgs, CommandError> {
        let words = self.matches.arguments.iter().map(|word| unicode("argument", word));
        let mut words = words.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut args = [0; 6];
        let given: Vec<_> = self.texts("arg")?;
        if given.len() > args.len() {
            return Err(CommandError::new("--arg: a system call has at most six arguments"));
        }
        for (place, text) in args.iter_mut().zip(&given) {
            *place = number(text)
                .ok_or_else(|| CommandError::new(format!("--arg {text}: expected a number")))?;
        }
        Ok(ExplainArgs {
            id: words.next(),
            command: words.collect(),
            bundle: self.bundle()?,
            config: self.host_path("config")?,
            json: self.json()?,
            syscall: self.text("syscall")?,
            args,
        })
    }

    fn json(&self) -> Result<bool, CommandError> {
        match self.matches.text("format").map(OsStr::to_string_lossy).as_deref() {
            None | Some("text") => Ok(false),
            Some("json") => Ok(true),
            Some(_) => Err(CommandError::new("invalid format option")),
        }
    }

    fn exec(&self) -> Result<ExecArgs, Misuse> {
        // A number to runc's parser of flags already, so that it answers with the usage.
        let additional_gids = self.additional_gids()?;
        let args = self.process_of(additional_gids);
        Ok(args.map_err(|error| CommandError::exec(error.message))?)
    }

    fn process_of(&self, additional_gids: Vec<u32>) -> Result<ExecArgs, CommandError> {
        Ok(ExecArgs {
            id: self.id()?,
            args: self.matches.arguments.get(1..).unwrap_or_default().to_vec(),
            process: self.host_path("process")?,
            console_socket: self.host_path("console-socket")?,
            pidfd_socket: self.host_path("pidfd-socket")?,
            cwd: self.text("cwd")?,
            env: self.matches.list("env").map(OsStr::to_owned).collect(),
            tty: self.is_set("tty"),
            user: self.user()?,
            additional_gids,
            detach: self.is_set("detach"),
            pid_file: self.host_path("pid-file")?,
            process_label: self.text("process-label")?,
            apparmor: self.text("apparmor")?,
            no_new_privs: self.matches.switch("no-new-privs"),
            caps: self.texts("cap")?,
            preserve_fds: self.matches.number("preserve-fds").unwrap_or(0),
            cgroups: self.texts("cgroup")?,
            ignore_paused: self.is_set("ignore-paused"),
        })
    }

    fn user(&self) -> Result<Option<User>, CommandError> {
        let given = self.matches.text("user").filter(|text| !text.is_empty());
        let parsed = given.map(|text| User::parse(&text.to_string_lossy())).transpose();
        parsed.map_err(CommandError::new)
    }

    fn additional_gids(&self) -> Result<Vec<u32>, Misuse> {
        let parse = |text: &OsStr| {
            let text = text.to_string_lossy();
            user::parse_id(&text).ok_or_else(|| self.malformed("additional-gids", &text))
        };
        self.matches.list("additional-gids").map(parse).collect()
    }

    fn signal(&self) -> Result<Signal, CommandError> {
        match self.matches.arguments.get(1).filter(|text| !text.is_empty()) {
            None => Ok(Signal::TERM),
            Some(text) => Signal::parse(&text.to_string_lossy()).map_err(CommandError::new),
        }
    }

    fn list_format(&self) -> Result<ListFormat, CommandError> {
        if self.is_set("quiet") {
            return Ok(ListFormat::Quiet);
        }
        match self.matches.text("format").map(OsStr::to_string_lossy).as_deref() {
            None | Some("table") => Ok(ListFormat::Table),
            Some("json") => Ok(ListFormat::Json),
            Some(_) => Err(CommandError::new("invalid format option")),
        }
    }

    fn ps_format(&self) -> Result<PsFormat, CommandError> {
        match self.matches.text("format").map(OsStr::to_string_lossy).as_deref() {
            None | Some("table") => Ok(PsFormat::Table),
            Some("json") => Ok(PsFormat::Json),
            Some(_) => Err(CommandError::new("invalid format option")),
        }
    }

    /// Zero where the text says zero or less, which `events` refuses.
    fn interval(&self) -> Result<Duration, Misuse> {
        const DEFAULT: Duration = Duration::from_secs(5);
        let Some(text) = self.matches.text("interval") else { return Ok(DEFAULT) };
        let text = text.to_string_lossy();
        duration::parse(&text).ok_or_else(|| self.malformed("interval", &text))
    }

    fn malformed(&self, name: &str, text: &str) -> Misuse {
        let message = format!("invalid value {} for flag -{name}: parse error", quoted(text));
        Misuse::Flag(message, Some(self.verb))
    }

    fn id(&self) -> Result<String, CommandError> {
        self.matches.arguments.first().map_or(Ok(String::new()), |id| unicode("id", id))
    }

    /// The bundle, absolute. Unlike the other paths it is entered by the kernel, so its `..` are left
    /// for the kernel to resolve.
    fn bundle(&self) -> Result<PathBuf, CommandError> {
        self.surroundings.joined(self.matches.text("bundle").unwrap_or_default())
    }

    fn host_path(&self, name: &str) -> Result<Option<PathBuf>, CommandError> {
        let given = self.matches.text(name).filter(|path| !path.is_empty());
        given.map(|path| self.surroundings.absolute(path)).transpose()
    }

    fn is_set(&self, name: &str) -> bool {
        self.matches.switch(name).unwrap_or(false)
    }

    /// The value of a flag that ends up in a JSON document; empty is absent, as in runc.
    fn text(&self, name: &str) -> Result<Option<String>, CommandError> {
        let given = self.matches.text(name).filter(|text| !text.is_empty());
        given.map(|text| unicode(name, text)).transpose()
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, CommandError> {
        self.matches.list(name).map(|text| unicode(name, text)).collect()
    }
}

/// A number in decimal, or in hexadecimal behind 0x.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn unicode(what: &str, text: &OsStr) -> Result<String, CommandError> {
    text.to_str().map(str::to_owned).ok_or_else(|| {
        CommandError::new(format!("invalid {what} {}: not UTF-8", quoted(&text.to_string_lossy())))
    })
}

impl super::flags::Count {
    /// What the command requires instead of `given` arguments.
    fn refuse(self, given: usize) -> Option<String> {
        let (quantity, number) = match self.max {
            Some(max) if max == self.min => ("exactly", max),
            _ if given < self.min => ("a minimum of", self.min),
            Some(max) => ("a maximum of", max),
            None => return None,
        };
        let fits = given >= self.min && self.max.is_none_or(|max| given <= max);
        (!fits).then(|| format!("{quantity} {number} argument(s)"))
    }
}
