//! The encoding of protocol buffers (protobuf.dev, "Encoding"), as much of it as criu's messages use.
//! Pure.

/// A message being written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A whole number that is never negative.
    pub fn unsigned(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    /// An `int32`: a negative one is written with all its 64 bits.
    pub fn int32(&mut self, field: u32, value: i32) {
        self.unsigned(field, i64::from(value).cast_unsigned());
    }

    /// A `bool`.
    pub fn boolean(&mut self, field: u32, value: bool) {
        self.unsigned(field, u64::from(value));
    }

    /// A `string`.
    pub fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A message within.
    pub fn message(&mut self, field: u32, inner: &Self) {
        self.bytes(field, &inner.0);
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or(0);
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A number does not fit 64 bits.
    #[error("a number is longer than 64 bits")]
    Overlong,
    /// A field has a type that is not, or no longer, in use, or no number.
    #[error("a field of an unknown type")]
    Field,
    /// A field holds another type than the message's definition says, or must be there and is not.
    #[error("field {0} is missing or of another type")]
    Unexpected(u32),
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// Bytes, a text, or a message within.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which criu's messages do not use.
    Fixed,
}

/// The fields of a message, in the order in which they were written.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads a message.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0);
        let number = number.ok_or(Malformed::Field)?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed::Field),
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or(Malformed::Truncated)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed::Overlong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Overlong)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            // What follows a field that cannot be read has no beginning.
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The examples of the encoding's description, and the numbers that need most room.
    #[test]
    fn writes_what_the_encoding_says() {
        let mut message = Writer::default();
        message.unsigned(1, 150);
        assert_eq!(message.into_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Writer::default();
        message.text(2, "testing");
        assert_eq!(message.into_bytes(), b"\x12\x07testing");
        let mut message = Writer::default();
        message.int32(1, -2);
        let expected = [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(message.into_bytes(), expected);
        let mut message = Writer::default();
        message.boolean(68, true);
        assert_eq!(message.into_bytes(), [0xa0, 0x04, 0x01]);
    }

    #[test]
    fn reads_what_was_written() {
        let mut inner = Writer::default();
        inner.text(1, "key");
        inner.int32(2, -1);
        let mut message = Writer::default();
        message.unsigned(300, u64::MAX);
        message.message(3, &inner);
        let bytes = message.into_bytes();
        let fields: Vec<_> = Fields::of(&bytes).collect::<Result<_, _>>().unwrap();
        let [(300, Value::Number(u64::MAX)), (3, Value::Bytes(within))] = fields[..] else {
            panic!("{fields:?}");
        };
        let fields: Vec<_> = Fields::of(within).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields, [(1, Value::Bytes(b"key")), (2, Value::Number(u64::MAX))]);
    }

    #[test]
    fn passes_over_fixed_values() {
        let bytes = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x08, 1];
        let fields: Vec<_> = Fields::of(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(fields, [(1, Value::Fixed), (2, Value::Fixed), (1, Value::Number(1))]);
    }

    #[test]
    fn refuses_what_is_no_message() {
        for (bytes, expected) in [
            (&[0x08][..], Malformed::Truncated),
            (&[0x80], Malformed::Truncated),
            (&[0x12, 0x05, b'a'], Malformed::Truncated),
            (&[0x0d, 1, 2, 3], Malformed::Truncated),
            (
                &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                Malformed::Truncated,
            ),
            (&[0x00, 0x01], Malformed::Field),
            (&[0x0b], Malformed::Field),
            (&[0x0f, 0x01], Malformed::Field),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
                Malformed::Overlong,
            ),
            (
                &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
                Malformed::Overlong,
            ),
        ] {
            let error = Fields::of(bytes).find_map(Result::err);
            assert_eq!(error, Some(expected), "{bytes:x?}");
            assert!(Fields::of(bytes).count() < 3);
        }
    }
}
