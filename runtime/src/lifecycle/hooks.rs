//! The hooks that the parent runs, and when (runtime-spec, runtime.md, "Lifecycle").

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::arena::Arena;
use crate::config::hooks::{Hooks, Point};
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::container::state_file::State;
use crate::container::status::Status;
use crate::failure::Failure;
use crate::hooks::apply::{Output, Place, Surroundings, run};
use crate::hooks::plan::{Prepared, compile};
use crate::init::error::{HookError, InitError};
use crate::init::excursion::Excursion;
use crate::init::parent::Started;
use crate::sys::namespace::Kind;
use crate::sys::open::{CWD, OpenFlags, openat};
use crate::sys::process::ExecStrings;

/// The status that hooks and agents are told while the container is being made.
pub(super) const CREATING: &str = "creating";

/// prestart and createRuntime in the runtime's namespaces, createContainer in the container's
/// (steps 3 to 5).
///
/// # Errors
/// [`InitError::Hook`] for the first that failed.
pub(super) fn at_creation(spec: &Spec, state: &State, started: &Started) -> Result<(), InitError> {
    let kinds = spec.linux.namespaces.iter().fold(0, |all, n| all | n.kind.flag());
    let told = (CREATING, started.pid());
    let hooks = &spec.hooks;
    run_each(hooks, Point::Prestart, state, told, None, |result| result)?;
    run_each(hooks, Point::CreateRuntime, state, told, None, |result| result)?;
    let inside = Some((started, kinds));
    run_each(hooks, Point::CreateContainer, state, told, inside, |result| result)?;
    Ok(())
}

/// prestart and createRuntime, once the namespaces of a container that is being restored are there and
/// before anything is in them: `pid` is the process that holds them.
///
/// # Errors
/// [`HookError`] for the first that failed.
pub(super) fn at_restore(hooks: &Hooks, state: &State, pid: i32) -> Result<(), HookError> {
    let told = (CREATING, pid);
    run_each(hooks, Point::Prestart, state, told, None, |result| result)?;
    run_each(hooks, Point::CreateRuntime, state, told, None, |result| result)
}

/// poststart, once the program was executed (step 8).
///
/// # Errors
/// [`HookError`] for the first that failed.
pub(super) fn after_start(hooks: &Hooks, state: &State, pid: i32) -> Result<(), HookError> {
    let told = (Status::Running.name(), pid);
    run_each(hooks, Point::Poststart, state, told, None, |result| result)
}

/// poststop, once the container is deleted (step 12): what fails is a warning, and the others run.
pub(super) fn after_deletion(hooks: &Hooks, state: &State) -> Vec<String> {
    let mut warnings = Vec::new();
    let told = (Status::Stopped.name(), 0);
    let collect = |result: Result<(), HookError>| {
        warnings.extend(result.err().map(|error| error.to_string()));
        Ok(())
    };
    // The collector turns every failure into a warning.
    let _ = run_each(hooks, Point::Poststop, state, told, None, collect);
    warnings
}

/// Runs the hooks of one point in order, as long as `after_each` says so. They are told the container's
/// status and the pid of its process.
fn run_each(
    all: &Hooks,
    point: Point,
    state: &State,
    (status, pid): (&str, i32),
    inside: Option<(&Started, Kind)>,
    mut after_each: impl FnMut(Result<(), HookError>) -> Result<(), HookError>,
) -> Result<(), HookError> {
    if all.at(point).is_empty() {
        return Ok(());
    }
    let own: Vec<Vec<u8>> = match inside {
        Some(_) => Vec::new(),
        None => std::env::vars_os()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect(),
    };
    let own = ExecStrings::new(&own);
    let mut arena = Arena::default();
    // As in runc: inside, where the root is not entered yet, a hook works on the rootfs.
    let directory = arena.add(if inside.is_some() { &state.rootfs } else { &state.bundle });
    let text = state.for_hooks(status, pid);
    for hook in compile(all, point, &mut arena) {
        let mut output = Output::default();
        let surroundings = Surroundings {
            place: Place::Here,
            directory: Some(arena.c_str(directory)),
            state: text.as_bytes(),
            env: &own,
        };
        let result = match inside {
            None => run(&hook, &arena, &surroundings, &mut output).map(drop),
            Some(inside) => run_inside(&hook, &arena, inside, &surroundings, &mut output),
        };
        after_each(result.map_err(|failure| HookError {
            origin: hook.origin,
            path: arena.show(hook.path).into_owned(),
            reason: failure.to_string(),
            output: output.text(),
        }))?;
    }
    Ok(())
}

/// In the namespaces of the container's process, but with the program of the runtime's.
fn run_inside(
    hook: &Prepared,
    arena: &Arena,
    (started, kinds): (&Started, Kind),
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<(), Failure> {
    let program: OwnedFd = openat(CWD, arena.c_str(hook.path), OpenFlags::O_PATH, 0)?;
    let (pid, user) = (NamespaceKind::Pid.flag(), NamespaceKind::User.flag());
    let place = |ahead: Kind| {
        let kinds = kinds & !pid & !ahead;
        Place::Namespaces { of: started.pidfd(), kinds, ahead, program: program.as_fd() }
    };
    // A pid namespace is for children of whoever enters it.
    let there = [(started.pidfd(), NamespaceKind::Pid)];
    let excursion = match Excursion::begin(if kinds & pid == 0 { &[] } else { &there }) {
        // An ordinary user may go there from the user namespace only.
        Err(failure) if failure.errno() == Some(libc::EPERM) && kinds & user != 0 => None,
        other => other?,
    };
    let Some(excursion) = excursion else {
        let surroundings = Surroundings { place: place(kinds & (pid | user)), ..*surroundings };
        return run(hook, arena, &surroundings, output).map(drop);
    };
    let surroundings = Surroundings { place: place(0), ..*surroundings };
    let result = run(hook, arena, &surroundings, output);
    let returned = excursion.end();
    result.map(drop).and(returned)
}
