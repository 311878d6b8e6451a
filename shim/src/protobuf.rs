//! The wire format of protobuf: as much as the messages of the task API need.
//!
//! A message is read field by field out of a borrowed slice; nothing is copied before its owner asks for it.

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed message: {}", self.0)
    }
}

/// A field's value as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans, enums.
    Number(u64),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
    /// What no message here has; it is passed over.
    Fixed,
}

impl<'a> Value<'a> {
    /// A number; of another kind, an error.
    pub fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(Malformed("a number is of another kind")),
        }
    }

    /// A number of 32 bits. As every reader of protobuf does, the upper half is dropped.
    #[expect(clippy::cast_possible_truncation, reason = "the wire format says so")]
    pub fn number32(self) -> Result<u32, Malformed> {
        Ok(self.number()? as u32)
    }

    /// A boolean.
    pub fn flag(self) -> Result<bool, Malformed> {
        Ok(self.number()? != 0)
    }

    /// Bytes or a message.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a string is of another kind")),
        }
    }

    /// A string: UTF-8.
    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a string is not UTF-8"))
    }
}

/// Walks the fields of a message.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and value; `None` at the end.
    pub fn take(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field =
            u32::try_from(tag >> 3).map_err(|_| Malformed("a field's number is too large"))?;
        if field == 0 {
            return Err(Malformed("a field has the number 0"));
        }
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.bytes(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed("too long"))?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed("a field of an unknown kind")),
        };
        Ok(Some((field, value)))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed("it ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed("it ends early"))?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too long"))
    }
}

/// Puts a message together. Values that are a field's default are left out, as proto3 has it.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A repeated string is written also where it is empty; this makes it a message of its own bytes.
    pub fn raw(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// The bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }

    /// A number.
    #[must_use]
    pub fn number(mut self, field: u32, number: u64) -> Self {
        if number != 0 {
            self.varint(u64::from(field) << 3);
            self.varint(number);
        }
        self
    }

    /// A number of a list, which is written where it is 0 too.
    #[must_use]
    pub fn element(mut self, field: u32, number: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(number);
        self
    }

    /// A number of 32 bits.
    #[must_use]
    pub fn number32(self, field: u32, number: u32) -> Self {
        self.number(field, u64::from(number))
    }

    /// A boolean.
    #[must_use]
    pub fn flag(self, field: u32, flag: bool) -> Self {
        self.number(field, u64::from(flag))
    }

    /// A string.
    #[must_use]
    pub fn text(self, field: u32, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(self, field: u32, bytes: &[u8]) -> Self {
        if bytes.is_empty() { self } else { self.present(field, bytes) }
    }

    /// A message, also an empty one: that it is there says something.
    #[must_use]
    pub fn message(self, field: u32, message: Self) -> Self {
        let Self(bytes) = message;
        self.present(field, &bytes)
    }

    fn present(mut self, field: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
            number >>= 7;
        }
        self.0.push(u8::try_from(number).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::new()
            .text(1, "id")
            .number(2, u64::MAX)
            .flag(3, true)
            .message(4, Writer::new())
            .number(5, 0)
            .done();
        let mut fields = Fields::of(&bytes);
        assert_eq!(fields.take(), Ok(Some((1, Value::Bytes(b"id")))));
        assert_eq!(fields.take(), Ok(Some((2, Value::Number(u64::MAX)))));
        assert_eq!(fields.take(), Ok(Some((3, Value::Number(1)))));
        assert_eq!(fields.take(), Ok(Some((4, Value::Bytes(b"")))));
        assert_eq!(fields.take(), Ok(None));
    }

    #[test]
    fn what_is_no_message_is_told() {
        for bytes in [
            &b"\x0a\x05ab"[..],
            b"\x08",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x00\x01",
            b"\x0b",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(Fields::of(bytes).take().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn fixed_values_are_passed_over() {
        let mut fields = Fields::of(b"\x09\0\0\0\0\0\0\0\0\x15\0\0\0\0\x18\x07");
        assert_eq!(fields.take(), Ok(Some((1, Value::Fixed))));
        assert_eq!(fields.take(), Ok(Some((2, Value::Fixed))));
        assert_eq!(fields.take(), Ok(Some((3, Value::Number(7)))));
    }
}
