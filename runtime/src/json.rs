//! Writing JSON member by member, straight into a text: no tree is made, and nothing is copied twice.

use std::fmt::{Display, Write as _};

/// An object that is being written, on one line.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

/// The text of an object with the members that `fill` writes.
#[must_use]
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    // Most of them are longer, and growing moves what is there.
    let mut out = String::with_capacity(4 << 10);
    write_object(&mut out, fill);
    out
}

fn write_object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, is_empty: true });
    out.push('}');
}

impl Object<'_> {
    fn name(&mut self, name: &str) -> &mut String {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        write_text(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A member that is a string.
    pub fn text(&mut self, name: &str, value: &str) {
        write_text(self.name(name), value);
    }

    /// A member that shows itself as JSON does: a number, `true`, or JSON that was written before.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.name(name), "{value}");
    }

    /// A member that is an object.
    pub fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        write_object(self.name(name), fill);
    }

    /// A member that is an object of strings.
    pub fn map(&mut self, name: &str, pairs: &[(String, String)]) {
        self.object(name, |members| {
            for (key, value) in pairs {
                members.text(key, value);
            }
        });
    }

    /// A member that is a list of strings.
    pub fn texts<T: AsRef<str>>(&mut self, name: &str, items: impl IntoIterator<Item = T>) {
        write_list(self.name(name), items, |out, item| write_text(out, item.as_ref()));
    }

    /// A member that is a list of objects, each of which `fill` writes.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        write_list(self.name(name), items, |out, item| {
            write_object(out, |members| fill(members, item));
        });
    }
}

fn write_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// Writes a string with its quotes, escaped as Go's encoder does.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(may_be_special) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        write_special(out, chars.next().unwrap_or_default());
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Whether a character that is escaped may begin with that byte. None begins within another.
fn may_be_special(byte: u8) -> bool {
    const LINE_SEPARATOR: u8 = "\u{2028}".as_bytes()[0];
    matches!(byte, b'"' | b'\\' | ..=0x1f | b'<' | b'>' | b'&' | LINE_SEPARATOR)
}

fn write_special(out: &mut String, special: char) {
    match special {
        '"' | '\\' => out.extend(['\\', special]),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Go escapes what a browser might take for markup or for the end of a script's line, too.
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(special));
        }
        other => out.push(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn is_read_back() {
        let odd = "a\"b\\c\n\r\t\u{1}\u{1f}<&>\u{2028}ä\u{10ffff}";
        let written = object(|all| {
            all.text(odd, odd);
            all.plain("n", -3);
            all.object("none", |_| ());
            all.map("map", &[("k".to_owned(), "v".to_owned()), ("l".to_owned(), String::new())]);
            all.texts("texts", ["x", odd]);
            all.objects("objects", [true, false], |one, value| one.plain("b", value));
            all.plain("raw", r#"{"is":null}"#);
        });
        let expected = serde_json::json!({
            odd: odd, "n": -3, "none": {}, "map": {"k": "v", "l": ""}, "texts": ["x", odd],
            "objects": [{"b": true}, {"b": false}], "raw": {"is": null},
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), expected);
    }
}
