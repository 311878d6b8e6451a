//! `keel-image build`: a Dockerfile and a context to an image.
//!
//! Progress goes to the standard error, what was asked for to the standard output.

mod agent;
mod attest;
mod cache;
mod call;
mod context;
mod display;
mod explain;
mod export;
mod fields;
mod flags;
mod inputs;
mod options;
mod rawjson;
mod target;
mod verify;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keel_image::build::{
    BuildError, BuildOptions, BuildOutcome, Built, KeepFailed, Reporter, RuntimeExecutor,
    build_image, solve,
};
use keel_image::cancel::Cancellation;
use keel_image::layer::Limits;
use keel_image::store::Store;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

pub(crate) use display::Display;
use display::Printer;
use export::Export;
pub(crate) use flags::Arguments;
pub(crate) use verify::verify;

use crate::bridge;
use crate::failure::Failure;
use crate::output;

/// Docker's code for a command line that makes no sense.
const USAGE: u8 = 125;

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(message).with_code(USAGE)
}

/// Runs the command on the store at `root`, which takes layers within `limits`.
pub(crate) fn run(root: &Path, limits: Limits, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let call = call::Call::read(arguments).map_err(usage)?;
    let display = options::display(arguments)?;
    let cancellation = Cancellation::default();
    let mut all = options::read(arguments, &cancellation)?;
    let mut printer = Printer::new(display);
    let stories = printer.stories();
    let reporter = Reporter::new(&mut printer);
    if let Some(call) = call {
        // A context that is here needs no store to be looked at.
        let store = if context::is_local(arguments) {
            None
        } else {
            Some(Store::open(root)?.with_limits(limits))
        };
        let _kept = context::settle(arguments, &mut all[0], store.as_ref(), &reporter)?;
        return call.run(&all[0]);
    }
    let export = Export::plan(arguments, &all[0], all.len()).map_err(usage)?;
    let store = Store::open(root)?.with_limits(limits);
    // Layers that no image names yet must outlive a garbage collection by somebody else.
    let _hold = store.hold()?;
    end_orphans(&store)?;
    let executor = executor(arguments.runtime.clone());
    let interrupts = Interrupts::cancel(&all[0].cancelled, cancellation)?;
    let _kept = context::settle(arguments, &mut all[0], Some(&store), &reporter)?;
    cache::import(&arguments.cache_from, &mut all[0], &reporter);
    all[0].keep_steps = !arguments.cache_to.is_empty();
    for other in 1..all.len() {
        let platform = all[other].platform.clone();
        all[other] = BuildOptions { platform, ..all[0].clone() };
    }
    let solved = solve_all(&store, &all, &executor, &reporter);
    if all[0].explain {
        // A build that failed is explained, too.
        let form = arguments.explain.unwrap_or(explain::Form::Text);
        explain::print(form, &stories)?;
    }
    let (mut built, steps, cached) = match solved {
        Ok(solved) => solved,
        Err(error) => {
            // The terminal is free again, and signals are the shell's.
            drop((reporter, interrupts));
            drop(printer);
            let is_entered = enter_failed(&all[0], &executor, arguments.shell_on_fail.as_deref())?;
            let failure = Failure::from(error);
            // What is hinted at is done.
            return Err(if is_entered { failure.without_hint() } else { failure });
        }
    };
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    cache::inline(&arguments.cache_to, &mut built);
    let exported = export.carry_out(&store, &built, &all[0], &reporter)?;
    cache::export(&arguments.cache_to, &store, &built, &all[0], &reporter)?;
    drop(interrupts);
    printer.summary(steps, cached);
    exported.write_files(arguments)?;
    match exported.id() {
        Some(id) if display == Display::Quiet => output::line(&id)?,
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What the builds came to, the number of their steps, and how many of these came from the cache.
fn solve_all(
    store: &Store,
    all: &[BuildOptions],
    executor: &RuntimeExecutor,
    reporter: &Reporter<'_>,
) -> Result<(Vec<Built>, usize, usize), BuildError> {
    let (mut steps, mut cached) = (0, 0);
    let mut built = Vec::new();
    for options in all {
        let one = solve(store, options, executor, reporter)?;
        (steps, cached) = (steps + one.steps, cached + one.cached);
        built.push(one);
    }
    Ok((built, steps, cached))
}

/// Has the user look around where a RUN failed; whether there is such a place.
fn enter_failed(
    options: &BuildOptions,
    executor: &RuntimeExecutor,
    command: Option<&str>,
) -> Result<bool, Failure> {
    let failed = options.keep_failed.as_ref().and_then(KeepFailed::take);
    let Some((failed, command)) = failed.zip(command) else { return Ok(false) };
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal {
        output::error_line(&format!("{command}: where the command failed; the build ends with it"));
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    failed.enter(executor, &words, is_terminal).map_err(|error| Failure::of(&error))?;
    Ok(true)
}

/// Takes away what killed builds have left.
pub(crate) fn end_orphans(store: &Store) -> Result<(), Failure> {
    if keel_image::build::end_orphans(store)? {
        bridge::sweep();
    }
    Ok(())
}

fn executor(runtime: Option<PathBuf>) -> RuntimeExecutor {
    runtime.map_or_else(RuntimeExecutor::find, RuntimeExecutor::new)
}

/// Builds into the store and shows how it goes: what `run --build` does.
pub(crate) fn build(
    store: &Store,
    options: &BuildOptions,
    runtime: Option<PathBuf>,
    display: Display,
) -> Result<BuildOutcome, Failure> {
    let mut printer = Printer::new(display);
    let interrupts = Interrupts::cancel(&options.cancelled, Cancellation::default())?;
    let outcome = build_image(store, options, &executor(runtime), &mut printer);
    drop(interrupts);
    let outcome = outcome?;
    printer.summary(outcome.steps, outcome.cached);
    Ok(outcome)
}

/// While it lives, the signals that ask a program to end cancel the build, so that nothing is left
/// behind. A second one does nothing more: some senders send two at once.
struct Interrupts(Handle);

impl Interrupts {
    fn cancel(flag: &Arc<AtomicBool>, fetching: Cancellation) -> Result<Self, Failure> {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
        let mut signals = signals.map_err(|error| Failure::of(&error))?;
        let (handle, flag) = (signals.handle(), Arc::clone(flag));
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                flag.store(true, Ordering::Relaxed);
                fetching.cancel();
            }
            signals.forever().for_each(drop);
        });
        Ok(Self(handle))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let failure = Self::of(&error).with_quote(&error.quote());
        match error.hint() {
            Some(hint) => failure.with_hint(&hint),
            None => failure,
        }
    }
}
