//! Bytes → values. The bytes come from another process: every length is checked against what is
//! there, and nesting is bounded by the signature's own bounds and by [`VARIANTS_MAX`].

use super::message::Malformed;
use super::signature::{alignment, types};
use super::value::Value;

/// How deep variants may lie in each other: what the specification allows for all containers.
const VARIANTS_MAX: u32 = 64;

/// The values of a signature, which begin at the start of `bytes`.
///
/// # Errors
/// [`Malformed`] when they do not fill the bytes exactly, or are none.
pub fn read(bytes: &[u8], signature: &str, big_endian: bool) -> Result<Vec<Value>, Malformed> {
    let mut reader = Reader { bytes, at: 0, big_endian, variants: 0 };
    let values = reader.values(signature)?;
    if reader.at == bytes.len() { Ok(values) } else { Err(Malformed("bytes behind the values")) }
}

/// A place in a message.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) big_endian: bool,
    pub(super) variants: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn values(&mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        let types = types(signature).ok_or(Malformed("no signature"))?;
        types.into_iter().map(|one| self.value(one)).collect()
    }

    fn value(&mut self, kind: &str) -> Result<Value, Malformed> {
        let first = kind.as_bytes().first().copied().unwrap_or_default();
        self.align(alignment(first))?;
        Ok(match first {
            b'y' => Value::Byte(u8::from_ne_bytes(self.number()?)),
            b'b' => match self.uint32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed("a boolean that is neither")),
            },
            b'n' => Value::Int16(i16::from_ne_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_ne_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_ne_bytes(self.number()?)),
            b'u' => Value::Uint32(self.uint32()?),
            b'x' => Value::Int64(i64::from_ne_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_ne_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_ne_bytes(self.number()?)),
            b's' => Value::Text(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => self.variant()?,
            b'(' => Value::Struct(self.values(inner(kind))?),
            _ => self.array(kind.get(1..).unwrap_or_default())?,
        })
    }

    fn variant(&mut self) -> Result<Value, Malformed> {
        let kind = self.signature()?;
        if self.variants == VARIANTS_MAX {
            return Err(Malformed("variants nested too deep"));
        }
        self.variants += 1;
        let mut values = self.values(&kind)?;
        self.variants -= 1;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(Value::variant(value)),
            _ => Err(Malformed("a variant that does not hold one value")),
        }
    }

    fn array(&mut self, element: &str) -> Result<Value, Malformed> {
        let length = self.length()?;
        let first = element.as_bytes().first().copied().unwrap_or_default();
        self.align(alignment(first))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("an array that ends behind the message"))?;
        let mut items = Vec::new();
        while self.at < end {
            items.push(match first {
                b'{' => self.entry(inner(element))?,
                _ => self.value(element)?,
            });
        }
        match self.at == end {
            true => Ok(Value::Array(element.to_owned(), items)),
            false => Err(Malformed("an array whose last element leaves it")),
        }
    }

    fn entry(&mut self, kinds: &str) -> Result<Value, Malformed> {
        self.align(8)?;
        let mut both = self.values(kinds)?.into_iter();
        match (both.next(), both.next()) {
            (Some(key), Some(value)) => Ok(Value::Entry(Box::new((key, value)))),
            _ => Err(Malformed("an entry without key or value")),
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.length()?;
        self.terminated(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let [length] = self.number()?;
        self.terminated(usize::from(length))
    }

    fn terminated(&mut self, length: usize) -> Result<String, Malformed> {
        let text = self.take(length)?;
        if self.take(1)? != [0] || text.contains(&0) {
            return Err(Malformed("a string that does not end where it says"));
        }
        let text = std::str::from_utf8(text).map_err(|_| Malformed("a string that is no UTF-8"))?;
        Ok(text.to_owned())
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        self.align(4)?;
        usize::try_from(self.uint32()?).map_err(|_| Malformed("a length"))
    }

    pub(super) fn uint32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_ne_bytes(self.number()?))
    }

    /// The bytes of a number in this machine's order.
    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N)?);
        if self.big_endian != cfg!(target_endian = "big") {
            number.reverse();
        }
        Ok(number)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed("a length"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed("cut off"))?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn align(&mut self, boundary: usize) -> Result<(), Malformed> {
        let padding = self.at.next_multiple_of(boundary) - self.at;
        match self.take(padding)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(Malformed("padding that is not zero")),
        }
    }
}

/// A struct's or an entry's types without the brackets.
fn inner(kind: &str) -> &str {
    kind.get(1..kind.len().saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::write::write;
    use super::*;

    fn both_ways(value: &Value) {
        let mut bytes = Vec::new();
        write(&mut bytes, value);
        assert_eq!(&read(&bytes, &value.signature(), false).unwrap()[0], value);
    }

    #[test]
    fn reads_what_was_written() {
        let property =
            |name: &str, value| Value::Struct(vec![Value::text(name), Value::variant(value)]);
        both_ways(&Value::Array(
            "(sv)".to_owned(),
            vec![
                property("Delegate", Value::Bool(true)),
                property("PIDs", Value::Array("u".to_owned(), vec![Value::Uint32(7)])),
                property("MemoryMax", Value::Uint64(u64::MAX)),
                property("AllowedCPUs", Value::Array("y".to_owned(), vec![Value::Byte(3)])),
            ],
        ));
        both_ways(&Value::Array(
            "{sv}".to_owned(),
            vec![Value::Entry(Box::new((Value::text("a"), Value::variant(Value::Double(0.5)))))],
        ));
        both_ways(&Value::Array("x".to_owned(), Vec::new()));
        both_ways(&Value::Struct(vec![Value::Byte(1), Value::Int64(-2), Value::Int16(-3)]));
    }

    #[test]
    fn reads_the_other_order() {
        let bytes = [0, 0, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0, 9];
        let read = read(&bytes, "su", true).unwrap();
        assert_eq!(read, [Value::text("abc"), Value::Uint32(9)]);
    }

    #[test]
    fn refuses_what_does_not_add_up() {
        let refused: [(&[u8], &str); 8] = [
            (&[3, 0, 0, 0, b'a', 0], "s"),
            (&[1, 0, 0, 0, b'a', 1], "s"),
            (&[255, 255, 255, 255], "s"),
            (&[255, 255, 255, 255, 1, 1], "ay"),
            (&[3, 0, 0, 0, 1, 0, 0, 0], "au"),
            (&[2, 0, 0, 0], "b"),
            (&[1, 1, 0, 0, 5, 0, 0, 0], "yu"),
            (&[0, 0], "y"),
        ];
        for (bytes, signature) in refused {
            assert!(read(bytes, signature, false).is_err(), "{bytes:?} {signature}");
        }
    }

    #[test]
    fn bounds_the_depth_of_variants() {
        let mut bytes: Vec<u8> = [1, b'v', 0].repeat(100_000);
        bytes.extend([1, b'y', 0, 7]);
        assert!(read(&bytes, "v", false).is_err());
    }
}
