//! What a key was made of, in a compact form that is kept beside the result, and the comparison of two of
//! them: which part made a step run.
//!
//! ```text
//! P name value   a part        F path kind mode uid gid sum   a file of the source before it
//! I name value   one of a list S path                         a source
//! ```

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::dockerfile::lint::speaks_of_a_secret;

/// A longer value is kept as its digest.
const VALUE_BYTES_MAX: usize = 2 << 10;
/// What is kept of one key; of a larger one the files are not told apart.
const BYTES_MAX: usize = 8 << 20;
/// The bytes of a file's attributes: kind, mode, owner, group, and the beginning of its digest.
pub(super) const FILE_BYTES: usize = 21;
/// How many files an explanation names.
const FILES_SHOWN: usize = 20;
/// The characters of a value that an explanation shows.
const SHOWN_CHARS: usize = 60;

/// The parts of a key, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyParts {
    bytes: Vec<u8>,
    is_full: bool,
}

/// One thing that a step's key is made of and that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What it is: `file`, `command`, `build argument`, `base image` …
    pub component: String,
    /// Which one, where there are several.
    pub name: String,
    /// What became of it.
    pub change: String,
}

impl Reason {
    pub(super) fn new(component: &str, name: &str, change: impl Into<String>) -> Self {
        Self { component: component.to_owned(), name: name.to_owned(), change: change.into() }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gap = if self.name.is_empty() { "" } else { " " };
        write!(f, "{}{gap}{}: {}", self.component, self.name, self.change)
    }
}

impl KeyParts {
    pub(super) fn part(&mut self, name: &str, value: &[u8]) {
        self.push(b'P', name, value);
    }

    pub(super) fn item(&mut self, name: &str, value: &[u8]) {
        self.push(b'I', name, value);
    }

    pub(super) fn source(&mut self, path: &[u8]) {
        self.push(b'S', "", path);
    }

    pub(super) fn file(&mut self, path: &[u8], attributes: [u8; FILE_BYTES]) {
        if self.bytes.len() + path.len() > BYTES_MAX {
            self.is_full = true;
            return;
        }
        self.bytes.push(b'F');
        self.text(path);
        self.bytes.extend(attributes);
    }

    fn push(&mut self, tag: u8, name: &str, value: &[u8]) {
        let short;
        let value = match secret(name, value) {
            Some(hidden) => {
                short = hidden;
                &short
            }
            None if value.len() > VALUE_BYTES_MAX => {
                short = digest(value).into_bytes();
                &short
            }
            None => value,
        };
        self.bytes.push(tag);
        self.text(name.as_bytes());
        self.text(value);
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        self.bytes.extend(text);
    }

    /// The form that is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.is_full { &[] } else { &self.bytes }
    }
}

/// A variable whose name speaks of a secret, without its value.
fn secret(name: &str, value: &[u8]) -> Option<Vec<u8>> {
    let at = value.iter().position(|byte| *byte == b'=').filter(|_| name == "env")?;
    let variable = std::str::from_utf8(&value[..at]).ok()?;
    let hidden = || format!("{variable}={HIDDEN}{}", digest(&value[at + 1..])).into_bytes();
    speaks_of_a_secret(variable).then(hidden)
}

/// What stands before the digest of a value that is not to be shown.
const HIDDEN: &str = "\u{1}";

fn digest(value: &[u8]) -> String {
    Sha256::digest(value).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The parts by their names, those of mounts apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    values: BTreeMap<String, Vec<String>>,
    files: BTreeMap<String, [u8; FILE_BYTES]>,
}

fn read(mut rest: &[u8]) -> Option<Read> {
    let mut found = Read::default();
    let (mut source, mut mount) = (String::new(), String::new());
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        let first = take_text(&mut rest)?;
        match tag {
            b'F' => {
                let (attributes, after) = rest.split_first_chunk::<FILE_BYTES>()?;
                rest = after;
                let gap = if source.is_empty() || first.is_empty() { "" } else { "/" };
                let path = format!("{mount}{source}{gap}{first}");
                found
                    .files
                    .insert(if path.is_empty() { ".".to_owned() } else { path }, *attributes);
            }
            b'S' => source = take_text(&mut rest)?,
            _ => {
                let value = take_text(&mut rest)?;
                if first == "mount" {
                    mount = format!("(mounted on {value}) ");
                }
                found.values.entry(first).or_default().push(value);
            }
        }
    }
    Some(found)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The part that names what a step starts from; the one who knows the steps compares it.
const LAYERS: &str = "layers";

/// The layers that a key starts from.
pub(super) fn layers(bytes: &[u8]) -> Vec<String> {
    read(bytes).and_then(|mut read| read.values.remove(LAYERS)).unwrap_or_default()
}

/// What differs between two keys, but for the layers that they start from. `arguments` are the names of
/// variables that are build arguments.
pub(super) fn differences(old: &[u8], new: &[u8], arguments: &BTreeSet<String>) -> Vec<Reason> {
    let (Some(old), Some(new)) = (read(old), read(new)) else {
        return vec![Reason::new("record", "", "what the step was made of cannot be read")];
    };
    let mut reasons = Vec::new();
    let names: BTreeSet<&String> = old.values.keys().chain(new.values.keys()).collect();
    let none = Vec::new();
    for name in names.into_iter().filter(|name| *name != LAYERS) {
        let before = old.values.get(name).unwrap_or(&none);
        let after = new.values.get(name).unwrap_or(&none);
        match name.as_str() {
            _ if before == after => {}
            "env" => variables(before, after, arguments, &mut reasons),
            // Where a step has become one of another kind its flags are no news.
            "keel-build-1" => reasons.push(Reason::new("instruction", "", turned(before, after))),
            _ => reasons.push(Reason::new(component(name), "", turned(before, after))),
        }
    }
    files(&old, &new, &mut reasons);
    reasons
}

/// The words for a part; one without is called by its own name.
fn component(name: &str) -> &str {
    match name {
        "epoch" => "SOURCE_DATE_EPOCH",
        "args" | "script" => "command",
        "cwd" => "working directory",
        "document" | "content" => "here-document",
        "rlimit" => "--ulimit",
        "hosts" => "--add-host",
        "chown" => "--chown",
        "chmod" => "--chmod",
        "exclude" => "--exclude",
        "checksum" => "--checksum",
        "link" => "--link",
        "security" => "--security",
        "sources" => "sources",
        "kept" | "parent" => "kept path",
        other => other,
    }
}

fn turned(before: &[String], after: &[String]) -> String {
    let is_text = |text: &String| text.chars().all(|c| !c.is_control() || c.is_whitespace());
    if !before.iter().chain(after).all(is_text) {
        return "changed".to_owned();
    }
    let (before, after) = (before.join(" "), after.join(" "));
    format!("{} -> {}", shown(&before, &after), shown(&after, &before))
}

/// A value, and of a long one the place where it is another than `other`.
fn shown(text: &str, other: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= SHOWN_CHARS {
        return format!("{text:?}");
    }
    let same = text.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let start = same.saturating_sub(SHOWN_CHARS / 3).min(chars.len() - SHOWN_CHARS);
    let part: String = chars[start..start + SHOWN_CHARS].iter().collect();
    let before = if start > 0 { "…" } else { "" };
    let after = if start + SHOWN_CHARS < chars.len() { "…" } else { "" };
    format!("{before}{part:?}{after}")
}

fn variables(
    before: &[String],
    after: &[String],
    arguments: &BTreeSet<String>,
    reasons: &mut Vec<Reason>,
) {
    let by_name = |entries: &[String]| -> BTreeMap<String, String> {
        let split = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        entries.iter().map(split).collect()
    };
    let (before_all, after_all) = (by_name(before), by_name(after));
    let names: BTreeSet<&String> = before_all.keys().chain(after_all.keys()).collect();
    let count = reasons.len();
    for name in names {
        let what = if arguments.contains(name) { "build argument" } else { "environment variable" };
        let change = match (before_all.get(name), after_all.get(name)) {
            (before, after) if before == after => continue,
            (None, _) => "added".to_owned(),
            (_, None) => "removed".to_owned(),
            (Some(before), Some(after))
                if before.starts_with(HIDDEN) || after.starts_with(HIDDEN) =>
            {
                "changed".to_owned()
            }
            (Some(before), Some(after)) => {
                format!("{} -> {}", shown(before, after), shown(after, before))
            }
        };
        reasons.push(Reason::new(what, name, change));
    }
    if reasons.len() == count {
        reasons.push(Reason::new("environment", "", "its order changed"));
    }
}

fn files(old: &Read, new: &Read, reasons: &mut Vec<Reason>) {
    let names: BTreeSet<&String> = old.files.keys().chain(new.files.keys()).collect();
    let mut left = 0;
    for name in names {
        let change = match (old.files.get(name), new.files.get(name)) {
            (before, after) if before == after => continue,
            (None, _) => "added".to_owned(),
            (_, None) => "removed".to_owned(),
            (Some(before), Some(after)) => changed(before, after),
        };
        if reasons.len() < FILES_SHOWN {
            reasons.push(Reason::new("file", name, change));
        } else {
            left += 1;
        }
    }
    if left > 0 {
        reasons.push(Reason::new("files", "", format!("{left} more")));
    }
}

/// The attributes of a file that are not as they were.
fn changed(before: &[u8; FILE_BYTES], after: &[u8; FILE_BYTES]) -> String {
    let number = |bytes: &[u8; FILE_BYTES], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let mut words = Vec::new();
    if before[0] != after[0] {
        words.push("another kind of file".to_owned());
    }
    let modes = (number(before, 1), number(after, 1));
    if modes.0 != modes.1 {
        words.push(format!("mode {:o} -> {:o}", modes.0 & 0o7777, modes.1 & 0o7777));
    }
    let owner = |bytes| format!("{}:{}", number(bytes, 5), number(bytes, 9));
    if owner(before) != owner(after) {
        words.push(format!("owner {} -> {}", owner(before), owner(after)));
    }
    if before[13..] != after[13..] {
        words.push("content".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FILE_BYTES, KeyParts, differences, layers};

    fn told(old: &KeyParts, new: &KeyParts) -> Vec<String> {
        let arguments = BTreeSet::from(["V".to_owned()]);
        differences(old.bytes(), new.bytes(), &arguments).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_what_changed() {
        let make = |command: &str, version: &str, path: &str, last: u8| {
            let mut parts = KeyParts::default();
            parts.item("layers", b"sha256:1");
            parts.item("args", command.as_bytes());
            parts.item("env", format!("V={version}").as_bytes());
            parts.item("env", format!("TOKEN={version}").as_bytes());
            parts.source(b"src");
            let mut attributes = [0; FILE_BYTES];
            attributes[FILE_BYTES - 1] = last;
            parts.file(path.as_bytes(), attributes);
            parts
        };
        let old = make("make", "1", "a", 0);
        assert_eq!(told(&old, &old), Vec::<String>::new());
        assert_eq!(layers(old.bytes()), ["sha256:1"]);
        assert_eq!(told(&old, &make("make x", "1", "a", 0)), ["command: \"make\" -> \"make x\""]);
        assert_eq!(told(&old, &make("make", "1", "a", 9)), ["file src/a: content"]);
        assert_eq!(
            told(&old, &make("make", "1", "b", 0)),
            ["file src/a: removed", "file src/b: added"]
        );
        assert_eq!(
            told(&old, &make("make", "2", "a", 0)),
            ["environment variable TOKEN: changed", "build argument V: \"1\" -> \"2\""]
        );
    }

    #[test]
    fn keeps_no_secret_and_is_bounded() {
        let mut parts = KeyParts::default();
        parts.item("env", b"API_TOKEN=hush");
        assert!(!String::from_utf8_lossy(parts.bytes()).contains("hush"));
        parts.part("script", &[b'x'; 1 << 20]);
        assert!(parts.bytes().len() < 1 << 10);
        for _ in 0..(1 << 19) {
            parts.file(b"path", [0; FILE_BYTES]);
        }
        assert!(parts.bytes().is_empty());
    }

    #[test]
    fn refuses_garbage() {
        for bytes in [&b"F"[..], b"P\xff\xff\xff\xff", b"F\0\0\0\0short"] {
            let reasons = differences(bytes, b"", &BTreeSet::new());
            assert_eq!(reasons[0].component, "record");
        }
    }
}
