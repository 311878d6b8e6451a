//! The lines of the log in the three forms that callers know from runc: `level=error msg="…"`, short
//! lines on a terminal, and JSON.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::Details;
use super::json::Json;
use super::quote::quoted;
use crate::timestamp::rfc3339;
use crate::trace::Place;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
    Debug,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Terminal,
    Json,
}

/// One line of the log before it has a form.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) message: &'a str,
    pub(super) details: &'a Details,
    pub(super) time: SystemTime,
    /// Since the program started.
    pub(super) elapsed: Duration,
    /// Where it comes from, which only `--debug` asks for.
    pub(super) place: Option<Place>,
}

/// Opens a log file. Every line is on the disk before the next step is taken, since whoever drives a
/// runtime may end it at any moment and then reads the log.
///
/// # Errors
/// The file cannot be opened or created.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // Rust opens every file with O_CLOEXEC.
    OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(libc::O_SYNC).open(path)
}

impl Line<'_> {
    /// The line with its newline.
    pub(super) fn render(&self, form: Form) -> String {
        match form {
            Form::Text => self.text(),
            Form::Terminal => self.terminal(),
            Form::Json => self.json(),
        }
    }

    fn text(&self) -> String {
        let (time, level) = (rfc3339(self.time), self.level.name());
        let message = value(self.message);
        let hint = self.details.hint.as_deref();
        let hint = hint.map(|hint| format!(" hint={}", value(hint))).unwrap_or_default();
        let place = self.place.map(|at| format!(" func=\"{}()\" file=\"{at}\"", at.function));
        let place = place.unwrap_or_default();
        format!("time=\"{time}\" level={level} msg={message}{hint}{place}\n")
    }

    fn terminal(&self) -> String {
        let (label, colour) = match self.level {
            Level::Error => ("ERRO", 31),
            Level::Warning => ("WARN", 33),
            Level::Debug => ("DEBU", 37),
        };
        let message = harmless(self.message.trim_end_matches('\n'));
        let hint = self.details.hint.as_deref();
        let hint = hint.map(|hint| format!("hint: {}\n", harmless(hint))).unwrap_or_default();
        let seconds = self.elapsed.as_secs();
        let place = self.place.map(|at| format!("{at} {}()", at.function)).unwrap_or_default();
        // What follows a message stands in a column of its own, so that runc fills up short ones.
        format!("\x1b[{colour}m{label}\x1b[0m[{seconds:04}]{place} {message:<44} \n{hint}")
    }

    fn json(&self) -> String {
        let detail = |text: &Option<String>| text.as_deref().map(Json::from);
        let line = Json::present([
            ("level", Some(self.level.name().into())),
            ("msg", Some(self.message.into())),
            ("time", Some(rfc3339(self.time).as_str().into())),
            ("code", detail(&self.details.code)),
            ("field", detail(&self.details.field)),
            ("syscall", detail(&self.details.syscall)),
            ("errno", detail(&self.details.errno)),
            ("hint", detail(&self.details.hint)),
            ("func", self.place.map(|at| at.function.into())),
            ("file", self.place.map(|at| at.to_string().as_str().into())),
        ]);
        line.compact() + "\n"
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }
}

/// A value of `key=value`: bare where it is a single plain word, otherwise quoted.
fn value(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(plain) { text.into() } else { quoted(text).into() }
}

/// The text with control characters escaped: a message may repeat what an image's author chose, and
/// must not reach the operator's terminal as a command to it.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(harmful) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, message: &str, details: &Details, expected: &str) {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_363_254, 5);
        let elapsed = Duration::from_millis(1999);
        let line = Line { level: Level::Error, message, details, time, elapsed, place: None };
        assert_eq!(line.render(form), expected);
    }

    #[test]
    fn tells_its_place_when_asked() {
        let (time, elapsed) = (SystemTime::UNIX_EPOCH, Duration::ZERO);
        let place = Some(Place { function: "keel::a", file: "src/a.rs", line: 7 });
        let details = &Details::default();
        let line = Line { level: Level::Debug, message: "m", details, time, elapsed, place };
        let text = line.render(Form::Text);
        assert!(text.ends_with("msg=m func=\"keel::a()\" file=\"src/a.rs:7\"\n"), "{text}");
        assert!(line.render(Form::Terminal).trim_end().ends_with("[0000]src/a.rs:7 keel::a() m"));
        let json = line.render(Form::Json);
        assert!(json.ends_with("\"func\":\"keel::a\",\"file\":\"src/a.rs:7\"}\n"), "{json}");
    }

    fn details() -> Details {
        Details {
            code: Some("permission".into()),
            field: Some("mounts[3]".into()),
            syscall: Some("fsmount".into()),
            errno: Some("EPERM".into()),
            hint: Some("try <this>".into()),
        }
    }

    #[test]
    fn quotes_text_values_that_are_no_plain_word() {
        let none = Details::default();
        for (message, value) in [
            ("done", "done"),
            ("a/b.c-d_e@f^g+h", "a/b.c-d_e@f^g+h"),
            ("", ""),
            ("two words", "\"two words\""),
            ("k=v", "\"k=v\""),
            ("keel: \"create\" requires", "\"keel: \\\"create\\\" requires\""),
            ("line\n", "\"line\\n\""),
            ("grün", "\"grün\""),
        ] {
            let expected = format!("time=\"2026-11-22T16:00:54Z\" level=error msg={value}\n");
            check(Form::Text, message, &none, &expected);
        }
    }

    #[test]
    fn keeps_only_the_hint_beside_the_message_for_people() {
        let line = "time=\"2026-11-22T16:00:54Z\" level=error msg=no hint=\"try <this>\"\n";
        check(Form::Text, "no", &details(), line);
        let message = "no                                          "; // 44 wide, as in runc.
        let lines = &format!("\x1b[31mERRO\x1b[0m[0001] {message} \nhint: try <this>\n");
        check(Form::Terminal, "no", &details(), lines);
    }

    #[test]
    fn sends_no_control_sequence_to_a_terminal() {
        let expected = format!("\x1b[31mERRO\x1b[0m[0001] {:<44} \n", "a\\u{1b}[2Jb");
        check(Form::Terminal, "a\x1b[2Jb\n", &Details::default(), &expected);
    }

    #[test]
    fn writes_json_with_the_keys_that_callers_decode() {
        let plain = r#"{"level":"error","msg":"a \"b\"","time":"2026-11-22T16:00:54Z"}"#;
        check(Form::Json, "a \"b\"", &Details::default(), &format!("{plain}\n"));
        let full = concat!(
            r#"{"level":"error","msg":"m","time":"2026-11-22T16:00:54Z","code":"permission","#,
            r#""field":"mounts[3]","syscall":"fsmount","errno":"EPERM","#,
            r#""hint":"try \u003cthis\u003e"}"#,
            "\n"
        );
        check(Form::Json, "m", &details(), full);
    }

    #[test]
    fn appends_to_a_log_that_is_private_to_its_writer() {
        let path = std::env::temp_dir().join(format!("keel-log-{}", std::process::id()));
        for text in ["one\n", "two\n"] {
            io::Write::write_all(&mut open(&path).unwrap(), text.as_bytes()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(written, "one\ntwo\n");
    }
}
