//! Annotations `org.systemd.property.NAME` → properties of the unit. The value is a GVariant in its
//! text form (GLib, "GVariant Text Format"): `true`, `'text'`, `uint64 5`, `['a', 'b']`, `@as []`.

use super::error::SystemdError;
use crate::dbus::signature;
use crate::dbus::value::Value;

/// A property of a unit: its name and its value.
pub type Property = (String, Value);

const KEY: &str = "org.systemd.property.";

/// How deep values may lie in each other.
const DEPTH_MAX: u32 = 32;

/// The properties that annotations name. `TimeoutStopSec` is told as systemd knows it on the bus,
/// `TimeoutStopUSec` in microseconds.
///
/// # Errors
/// [`SystemdError::Annotation`], the first one.
pub fn from_annotations(annotations: &[(String, String)]) -> Result<Vec<Property>, SystemdError> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(KEY) else { continue };
        let failed = |detail: String| SystemdError::Annotation { key: key.clone(), detail };
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(failed(format!("{name:?} is no name of a property")));
        }
        let value = parse(text).ok_or_else(|| failed(format!("{text:?} is no GVariant text")))?;
        properties.push(in_microseconds(name, value).map_err(failed)?);
    }
    Ok(properties)
}

fn in_microseconds(name: &str, value: Value) -> Result<Property, String> {
    let stem = name.strip_suffix("Sec").filter(|stem| stem.ends_with(|c: char| c.is_lowercase()));
    let Some(stem) = stem else { return Ok((name.to_owned(), value)) };
    let whole = match value {
        Value::Byte(number) => u64::from(number).into(),
        Value::Int16(number) => i128::from(number),
        Value::Uint16(number) => i128::from(number),
        Value::Int32(number) => i128::from(number),
        Value::Uint32(number) => i128::from(number),
        Value::Int64(number) => i128::from(number),
        Value::Uint64(number) => i128::from(number),
        Value::Double(seconds) if (0.0..1e12).contains(&seconds) => {
            // In range and not negative, so that nothing but a part of a microsecond is lost.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let microseconds = (seconds * 1e6) as u64;
            return Ok((format!("{stem}USec"), Value::Uint64(microseconds)));
        }
        _ => return Err("a time in seconds has to be a number".to_owned()),
    };
    let microseconds = u64::try_from(whole).ok().and_then(|whole| whole.checked_mul(1_000_000));
    let microseconds = microseconds.ok_or_else(|| format!("{whole} s is no time"))?;
    Ok((format!("{stem}USec"), Value::Uint64(microseconds)))
}

/// A value in GVariant's text form.
fn parse(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text, depth: 0 };
    let value = parser.value(None)?;
    parser.rest.trim().is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Parser<'a> {
    /// A value, of the type `wanted` where that is known.
    fn value(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        self.rest = self.rest.trim_start();
        let value = match self.rest.chars().next()? {
            '@' => {
                let end = self.rest.find(char::is_whitespace)?;
                let (kind, rest) = self.rest.split_at(end);
                let kind = kind.strip_prefix('@').filter(|kind| signature::is_single(kind))?;
                self.rest = rest;
                agreed(kind, wanted)?;
                self.value(Some(kind))
            }
            '[' => self.array(wanted),
            '{' => self.dictionary(wanted),
            '(' => self.tuple(wanted),
            '<' => {
                agreed("v", wanted)?;
                self.take("<")?;
                let inner = self.value(None)?;
                self.take(">")?;
                Some(Value::variant(inner))
            }
            '\'' | '"' => self.string(wanted.unwrap_or("s")),
            first if first.is_ascii_alphabetic() => self.word(wanted),
            _ => self.number(wanted),
        };
        self.depth -= 1;
        value
    }

    fn take(&mut self, mark: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(mark)?;
        Some(())
    }

    /// `true`, `false`, or a type before a value: `uint32 7`.
    fn word(&mut self, wanted: Option<&str>) -> Option<Value> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let kind = match word {
            "true" | "false" => {
                agreed("b", wanted)?;
                return Some(Value::Bool(word == "true"));
            }
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            _ => return None,
        };
        agreed(kind, wanted)?;
        self.value(Some(kind))
    }

    fn number(&mut self, wanted: Option<&str>) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        let is_hex = word.trim_start_matches(['+', '-']).starts_with("0x");
        let is_double = !is_hex && word.contains(['.', 'e', 'E']);
        let kind = wanted.unwrap_or(if is_double { "d" } else { "i" });
        if kind == "d" {
            return word.parse().ok().map(Value::Double);
        }
        let whole = whole(word)?;
        Some(match kind {
            "y" => Value::Byte(whole.try_into().ok()?),
            "n" => Value::Int16(whole.try_into().ok()?),
            "q" => Value::Uint16(whole.try_into().ok()?),
            "i" => Value::Int32(whole.try_into().ok()?),
            "u" => Value::Uint32(whole.try_into().ok()?),
            "x" => Value::Int64(whole.try_into().ok()?),
            "t" => Value::Uint64(whole.try_into().ok()?),
            _ => return None,
        })
    }

    fn string(&mut self, kind: &str) -> Option<Value> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut letters = self.rest.get(1..)?.chars();
        loop {
            match letters.next()? {
                c if c == quote => break,
                '\0' => return None,
                '\\' => text.push(escaped(&mut letters)?),
                c => text.push(c),
            }
        }
        self.rest = letters.as_str();
        match kind {
            "s" => Some(Value::Text(text)),
            "o" => text.starts_with('/').then_some(Value::Path(text)),
            "g" => signature::types(&text).is_some().then_some(Value::Signature(text)),
            _ => None,
        }
    }

    /// Values up to `end`, with commas between, of which the last may have one too.
    fn list(&mut self, end: &str, mut one: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        loop {
            if self.take(end).is_some() {
                return Some(());
            }
            one(self)?;
            if self.take(",").is_none() {
                return self.take(end);
            }
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.take("[")?;
        let mut element = match wanted {
            Some(kind) => Some(kind.strip_prefix('a')?.to_owned()),
            None => None,
        };
        let mut items = Vec::new();
        self.list("]", |parser| {
            let item = parser.value(element.as_deref())?;
            agreed(&item.signature(), element.as_deref())?;
            element.get_or_insert_with(|| item.signature());
            items.push(item);
            Some(())
        })?;
        Some(Value::Array(element?, items))
    }

    fn dictionary(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.take("{")?;
        let mut entry = match wanted {
            Some(kind) => Some(kind.strip_prefix("a{")?.strip_suffix('}')?.to_owned()),
            None => None,
        };
        let mut items = Vec::new();
        self.list("}", |parser| {
            let (key, value) = match &entry {
                Some(kinds) => kinds.split_at_checked(1)?,
                None => ("", ""),
            };
            let known = |kind: &'_ str| (!kind.is_empty()).then(|| kind.to_owned());
            let (key, value) = (known(key), known(value));
            let key = parser.value(key.as_deref())?;
            parser.take(":")?;
            let value = parser.value(value.as_deref())?;
            let kinds = format!("{}{}", key.signature(), value.signature());
            agreed(&kinds, entry.as_deref())?;
            entry.get_or_insert(kinds);
            items.push(Value::Entry(Box::new((key, value))));
            Some(())
        })?;
        let kind = format!("a{{{}}}", entry?);
        signature::is_single(&kind).then(|| Value::Array(kind.split_off_first(), items))
    }

    fn tuple(&mut self, wanted: Option<&str>) -> Option<Value> {
        self.take("(")?;
        let inner = match wanted {
            Some(kind) => Some(kind.strip_prefix('(')?.strip_suffix(')')?),
            None => None,
        };
        let mut kinds =
            inner.map(signature::types).unwrap_or_default().unwrap_or_default().into_iter();
        let mut fields = Vec::new();
        self.list(")", |parser| {
            let kind = match inner {
                Some(_) => Some(kinds.next()?),
                None => None,
            };
            fields.push(parser.value(kind)?);
            Some(())
        })?;
        (!fields.is_empty() && kinds.next().is_none()).then_some(Value::Struct(fields))
    }
}

/// `a{sv}` without its first letter.
trait SplitOffFirst {
    fn split_off_first(self) -> String;
}

impl SplitOffFirst for String {
    fn split_off_first(mut self) -> String {
        self.remove(0);
        self
    }
}

/// Nothing where the type is not the one that is wanted.
fn agreed(kind: &str, wanted: Option<&str>) -> Option<()> {
    wanted.is_none_or(|wanted| wanted == kind).then_some(())
}

fn whole(word: &str) -> Option<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let number = i128::from(number.ok().filter(|_| !digits.starts_with('+'))?);
    Some(if negative { -number } else { number })
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let by_number = |letters: &mut std::str::Chars<'_>, digits: u32| {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 16 + letters.next()?.to_digit(16)?;
        }
        char::from_u32(number).filter(|c| *c != '\0')
    };
    Some(match letters.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        'u' => return by_number(letters, 4),
        'U' => return by_number(letters, 8),
        '\0' => return None,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(name: &str, text: &str) -> Result<Property, String> {
        let annotations = [(format!("{KEY}{name}"), text.to_owned()), ("a".into(), "b".into())];
        let properties = from_annotations(&annotations).map_err(|error| error.to_string())?;
        Ok(properties.into_iter().next().unwrap())
    }

    #[test]
    fn reads_values() {
        let entry = |key: &str, value| Value::Entry(Box::new((Value::text(key), value)));
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("'it\\'s'", Value::text("it's")),
            ("\"\\u00e9\"", Value::text("é")),
            ("7", Value::Int32(7)),
            ("-0x10", Value::Int32(-16)),
            ("1e3", Value::Double(1000.0)),
            ("uint64 7", Value::Uint64(7)),
            (" byte 0xff ", Value::Byte(255)),
            ("objectpath '/a'", Value::Path("/a".to_owned())),
            ("['a', 'b',]", Value::texts(["a", "b"])),
            ("@as []", Value::texts([""; 0])),
            ("@at [1, 2]", Value::Array("t".into(), vec![Value::Uint64(1), Value::Uint64(2)])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::Uint32(1), Value::Uint32(2)])),
            ("('a', <1>)", Value::Struct(vec![Value::text("a"), Value::variant(Value::Int32(1))])),
            (
                "{'a': <'x'>}",
                Value::Array("{sv}".into(), vec![entry("a", Value::variant(Value::text("x")))]),
            ),
            (
                "@a(st) [('/dev/sda', 5)]",
                Value::Array(
                    "(st)".into(),
                    vec![Value::Struct(vec![Value::text("/dev/sda"), Value::Uint64(5)])],
                ),
            ),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_value() {
        for text in [
            "",
            "tru",
            "'open",
            "[1, 'a']",
            "[]",
            "uint64 -1",
            "byte 256",
            "(1",
            "()",
            "1 2",
            "@as [1]",
            "int32 'a'",
            "@zz 1",
            "@(ss) ('a')",
            "{1}",
            "objectpath 'a'",
            "++1",
            "99999999999",
            "'\\u0000'",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"<".repeat(1000)), None);
    }

    #[test]
    fn tells_seconds_in_microseconds() {
        let stop = |text| of("TimeoutStopSec", text);
        let told = |number| Ok(("TimeoutStopUSec".to_owned(), Value::Uint64(number)));
        assert_eq!(stop("uint64 5"), told(5_000_000));
        assert_eq!(stop("0.5"), told(500_000));
        assert!(stop("-1").is_err());
        assert!(stop("'5'").is_err());
        assert_eq!(of("CollectMode", "'inactive-or-failed'").unwrap().0, "CollectMode");
    }

    #[test]
    fn takes_names_of_letters_only() {
        for name in ["", "ab", "Exec Start", "a.b.c", "Größe"] {
            assert!(of(name, "true").is_err(), "{name}");
        }
    }
}
