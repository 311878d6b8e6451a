//! Text in double quotes as Go's `%q` writes it, which is the form callers know from runc's messages.

use std::fmt::Write as _;

/// The text in double quotes, with everything escaped that would not print.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            _ if prints(c) => out.push(c),
            _ => escape(&mut out, u32::from(c)),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, code: u32) {
    // Writing to a string cannot fail.
    let _ = match code {
        0..0x80 => write!(out, "\\x{code:02x}"),
        0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Whether a character shows on a terminal. The standard library knows, but tells only through its
/// escapes. It escapes a combining mark as well, for another reason, unless it follows a letter.
fn prints(c: char) -> bool {
    match c {
        ' ' => true,
        _ if c.is_ascii() => c.is_ascii_graphic(),
        _ => !format!("a{c}").escape_debug().any(|escaped| escaped == '{'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expectations from Go's `strconv.Quote`.
    #[test]
    fn escapes_as_go_does() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("say \"no\" \\ yes", r#""say \"no\" \\ yes""#),
            ("a\tb\nc\r\u{7}\u{8}\u{b}\u{c}", r#""a\tb\nc\r\a\b\v\f""#),
            ("\u{1b}[31m\u{0}\u{7f}", r#""\x1b[31m\x00\x7f""#),
            ("grün 容器", r#""grün 容器""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{85}\u{200b}\u{e000}", r#""\u0085\u200b\ue000""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
