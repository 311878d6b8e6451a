//! What `ps` prints: pids, or the lines that the host's ps has for them.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};

use super::command::{Global, PsFormat};
use super::create::{explain, id};
use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use crate::lifecycle::ps::processes;

pub(super) fn run(
    name: &str,
    format: PsFormat,
    args: &[OsString],
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let pids = processes(&global.root, &id(name)?).map_err(|error| explain(&error))?;
    let text = match format {
        PsFormat::Json => json(&pids),
        PsFormat::Table => select(&host_ps(args)?, &pids)?,
    };
    output.print(&text).map(|()| 0)
}

/// What callers decode: `null` where there is no process, as for runc.
fn json(pids: &[i32]) -> String {
    let text = match pids {
        [] => Json::Null,
        _ => Json::List(pids.iter().map(|pid| Json::Number((*pid).into())).collect()),
    };
    text.compact() + "\n"
}

/// The whole table of the host. The user who asked waits for it, as for any ps.
fn host_ps(args: &[OsString]) -> Result<String, CommandError> {
    let default = [OsString::from("-ef")];
    let args = if args.is_empty() { &default } else { args };
    let ran = Command::new(OsStr::new("ps")).args(args).stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| {
        CommandError::new(match error.kind() {
            std::io::ErrorKind::NotFound => {
                "exec: \"ps\": executable file not found in $PATH".to_owned()
            }
            _ => format!("ps: {}", crate::causes::io_text(&error)),
        })
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() {
        return Ok(text(&ran.stdout));
    }
    let (said, status) = (text(&ran.stdout) + &text(&ran.stderr), ran.status.code());
    let status = status.map_or("a signal".to_owned(), |code| format!("exit status {code}"));
    Err(CommandError::new(format!("{status}: {said}")))
}

/// The heading, and the lines whose process is one of `pids`.
fn select(table: &str, pids: &[i32]) -> Result<String, CommandError> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| CommandError::new("couldn't find PID field in ps output"))?;
    let mut text = format!("{heading}\n");
    for line in lines {
        let Some(field) = line.split_whitespace().nth(column) else { continue };
        let pid: i32 = field.parse().map_err(|_| {
            CommandError::new(format!("unable to parse pid: {field:?} is no number"))
        })?;
        if pids.contains(&pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_by_the_column_of_the_heading() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init 7\nroot    7     1 sh\n\n";
        assert_eq!(select(table, &[7]).unwrap(), "UID   PID  PPID CMD\nroot    7     1 sh\n");
        assert_eq!(select("  PID\n    7\n", &[]).unwrap(), "  PID\n");
        let missing = select("COMMAND\nsh\n", &[7]).unwrap_err();
        assert_eq!(missing.message, "couldn't find PID field in ps output");
        assert!(select("CMD PID\ntwo words\n", &[7]).is_err());
        assert!(select("", &[]).is_err());
    }

    #[test]
    fn writes_an_array_or_null() {
        assert_eq!(json(&[3, 5]), "[3,5]\n");
        assert_eq!(json(&[]), "null\n");
    }
}
