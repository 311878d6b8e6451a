//! The manual pages, held in step with the table of flags. Names, synopses, lists of commands and the head of
//! each flag come from the table; descriptions, examples and what is said about a flag are written by hand and
//! kept. A flag or command that is new begins with the table's words.
//!
//! `KEEL_WRITE_MANUAL=1 cargo test -p keel --lib manual` writes the pages anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::flags::{Flag, GLOBAL, HELP, Kind, VERBS, Verb};
use crate::lifecycle::report::CODES;

const COMMENT: &str = ".\\\" Written for man(7). Heads come from the table in runtime/src/cli/flags.rs; a test says how.\n";
const WIDTH: usize = 90;

/// A page that was there, taken apart.
#[derive(Default)]
struct Page {
    title: Option<String>,
    /// Headings with what stands below each, in order.
    sections: Vec<(String, String)>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix(".SH ") {
                page.sections.push((heading.to_owned(), String::new()));
            } else if let Some((_, body)) = page.sections.last_mut() {
                body.push_str(line);
                body.push('\n');
            } else if line.starts_with(".TH ") {
                page.title = Some(line.to_owned());
            }
        }
        page
    }

    fn section(&self, heading: &str) -> Option<&str> {
        let found = self.sections.iter().find(|(name, _)| name == heading);
        found.map(|(_, body)| body.as_str()).filter(|body| !body.is_empty())
    }

    /// What is said about each flag, by its name.
    fn prose(&self) -> BTreeMap<String, String> {
        let paragraphs = self.section("OPTIONS").unwrap_or_default().split(".TP\n").skip(1);
        let named = paragraphs.filter_map(|paragraph| {
            let (head, prose) = paragraph.split_once('\n')?;
            let name = head.strip_prefix("\\fB\\-\\-")?.split("\\fR").next()?;
            Some((name.replace('\\', ""), prose.to_owned()))
        });
        named.collect()
    }
}

fn command_page(verb: &Verb, old: &Page) -> String {
    let name = escaped(&format!("keel-{}", verb.name));
    let synopsis = verb.arguments.split(" | ").map(|arguments| {
        let command = escaped(verb.name);
        let line =
            format!("\\fBkeel\\fR [\\fIglobal options\\fR] \\fB{command}\\fR [\\fIoptions\\fR]");
        if arguments.is_empty() { line } else { format!("{line} {}", escaped(arguments)) }
    });
    let generated = [
        ("NAME", format!("{name} \\- {}\n", escaped(verb.summary))),
        ("SYNOPSIS", synopsis.collect::<Vec<_>>().join("\n.br\n") + "\n"),
        ("DESCRIPTION", description(verb, old)),
        ("OPTIONS", options(verb.flags(), old)),
    ];
    let see_also = ("SEE ALSO", ".BR keel (8)\n".to_owned());
    page(&name, old, &generated, &see_also)
}

fn program_page(old: &Page) -> String {
    let mut commands = String::new();
    for verb in &VERBS {
        let name = escaped(verb.name);
        // Writing to a string cannot fail.
        let _ = writeln!(
            commands,
            ".TP\n\\fB{name}\\fR\n{} See \\fBkeel\\-{name}\\fR(8).",
            sentence(verb.summary)
        );
    }
    commands.push_str(".TP\n\\fBhelp\\fR [COMMAND], \\fBh\\fR\nPrint a help text.\n");
    let pages = VERBS.iter().map(|verb| format!(".BR keel\\-{} (8)", escaped(verb.name)));
    let kept = |heading| old.section(heading).unwrap_or_default().to_owned();
    let generated = [
        ("NAME", kept("NAME")),
        ("SYNOPSIS", kept("SYNOPSIS")),
        ("DESCRIPTION", kept("DESCRIPTION")),
        ("COMMANDS", commands),
        ("OPTIONS", options(GLOBAL.iter(), old)),
        ("ERROR CODES", error_codes()),
        ("SEE ALSO", pages.collect::<Vec<_>>().join(",\n") + "\n"),
    ];
    page("keel", old, &generated, &("SEE ALSO", String::new()))
}

fn error_codes() -> String {
    let mut text = wrapped(
        "The member \\fIcode\\fR of a JSON log line is one of these words, which keep their meaning.",
    );
    for (code, meaning) in CODES {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", escaped(code), sentence(meaning));
    }
    text
}

/// The sections that come from the table, then those of the old page that do not, `last` at the end.
fn page(name: &str, old: &Page, generated: &[(&str, String)], last: &(&str, String)) -> String {
    let title = old.title.clone().unwrap_or_else(|| {
        format!(".TH {} 8 2026-11-22 \"keel 0.1.0\" \"System Administration\"", name.to_uppercase())
    });
    let mut text = format!("{COMMENT}{title}\n");
    let mut add = |heading: &str, body: &str| {
        if !body.is_empty() {
            let _ = write!(text, ".SH {heading}\n{body}");
        }
    };
    for (heading, body) in generated.iter().filter(|(heading, _)| *heading != last.0) {
        add(heading, body);
    }
    let is_new = |heading: &String| {
        *heading != last.0 && generated.iter().all(|(generated, _)| heading != generated)
    };
    for (heading, body) in old.sections.iter().filter(|(heading, _)| is_new(heading)) {
        add(heading, body);
    }
    let made = generated.iter().find(|(heading, _)| *heading == last.0).map(|(_, body)| &**body);
    add(last.0, made.or(old.section(last.0)).unwrap_or(&last.1));
    text
}

fn description(verb: &Verb, old: &Page) -> String {
    let from_table = || {
        let text = if verb.description.is_empty() { verb.summary } else { verb.description };
        wrapped(&sentence(text))
    };
    old.section("DESCRIPTION").map_or_else(from_table, str::to_owned)
}

fn options<'a>(flags: impl Iterator<Item = &'a Flag>, old: &Page) -> String {
    let prose = old.prose();
    let mut text = String::new();
    for flag in flags.chain([&HELP]) {
        let word = match flag.kind {
            Kind::Switch => String::new(),
            Kind::Number => " \\fIN\\fR".to_owned(),
            Kind::Text(word) | Kind::List(word) => format!(" \\fI{}\\fR", escaped(word)),
        };
        let _ = write!(text, ".TP\n\\fB\\-\\-{}\\fR{word}", escaped(flag.name));
        if let Some(alias) = flag.alias {
            let _ = write!(text, ", \\fB\\-{alias}\\fR{word}");
        }
        text.push('\n');
        match prose.get(flag.name) {
            Some(prose) => text.push_str(prose),
            None => text.push_str(&from_table(flag)),
        }
    }
    text
}

fn from_table(flag: &Flag) -> String {
    let mut help = sentence(flag.help);
    if !flag.default.is_empty() {
        let _ = write!(help, " {} by default.", flag.default);
    }
    wrapped(&help)
}

/// The table's words as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with('.') { "" } else { "." };
    escaped(&format!("{first}{}{stop}", letters.as_str()))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        if column == 0 && word.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(word);
        column += word.len();
    }
    out + "\n"
}

fn check(page: &str, generate: impl Fn(&Page) -> String, wrong: &mut Vec<String>) {
    let path = format!("{}/../man/{page}.8", env!("CARGO_MANIFEST_DIR"));
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = generate(&Page::read(&present));
    let again = generate(&Page::read(&expected));
    assert_eq!(expected, again, "{page}: what is generated must be stable");
    if present == expected {
        return;
    }
    if std::env::var_os("KEEL_WRITE_MANUAL").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        wrong.push(page.to_owned());
    }
}

#[test]
fn every_page_is_in_step_with_the_table() {
    let mut wrong = Vec::new();
    check("keel", program_page, &mut wrong);
    for verb in &VERBS {
        check(&format!("keel-{}", verb.name), |old| command_page(verb, old), &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{wrong:?}: run KEEL_WRITE_MANUAL=1 cargo test -p keel --lib manual, then read the pages"
    );
}

#[test]
fn every_page_has_its_command() {
    let folder = format!("{}/../man", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(verb) = name.strip_prefix("keel-").and_then(|name| name.strip_suffix(".8")) else {
            continue;
        };
        assert!(VERBS.iter().any(|known| known.name == verb), "{name} is the page of no command");
    }
}

#[test]
fn keeps_what_was_written_by_hand() {
    let verb = VERBS.iter().find(|verb| verb.name == "delete").unwrap();
    let fresh = command_page(verb, &Page::default());
    assert!(fresh.contains(".SH NAME\nkeel\\-delete \\- remove"), "{fresh}");
    assert!(fresh.contains("\\fB\\-\\-force\\fR, \\fB\\-f\\fR\nKill it first"), "{fresh}");
    let edited = fresh.replace("Kill it first", "First, kill it") + ".SH NOTES\nBy hand.\n";
    let again = command_page(verb, &Page::read(&edited));
    assert!(again.contains("First, kill it") && again.contains(".SH NOTES\nBy hand.\n"));
    assert!(again.find("NOTES") < again.find("SEE ALSO"), "{again}");
}
