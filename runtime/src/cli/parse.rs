//! Splits a command line into flags and arguments by the table, with the rules of Go's `flag` package
//! that runc's callers rely on: one dash or two, `=` or a further argument, `--` ends the flags.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::flags::{Flag, HELP, Kind, Order};
use super::quote::quoted;

/// What was given, in the order of the command line.
#[derive(Debug, Default)]
pub(super) struct Matches {
    given: Vec<(&'static Flag, Value)>,
    /// What is no flag.
    pub(super) arguments: Vec<OsString>,
}

#[derive(Debug)]
enum Value {
    Switch(bool),
    Text(OsString),
    Number(u32),
}

impl Matches {
    /// The last value of a switch; `None` where it was not given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.values(name).find_map(|value| match value {
            Value::Switch(on) => Some(*on),
            _ => None,
        })
    }

    /// The last value of a number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.values(name).find_map(|value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
    }

    /// The last value of a text.
    pub(super) fn text(&self, name: &str) -> Option<&OsStr> {
        self.values(name).find_map(as_text)
    }

    /// All values of a list, first to last.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        self.values(name).rev().filter_map(as_text)
    }

    /// The values of one flag, last to first.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.given.iter().rev().filter(move |(flag, _)| flag.name == name).map(|(_, value)| value)
    }
}

fn as_text(value: &Value) -> Option<&OsStr> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// Reads `arguments` by a table of flags.
///
/// # Errors
/// A flag is unknown, its value is missing or malformed; the message is runc's.
pub(super) fn parse(
    flags: &(impl Iterator<Item = &'static Flag> + Clone),
    order: Order,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Matches, String> {
    let mut matches = Matches::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let Some(name_and_value) = dashed(&argument) else {
            matches.arguments.push(argument);
            match order {
                Order::Mixed => continue,
                Order::FlagsFirst => break,
            }
        };
        if name_and_value.is_empty() {
            break;
        }
        let (name, value) = split_at_equals(name_and_value);
        if name.is_empty() || name.starts_with(b"-") {
            return Err(format!("bad flag syntax: {}", argument.to_string_lossy()));
        }
        let flag = find(flags.clone(), name)
            .ok_or_else(|| format!("flag provided but not defined: -{}", shown(name)))?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value.to_owned(),
            (None, Kind::Switch) => OsString::from("true"),
            (None, _) => {
                rest.next().ok_or_else(|| format!("flag needs an argument: -{}", shown(name)))?
            }
        };
        matches.given.push((flag, convert(flag.kind, value, name)?));
    }
    matches.arguments.extend(rest);
    Ok(matches)
}

/// What follows the dashes; `None` for an argument, to which a lone dash belongs. Empty for `--`.
fn dashed(argument: &OsStr) -> Option<&[u8]> {
    let rest = argument.as_bytes().strip_prefix(b"-").filter(|rest| !rest.is_empty())?;
    Some(rest.strip_prefix(b"-").unwrap_or(rest))
}

fn split_at_equals(text: &[u8]) -> (&[u8], Option<&OsStr>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(OsStr::from_bytes(&text[at + 1..]))),
        None => (text, None),
    }
}

fn find(mut flags: impl Iterator<Item = &'static Flag>, name: &[u8]) -> Option<&'static Flag> {
    let is_named = |flag: &Flag| {
        let alias = |c: char| name == c.encode_utf8(&mut [0; 4]).as_bytes();
        flag.name.as_bytes() == name || flag.alias.is_some_and(alias)
    };
    if is_named(&HELP) { Some(&HELP) } else { flags.find(|flag| is_named(flag)) }
}

fn convert(kind: Kind, text: OsString, name: &[u8]) -> Result<Value, String> {
    let malformed = || quoted(&text.to_string_lossy());
    match kind {
        Kind::Switch => boolean(&text).map(Value::Switch).ok_or_else(|| {
            format!("invalid boolean value {} for -{}: parse error", malformed(), shown(name))
        }),
        Kind::Number => number(&text).map(Value::Number).ok_or_else(|| {
            format!("invalid value {} for flag -{}: parse error", malformed(), shown(name))
        }),
        Kind::Text(_) | Kind::List(_) => Ok(Value::Text(text)),
    }
}

/// A number of digits only.
fn number(text: &OsStr) -> Option<u32> {
    let digits = text.to_str()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// The spellings of Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &OsStr) -> Option<bool> {
    match text.to_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn shown(name: &[u8]) -> String {
    OsString::from_vec(name.to_vec()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::flags::VERBS;
    use super::*;

    fn check(verb: &str, line: &[&str]) -> Result<Matches, String> {
        let verb = VERBS.iter().find(|v| v.name == verb).unwrap();
        parse(&verb.flags(), verb.order, line.iter().map(OsString::from))
    }

    #[test]
    fn takes_one_dash_or_two_and_a_value_either_way() {
        for line in [
            ["--bundle", "/b", "c1"].as_slice(),
            &["-bundle", "/b", "c1"],
            &["--bundle=/b", "c1"],
            &["-bundle=/b", "c1"],
            &["-b", "/b", "c1"],
            &["--b", "/b", "c1"],
            &["c1", "-b=/b"],
            &["-b", "/other", "-b", "/b", "--", "c1"],
            &["-b", "/b", "--no-pivot=f", "c1"],
        ] {
            let matches = check("create", line).unwrap();
            assert_eq!(matches.text("bundle"), Some(OsStr::new("/b")), "{line:?}");
            assert_eq!(matches.arguments, ["c1"], "{line:?}");
            assert!(!matches.switch("no-pivot").unwrap_or(false), "{line:?}");
        }
    }

    #[test]
    fn reads_switches_in_every_spelling() {
        for (text, expected) in [
            ("--force", true),
            ("-f", true),
            ("-f=1", true),
            ("--force=T", true),
            ("--force=True", true),
            ("--force=0", false),
            ("-force=FALSE", false),
        ] {
            let matches = check("delete", &[text, "c1"]).unwrap();
            assert_eq!(matches.switch("force"), Some(expected), "{text}");
        }
        let last = check("delete", &["-f", "c1", "--force=false"]).unwrap();
        assert_eq!(last.switch("force"), Some(false));
    }

    #[test]
    fn leaves_what_follows_the_first_argument_of_exec_alone() {
        let line = ["-e", "A=1,2", "--env", "B=", "-t", "c1", "ls", "-t", "--", "--user=0"];
        let matches = check("exec", &line).unwrap();
        assert_eq!(matches.list("env").collect::<Vec<_>>(), ["A=1,2", "B="]);
        assert_eq!(matches.arguments, ["c1", "ls", "-t", "--", "--user=0"]);
        assert_eq!(check("kill", &["c1", "-9"]).unwrap().arguments, ["c1", "-9"]);
    }

    #[test]
    fn takes_everything_behind_two_dashes_and_a_lone_dash_as_arguments() {
        assert_eq!(check("state", &["--", "--x"]).unwrap().arguments, ["--x"]);
        assert_eq!(check("state", &["-"]).unwrap().arguments, ["-"]);
        let value = check("create", &["--bundle", "--", "c1"]).unwrap();
        assert_eq!(value.text("bundle"), Some(OsStr::new("--")));
    }

    #[test]
    fn keeps_bytes_that_are_not_unicode() {
        let odd = OsString::from_vec(b"--bundle=/\xff".to_vec());
        let verb = VERBS.iter().find(|verb| verb.name == "create").unwrap();
        let matches = parse(&verb.flags(), verb.order, [odd]).unwrap();
        assert_eq!(matches.text("bundle").unwrap().as_bytes(), b"/\xff");
    }

    #[test]
    fn refuses_with_the_words_of_runc() {
        for (line, message) in [
            (["--bogus", "c1"].as_slice(), "flag provided but not defined: -bogus"),
            (&["-x"], "flag provided but not defined: -x"),
            (&["--bogus=1"], "flag provided but not defined: -bogus"),
            (&["c1", "--bundle"], "flag needs an argument: -bundle"),
            (&["-b"], "flag needs an argument: -b"),
            (&["-="], "bad flag syntax: -="),
            (&["---b"], "bad flag syntax: ---b"),
            (&["--preserve-fds", "x"], "invalid value \"x\" for flag -preserve-fds: parse error"),
            (&["--preserve-fds=-1"], "invalid value \"-1\" for flag -preserve-fds: parse error"),
            (&["--preserve-fds="], "invalid value \"\" for flag -preserve-fds: parse error"),
            (&["--no-pivot=yes"], "invalid boolean value \"yes\" for -no-pivot: parse error"),
        ] {
            assert_eq!(check("create", line).unwrap_err(), message);
        }
    }
}
