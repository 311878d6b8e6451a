//! From the command line to the exit code: reads the line, directs the log, calls the command, and
//! reports what went wrong.

use std::ffi::OsString;

use super::command::{Command, Global, RootOrigin};
use super::create::notify_socket;
use super::error::CommandError;
use super::flags::Verb;
use super::invocation::{self, Misuse, Request, Start};
use super::output::Output;
use super::program::{Name, Program};
use super::root::{self, Surroundings};
use super::run as run_command;
use super::{
    checkpoint, completion, create, doctor, events, exec, explain, features, gc, help, list, log,
    plan, ps, restore, seal, spec, state, update, version,
};
use crate::lifecycle;
use crate::lifecycle::error::RuntimeError;
use crate::trace;

/// The command `keel`, with the arguments and streams of this process. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    crate::sys::probe::read_environment();
    let mut arguments = std::env::args_os();
    let program = Program::from_argv0(arguments.next().as_deref());
    run(&program, arguments, &mut Output::of_process())
}

/// The command `keel`, with the given arguments and streams. Returns the exit code.
#[must_use]
pub fn run(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
    output: &mut Output,
) -> u8 {
    let result = obey(program, arguments, output);
    result.unwrap_or_else(|misuse| {
        let error = describe(program.name, misuse, output);
        output.fail(&error);
        error.exit_code
    })
}

/// Reads a command line without obeying it: nothing is opened, made or printed. Nothing comes of a
/// line that asks for help or the version.
///
/// # Errors
/// The line is none of this program.
pub fn read(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Option<(Global, Command)>, CommandError> {
    let refused = |misuse| match misuse {
        Misuse::Plain(error) => error,
        Misuse::Flag(message, _) | Misuse::Count(message, _) => CommandError::new(message),
    };
    let surroundings = Surroundings::of_process();
    let start = invocation::read_global(program, arguments, &surroundings).map_err(refused)?;
    let Start::Command { global, rest, .. } = start else { return Ok(None) };
    match invocation::read_command(program, rest, &surroundings).map_err(refused)? {
        Request::Do(command) => Ok(Some((global, *command))),
        Request::Help | Request::HelpOf(_) => Ok(None),
    }
}

fn obey(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
    output: &mut Output,
) -> Result<u8, Misuse> {
    let surroundings = Surroundings::of_process();
    let (global, ignored_criu, rest) =
        match invocation::read_global(program, arguments, &surroundings).map_err(usage)? {
            Start::Help => return Ok(print(output, &help::program(program.name))?),
            Start::Version => return Ok(print(output, &version::text(program.name))?),
            Start::Command { global, ignored_criu, rest } => (global, ignored_criu, rest),
        };
    direct_log(&global, output)?;
    if ignored_criu {
        output.warn("--criu is ignored");
    }
    match invocation::read_command(program, rest, &surroundings).map_err(usage)? {
        Request::Help => Ok(print(output, &help::program(program.name))?),
        Request::HelpOf(verb) => Ok(print(output, &help::command(program.name, verb))?),
        Request::Do(command) => Ok(execute(*command, &global, output)?),
    }
}

fn direct_log(global: &Global, output: &mut Output) -> Result<(), CommandError> {
    let open = |path: &std::path::PathBuf| {
        log::open(path).map_err(|error| CommandError::file("open", path, &error))
    };
    let file = global.log.as_ref().map(open).transpose()?;
    output.direct_log(file, global.log_format, global.debug);
    trace::listen(global.debug.then(|| output.listener()));
    Ok(())
}

/// Calls the command. The number is the exit code, which `run` and `exec` have from the process.
fn execute(command: Command, global: &Global, output: &mut Output) -> Result<u8, CommandError> {
    if command.uses_states() && global.root_origin == RootOrigin::Xdg {
        root::make_in_xdg(&global.root)?;
    }
    if command.enters_container() {
        seal::protect_own_file()?;
    }
    match command {
        Command::Spec { bundle, rootless } => spec::run(bundle.as_deref(), rootless).map(|()| 0),
        Command::Features => print(output, &features::text()),
        Command::Doctor { json, require } => doctor::run(json, &require, output),
        Command::Explain(args) => explain::run(&args, global, output),
        Command::Gc(request) => gc::run(request, global, output),
        Command::Completion { shell } => print(output, &completion::script(&shell)?),
        Command::Create(args) => create::run(&args, global, output),
        Command::Run(args) => run_command::run(&args, global, output),
        Command::Start { id } => {
            let id = create::id(&id)?;
            let notify = notify_socket();
            done(lifecycle::start::start(&global.root, &id, notify.as_deref()))
        }
        Command::State { id } => state::run(&id, global, output),
        Command::Kill { id, signal, all } => {
            let id = create::id(&id)?;
            done(lifecycle::kill::kill(&global.root, &id, signal.number(), all))
        }
        Command::Delete { id, force } => {
            let id = create::id(&id)?;
            let warnings = lifecycle::delete::delete(&global.root, &id, force);
            create::warn(&warnings.map_err(|error| create::explain(&error))?, output);
            Ok(0)
        }
        Command::Pause { id } => done(lifecycle::pause::pause(&global.root, &create::id(&id)?)),
        Command::Resume { id } => done(lifecycle::pause::resume(&global.root, &create::id(&id)?)),
        Command::Ps { id, format, args } => ps::run(&id, format, &args, global, output),
        Command::Update(args) => update::run(&args, global, output),
        Command::Events { id, interval, once } => events::run(&id, interval, once, global, output),
        Command::List { format } => list::run(format, global, output),
        Command::Exec(args) => exec::run(&args, global, output),
        Command::Checkpoint(args) => checkpoint::run(args, global, output),
        Command::Restore(args) => restore::run(args, global, output),
        Command::Plan { bundle, config, id } => {
            plan::run(&bundle, config.as_deref(), id.as_deref(), global, output)
        }
    }
}

fn done(result: Result<(), RuntimeError>) -> Result<u8, CommandError> {
    result.map(|()| 0).map_err(|error| create::explain(&error))
}

fn print(output: &mut Output, text: &str) -> Result<u8, CommandError> {
    output.print(text).map(|()| 0)
}

/// What is wrong before a command is called is wrong with the command line.
fn usage(misuse: Misuse) -> Misuse {
    match misuse {
        Misuse::Plain(mut error) => {
            error.details.code = Some("usage".to_owned());
            Misuse::Plain(error)
        }
        other => other,
    }
}

/// Prints the help that a misuse calls for; what is left is reported as any other error.
fn describe(name: Name, misuse: Misuse, output: &mut Output) -> CommandError {
    let (heading, message, verb) = match misuse {
        Misuse::Plain(error) => return error,
        // The two separators are those of runc's own parser.
        Misuse::Flag(message, None) => (format!("Incorrect Usage. {message}"), message, None),
        Misuse::Flag(message, verb) => (format!("Incorrect Usage: {message}"), message, verb),
        Misuse::Count(message, verb) => ("Incorrect Usage.".to_owned(), message, Some(verb)),
    };
    let help = verb.map_or_else(|| help::program(name), |verb: &Verb| help::command(name, verb));
    // Whether or not the help could be printed, the mistake is what has to be told.
    let _ = output.print(&format!("{heading}\n\n{help}"));
    CommandError::coded("usage", message)
}
