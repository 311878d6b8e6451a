//! The help texts, printed from the table of flags.

use std::fmt::Write as _;

use super::flags::{Flag, GLOBAL, HELP, Kind, VERBS, Verb};
use super::program::Name;

/// The width that prose is broken at.
const WIDTH: usize = 79;
/// What everything below a heading is indented by.
const INDENT: &str = "   ";

/// The help of the whole program.
#[must_use]
pub(super) fn program(name: Name) -> String {
    let name = name.as_str();
    let mut text = format!(
        "NAME:\n{INDENT}{name} - Open Container Initiative runtime\n\nUSAGE:\n{INDENT}{name} [global \
         options] COMMAND [command options] [ARGUMENT...]\n\nDESCRIPTION:\n"
    );
    wrap(
        &mut text,
        "A bundle is a directory with a config.json, as the runtime specification of the Open \
         Container Initiative describes it, and a root filesystem. From it a container is created, \
         started, observed and deleted, each by a command of its own; run does all in one.",
    );
    text.push_str("\nCOMMANDS:\n");
    let commands = VERBS.iter().map(|verb| (verb.name.to_owned(), verb.summary.to_owned()));
    let help = ("help, h".to_owned(), "print this help, or that of a command".to_owned());
    columns(&mut text, commands.chain([help]));
    text.push_str("\nGLOBAL OPTIONS:\n");
    columns(&mut text, GLOBAL.iter().chain([&HELP]).filter(|flag| !flag.hidden).map(described));
    text
}

/// The help of one command.
#[must_use]
pub(super) fn command(name: Name, verb: &Verb) -> String {
    let name = name.as_str();
    let mut text = format!(
        "NAME:\n{INDENT}{name} {} - {}\n\nUSAGE:\n{INDENT}{name} {} [command options] {}\n",
        verb.name, verb.summary, verb.name, verb.arguments
    );
    if !verb.description.is_empty() {
        text.push_str("\nDESCRIPTION:\n");
        wrap(&mut text, verb.description);
    }
    text.push_str("\nOPTIONS:\n");
    columns(&mut text, verb.flags().chain([&HELP]).filter(|flag| !flag.hidden).map(described));
    text
}

/// A flag with its names, and its help with its default.
fn described(flag: &Flag) -> (String, String) {
    let word = match flag.kind {
        Kind::Switch => String::new(),
        Kind::Number => " N".to_owned(),
        Kind::Text(word) | Kind::List(word) => format!(" {word}"),
    };
    let mut names = format!("--{}{word}", flag.name);
    if let Some(alias) = flag.alias {
        let _ = write!(names, ", -{alias}{word}");
    }
    let mut help = flag.help.to_owned();
    if !flag.default.is_empty() {
        let _ = write!(help, " (default: {})", flag.default);
    }
    (names, help)
}

/// Two columns, the second aligned.
fn columns(text: &mut String, rows: impl Iterator<Item = (String, String)>) {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    for (left, right) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{INDENT}{left:width$}  {right}");
    }
}

/// Prose, broken between words.
fn wrap(text: &mut String, prose: &str) {
    let mut column = 0;
    for word in prose.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            text.push_str(INDENT);
            column = INDENT.len();
        } else if column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(INDENT);
            column = INDENT.len();
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_flag_that_is_not_hidden() {
        for verb in &VERBS {
            let text = command(Name::Keel, verb);
            for flag in verb.flags() {
                let shown = text.contains(&format!("   --{}", flag.name));
                assert_eq!(shown, !flag.hidden, "{} --{}", verb.name, flag.name);
            }
            assert!(
                text.lines().all(|line| line.trim_end() == line
                    || line.contains("USAGE")
                    || line.starts_with("   keel")),
                "{text}"
            );
        }
    }

    #[test]
    fn lists_the_commands_with_the_name_of_the_program() {
        let text = program(Name::Runc);
        assert!(text.starts_with("NAME:\n   runc - "), "{text}");
        for verb in &VERBS {
            assert!(text.contains(&format!("\n   {} ", verb.name)), "{}", verb.name);
        }
        assert!(!text.contains("--criu"));
    }

    #[test]
    fn breaks_prose_between_words() {
        let mut text = String::new();
        wrap(&mut text, &"word ".repeat(40));
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.starts_with("   word")));
        assert_eq!(text.split_whitespace().count(), 40);
    }
}
