//! Go's `fmt` verbs, for `printf` in a template: flags, widths and precisions. What does not fit is told in
//! the text, as Go does.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::evaluate::{PAD_MAX, text};

/// What stands between `%` and the verb.
#[derive(Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The text that `format` gives for `arguments`.
pub(super) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut output = String::new();
    let mut left = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let flags = match flags(&mut characters, &mut left) {
            Ok(flags) => flags,
            Err(reason) => {
                output.push_str(reason);
                Flags::default()
            }
        };
        match characters.next() {
            None => output.push_str("%!(NOVERB)"),
            Some('%') => output.push('%'),
            Some(verb) => match left.next() {
                Some(value) => output.push_str(&padded(&flags, verb, value)),
                None => output.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let extra: Vec<String> = left.map(typed).collect();
    if !extra.is_empty() {
        output.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    output
}

fn flags<'v>(
    characters: &mut Peekable<Chars<'_>>,
    arguments: &mut impl Iterator<Item = &'v Value>,
) -> Result<Flags, &'static str> {
    let mut flags = Flags::default();
    while let Some(character) = characters.peek() {
        match character {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            '#' => flags.sharp = true,
            _ => break,
        }
        characters.next();
    }
    if characters.next_if_eq(&'*').is_some() {
        let width = arguments.next().and_then(Value::as_i64).ok_or("%!(BADWIDTH)")?;
        flags.minus |= width < 0;
        flags.width = Some(bounded(width.unsigned_abs()).ok_or("%!(BADWIDTH)")?);
    } else if characters.peek().is_some_and(char::is_ascii_digit) {
        flags.width = Some(bounded(number(characters)).ok_or("%!(BADWIDTH)")?);
    }
    if characters.next_if_eq(&'.').is_some() {
        let precision = match characters.next_if_eq(&'*') {
            Some(_) => arguments.next().and_then(Value::as_u64).ok_or("%!(BADPREC)")?,
            None => number(characters),
        };
        flags.precision = Some(bounded(precision).ok_or("%!(BADPREC)")?);
    }
    Ok(flags)
}

/// The digits that come next; none are zero.
fn number(characters: &mut Peekable<Chars<'_>>) -> u64 {
    let mut number = 0_u64;
    while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
        number = number.saturating_mul(10).saturating_add(u64::from(digit));
        characters.next();
    }
    number
}

fn bounded(number: u64) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number <= PAD_MAX)
}

fn padded(flags: &Flags, verb: char, value: &Value) -> String {
    let Some(text) = plain(flags, verb, value) else {
        return format!("%!{verb}({})", typed(value));
    };
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if !flags.zero {
        return format!("{}{text}", " ".repeat(missing));
    }
    // Zeros stand behind the sign of a number.
    let is_signed = value.is_number() && text.starts_with(['+', '-', ' ']);
    let (sign, digits) = text.split_at(usize::from(is_signed));
    format!("{sign}{}{digits}", "0".repeat(missing))
}

/// Without padding; nothing if the verb does not fit the value.
fn plain(flags: &Flags, verb: char, value: &Value) -> Option<String> {
    let cut = |text: String| match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    };
    let integer = || value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
    let decimals = flags.precision.unwrap_or(6);
    Some(match (verb, value) {
        ('s' | 'v', Value::String(text)) => cut(text.clone()),
        ('v', Value::Number(_)) if integer().is_some() => signed(flags, integer()?, 10),
        // Go knows what type a number of docker's has; here all that is shown has a text.
        ('s' | 'v', _) => text(value),
        ('q', Value::String(text)) => quoted(&cut(text.clone())),
        ('t', Value::Bool(value)) => value.to_string(),
        ('d', _) => signed(flags, integer()?, 10),
        ('b', _) => signed(flags, integer()?, 2),
        ('o', _) => signed(flags, integer()?, 8),
        ('c', _) => char::from_u32(u32::try_from(integer()?).ok()?)?.to_string(),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('x', _) => signed(flags, integer()?, 16),
        ('X', _) => signed(flags, integer()?, 16).to_uppercase(),
        ('f' | 'F', Value::Number(number)) => {
            let number = number.as_f64()?;
            let sign = if number.is_sign_negative() { "" } else { sign(flags) };
            format!("{sign}{number:.decimals$}")
        }
        _ => return None,
    })
}

fn sign(flags: &Flags) -> &'static str {
    match (flags.plus, flags.space) {
        (true, _) => "+",
        (_, true) => " ",
        _ => "",
    }
}

fn signed(flags: &Flags, number: i128, radix: u32) -> String {
    let amount = number.unsigned_abs();
    let digits = match radix {
        2 => format!("{amount:b}"),
        8 => format!("{amount:o}"),
        16 => format!("{amount:x}"),
        _ => amount.to_string(),
    };
    let prefix = match radix {
        8 if flags.sharp => "0",
        16 if flags.sharp => "0x",
        _ => "",
    };
    let sign = if number < 0 { "-" } else { sign(flags) };
    format!("{sign}{prefix}{digits}")
}

/// As Go quotes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A value with the name of its type in Go.
fn typed(value: &Value) -> String {
    let name = match value {
        Value::Null => return "<nil>".to_owned(),
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!("{name}={}", text(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_as_go() {
        let id = json!("sha256:ab");
        let size = json!(12);
        for (format, arguments, expected) in [
            ("%-12s|", vec![&id], "sha256:ab   |"),
            ("%12s|", vec![&id], "   sha256:ab|"),
            ("%.3s|%-8.3s|", vec![&id, &id], "sha|sha     |"),
            ("%5d|%-5d|%05d|%+d|% d", vec![&size; 5], "   12|12   |00012|+12| 12"),
            ("%x %X %o %b %#x", vec![&size; 5], "c C 14 1100 0xc"),
            ("%x", vec![&json!("hi")], "6869"),
            ("%06d", vec![&json!(-12)], "-00012"),
            ("%.2f|%8.1f|%f", vec![&json!(1.5), &json!(-2.25), &size], "1.50|    -2.2|12.000000"),
            ("%q", vec![&json!("a\"b\n\u{1}ü")], "\"a\\\"b\\n\\x01ü\""),
            ("%t %v %v", vec![&json!(true), &json!(["a", 1]), &size], "true [a 1] 12"),
            ("%*d|%-*d|", vec![&json!(4), &size, &json!(4), &size], "  12|12  |"),
            ("%.*s", vec![&json!(2), &id], "sh"),
            ("100%% %c", vec![&json!(65)], "100% A"),
            ("%5s|%-3s|", vec![&json!("üö"), &json!("ü")], "   üö|ü  |"),
            ("%d", vec![&id], "%!d(string=sha256:ab)"),
            ("%s %s", vec![&id], "sha256:ab %!s(MISSING)"),
            ("%s", vec![&id, &size, &json!(null)], "sha256:ab%!(EXTRA int=12, <nil>)"),
            ("%", vec![], "%!(NOVERB)"),
            ("%z", vec![&size], "%!z(int=12)"),
            ("%99999999999999999999s", vec![&id], "%!(BADWIDTH)sha256:ab"),
        ] {
            let arguments: Vec<Value> = arguments.into_iter().cloned().collect();
            assert_eq!(printf(format, &arguments), expected, "{format}");
        }
    }
}
