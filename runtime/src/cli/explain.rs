//! `explain`: the causes, one paragraph each, or as JSON.

use std::fmt::Write as _;

use super::command::{ExplainArgs, Global};
use super::create::{explain as told, id, tolerance};
use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use crate::lifecycle::explain::{
    Cause, Explanation, Request, SyscallAnswer, explain, explain_syscall,
};

pub(super) fn run(
    args: &ExplainArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let request = Request {
        root: global.root.clone(),
        id: args.id.as_deref().map(id).transpose()?,
        bundle: args.bundle.clone(),
        config: args.config.clone(),
        command: args.command.clone(),
        rootless: tolerance(global.rootless),
        systemd_cgroup: global.systemd_cgroup,
    };
    if let Some(name) = &args.syscall {
        let answer = explain_syscall(&request, name, args.args).map_err(|error| told(&error))?;
        let answer = answer.ok_or_else(|| {
            let text = format!("{name}: there is no seccomp profile, or no such system call here");
            CommandError::new(text)
        })?;
        output.print(&of_syscall(name, &answer, args.json))?;
        return Ok(0);
    }
    let found = explain(&request).map_err(|error| told(&error))?;
    output.print(&if args.json { document(&found) } else { text(&found) })?;
    Ok(0)
}

fn of_syscall(name: &str, answer: &SyscallAnswer, json: bool) -> String {
    if !json {
        return format!("{name}: {} by {}: {}\n", answer.action, answer.field, answer.reason);
    }
    let object = Json::object([
        ("syscall", name.into()),
        ("action", answer.action.as_str().into()),
        ("field", answer.field.as_str().into()),
        ("reason", answer.reason.into()),
        ("passes", Json::Bool(answer.passes)),
    ]);
    object.indented("  ") + "\n"
}

fn text(found: &Explanation) -> String {
    let mut text = String::new();
    let recorded = found.last_error.as_deref().and_then(message_of);
    // Writing to a string cannot fail.
    if let Some(message) = recorded {
        let _ = writeln!(text, "recorded: {message}");
    }
    for cause in &found.causes {
        let errno =
            if cause.errno.is_empty() { String::new() } else { format!(" ({})", cause.errno) };
        let _ = writeln!(text, "{}: {}{errno}", place(cause), cause.what);
        if !cause.hint.is_empty() {
            let _ = writeln!(text, "    hint: {}", cause.hint);
        }
    }
    if text.is_empty() {
        text.push_str("nothing was found that keeps it from running\n");
    }
    text
}

fn place(cause: &Cause) -> &str {
    if cause.field.is_empty() { cause.kind } else { &cause.field }
}

fn message_of(record: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    Some(record["msg"].as_str()?.to_owned())
}

fn document(found: &Explanation) -> String {
    let object = |cause: &Cause| {
        Json::present([
            ("kind", Some(cause.kind.into())),
            ("field", Some(cause.field.as_str().into())),
            ("errno", (!cause.errno.is_empty()).then(|| cause.errno.into())),
            ("cause", Some(cause.what.as_str().into())),
            ("hint", Some(cause.hint.as_str().into())),
        ])
    };
    let recorded = found.last_error.as_deref().and_then(message_of);
    let document = Json::present([
        ("causes", Some(Json::List(found.causes.iter().map(object).collect()))),
        ("recorded", recorded.map(|message| message.as_str().into())),
    ]);
    document.indented("  ") + "\n"
}
