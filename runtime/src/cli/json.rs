//! JSON with its members in the order they are written, and escaped as Go's encoder does: what other
//! programs compare byte by byte with the output of runc.

use std::borrow::Cow;

use crate::json::write_text;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(i64),
    Unsigned(u64),
    /// Hundredths, as the kernel prints averages.
    Hundredths(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(Cow<'static, str>, Json)>),
}

impl Json {
    /// An object of known members.
    pub(super) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// An object of the members that are there.
    pub(super) fn present<const N: usize>(members: [(&'static str, Option<Json>); N]) -> Self {
        let there = |(key, value): (&'static str, Option<Json>)| Some((key.into(), value?));
        Self::Object(members.into_iter().filter_map(there).collect())
    }

    /// A list of strings.
    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }

    /// The text on one line, without spaces.
    pub(super) fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// The text with one member per line, each level indented by `indent`, without a last newline.
    pub(super) fn indented(&self, indent: &str) -> String {
        let mut out = String::new();
        self.write(&mut out, Some((indent, 1)));
        out
    }

    /// `layout` is the indent and the depth of this value's members.
    fn write(&self, out: &mut String, layout: Option<(&str, usize)>) {
        let deeper = layout.map(|(indent, depth)| (indent, depth + 1));
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Unsigned(number) => out.push_str(&number.to_string()),
            Self::Hundredths(number) => write_hundredths(out, *number),
            Self::Text(text) => write_text(out, text),
            Self::List(items) => write_all(out, layout, ('[', ']'), items, |out, item| {
                item.write(out, deeper);
            }),
            Self::Object(members) => {
                write_all(out, layout, ('{', '}'), members, |out, (key, value)| {
                    write_text(out, key);
                    out.push_str(if layout.is_some() { ": " } else { ":" });
                    value.write(out, deeper);
                });
            }
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

fn write_all<T>(
    out: &mut String,
    layout: Option<(&str, usize)>,
    (open, close): (char, char),
    items: &[T],
    mut each: impl FnMut(&mut String, &T),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        if let Some((indent, depth)) = layout {
            new_line(out, indent, depth);
        }
        each(out, item);
    }
    if let Some((indent, depth)) = layout.filter(|_| !items.is_empty()) {
        new_line(out, indent, depth - 1);
    }
    out.push(close);
}

fn new_line(out: &mut String, indent: &str, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(indent, depth));
}

/// Without zeros at the end, as Go writes a number with a fraction.
fn write_hundredths(out: &mut String, number: u64) {
    out.push_str(&(number / 100).to_string());
    match (number % 100 / 10, number % 10) {
        (0, 0) => {}
        (tenths, 0) => out.push_str(&format!(".{tenths}")),
        (tenths, hundredths) => out.push_str(&format!(".{tenths}{hundredths}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Json {
        Json::object([
            ("z", Json::Number(-1)),
            ("a", Json::texts(["x", "y"])),
            ("empty", Json::List(Vec::new())),
            ("none", Json::Object(Vec::new())),
            ("n", Json::List(vec![Json::Bool(false), Json::Bool(true)])),
        ])
    }

    #[test]
    fn keeps_the_order_of_members() {
        let expected = r#"{"z":-1,"a":["x","y"],"empty":[],"none":{},"n":[false,true]}"#;
        assert_eq!(sample().compact(), expected);
    }

    #[test]
    fn writes_numbers_as_go_does() {
        let all = [0, 5, 40, 100, 1230, 9856].map(Json::Hundredths);
        let all = all.into_iter().chain([Json::Unsigned(u64::MAX), Json::Null]).collect();
        let expected = "[0,0.05,0.4,1,12.3,98.56,18446744073709551615,null]";
        assert_eq!(Json::List(all).compact(), expected);
    }

    #[test]
    fn indents_as_go_does() {
        let expected = "{\n  \"z\": -1,\n  \"a\": [\n    \"x\",\n    \"y\"\n  ],\n  \"empty\": [],\n  \
                        \"none\": {},\n  \"n\": [\n    false,\n    true\n  ]\n}";
        assert_eq!(sample().indented("  "), expected);
    }

    #[test]
    fn escapes_and_is_read_back() {
        let text = "q\" b\\ n\n t\t c\u{1}\u{7f} <&> \u{2028} ü 容";
        let written = Json::from(text).compact();
        let expected =
            "\"q\\\" b\\\\ n\\n t\\t c\\u0001\u{7f} \\u003c\\u0026\\u003e \\u2028 ü 容\"";
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
