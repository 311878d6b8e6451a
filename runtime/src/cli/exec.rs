//! `exec`: its exit code is the process's, and 255 where there was none.

use std::ffi::OsString;

use super::command::{ExecArgs, Global};
use super::create::{explain, explain_document, id};
use super::error::CommandError;
use super::output::Output;
use super::run::exit_code;
use crate::config::process::capability_number;
use crate::lifecycle::exec::{Changes, Request, Source, exec, spawn};

pub(super) fn run(
    args: &ExecArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let of_exec = |error: CommandError| CommandError {
        details: error.details,
        ..CommandError::exec(error.message)
    };
    let id = id(&args.id).map_err(of_exec)?;
    let request = request(args, output).map_err(of_exec)?;
    let status = match args.detach {
        true => spawn(&global.root, &id, &request).map(|_| 0),
        false => exec(&global.root, &id, &request),
    };
    status.map(exit_code).map_err(|error| {
        of_exec(match &args.process {
            Some(path) => explain_document(&path.display().to_string(), &error),
            None => explain(&error),
        })
    })
}

fn request(args: &ExecArgs, output: &mut Output) -> Result<Request, CommandError> {
    let source = match &args.process {
        Some(path) => Source::File(path.clone()),
        None => Source::Changed(Box::new(changes(args, output)?)),
    };
    Ok(Request {
        source,
        console_socket: args.console_socket.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        pid_file: args.pid_file.clone(),
        preserve_fds: args.preserve_fds,
        cgroups: args.cgroups.clone(),
        ignore_paused: args.ignore_paused,
    })
}

fn changes(args: &ExecArgs, output: &mut Output) -> Result<Changes, CommandError> {
    let mut capabilities = 0;
    let mut unknown = Vec::new();
    for name in &args.caps {
        match capability_number(name) {
            Some(number) => capabilities |= 1 << number,
            None => unknown.push(name.as_str()),
        }
    }
    if !unknown.is_empty() {
        // As in a config: what a later kernel has is no error on this one.
        let names = unknown.join(" ");
        output.warn(&format!("--cap: ignoring unknown or unavailable capabilities: [{names}]"));
    }
    Ok(Changes {
        args: texts(&args.args)?,
        cwd: args.cwd.clone(),
        env: texts(&args.env)?,
        terminal: args.tty,
        user: args.user.as_ref().map(|user| (user.uid, user.gid)),
        additional_gids: args.additional_gids.clone(),
        selinux_label: args.process_label.clone(),
        apparmor_profile: args.apparmor.clone(),
        no_new_privileges: args.no_new_privs,
        capabilities,
    })
}

/// Arguments as the config would hold them: JSON knows UTF-8 only.
fn texts(all: &[OsString]) -> Result<Vec<String>, CommandError> {
    let text = |word: &OsString| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| CommandError::new(format!("argument {word:?} is not UTF-8")))
    };
    all.iter().map(text).collect()
}
