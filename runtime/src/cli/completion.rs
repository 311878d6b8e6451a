//! `completion`: scripts with which shells complete command lines, printed from the table of flags, so
//! that they know what this program knows.

mod bash;
mod fish;
mod zsh;

use super::error::CommandError;
use super::flags::{Flag, HELP, Kind, VERBS, Verb};

/// The shells that there are scripts for.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// The signals that are offered to `kill`; it takes all others too.
const SIGNALS: &str = "TERM KILL INT HUP QUIT USR1 USR2 STOP CONT";

/// The script for a shell.
///
/// # Errors
/// There is none for this shell.
pub(super) fn script(shell: &str) -> Result<String, CommandError> {
    match shell {
        "bash" => Ok(bash::script()),
        "zsh" => Ok(zsh::script()),
        "fish" => Ok(fish::script()),
        other => {
            let known = SHELLS.join(", ");
            Err(CommandError::new(format!("completion {other}: not supported (known: {known})")))
        }
    }
}

/// What may stand in a place of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Nothing follows: a switch.
    None,
    /// Text of which nothing is known.
    Text,
    /// A file of the host.
    Files,
    /// A directory of the host.
    Directories,
    /// One of these words.
    Words(&'static [&'static str]),
}

fn values(flag: &Flag) -> Values {
    match flag.kind {
        Kind::Switch => Values::None,
        Kind::Text(_) | Kind::List(_) if !flag.choices.is_empty() => Values::Words(flag.choices),
        // A directory of the container's, of which the host knows nothing.
        Kind::Text("DIR") if flag.name == "cwd" => Values::Text,
        Kind::Text("DIR") => Values::Directories,
        Kind::Text("FILE" | "SOCKET" | "PATH") => Values::Files,
        _ => Values::Text,
    }
}

/// The flags of a command that are shown, and `--help`.
fn shown(verb: &'static Verb) -> impl Iterator<Item = &'static Flag> {
    verb.flags().chain([&HELP]).filter(|flag| !flag.hidden)
}

/// What stands as the first argument of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    /// The id of a container that is there.
    Container,
    Shell,
}

fn first_argument(verb: &Verb) -> First {
    match verb.name {
        // Ids of containers that are not there yet.
        "create" | "run" | "restore" | "plan" => First::Nothing,
        "completion" => First::Shell,
        _ if verb.arguments.contains("CONTAINER-ID") => First::Container,
        _ => First::Nothing,
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|verb| verb.name).chain(["help"])
}

/// `--bundle`, and `-b` where there is one.
fn spellings(flag: &Flag) -> impl Iterator<Item = String> {
    let alias = flag.alias.map(|alias| format!("-{alias}"));
    [format!("--{}", flag.name)].into_iter().chain(alias)
}
