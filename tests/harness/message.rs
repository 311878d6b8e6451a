//! Messages of protobuf and frames of ttrpc, written and read apart from the shim's own code.

use std::io::{self, Read, Write};

/// A message that is put together.
#[derive(Debug, Default, Clone)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Adds a string, bytes or a message.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, field: u64, value: Message) -> Self {
        self.bytes(field, value.0)
    }

    /// A `google.protobuf.Any`.
    pub fn any(kind: &str, value: impl AsRef<[u8]>) -> Self {
        Self::new().bytes(1, kind).bytes(2, value)
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A message that was read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fields(Vec<(u64, Field)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => &[],
        }
    }
}

impl Fields {
    /// Reads one.
    ///
    /// # Panics
    /// The bytes are none.
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = take_varint(&mut bytes);
            let field = match tag & 7 {
                0 => Field::Number(take_varint(&mut bytes)),
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    let (head, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(head.to_vec())
                }
                kind => panic!("a field of kind {kind}"),
            };
            fields.push((tag >> 3, field));
        }
        Self(fields)
    }

    /// A number; 0 when it is absent.
    pub fn number(&self, field: u64) -> u64 {
        let find = |it: &(u64, Field)| match it {
            (name, Field::Number(value)) if *name == field => Some(*value),
            _ => None,
        };
        self.0.iter().find_map(find).unwrap_or(0)
    }

    /// All values of a field that are bytes.
    pub fn all(&self, field: u64) -> Vec<&[u8]> {
        let found = self.0.iter().filter(|it| it.0 == field);
        let bytes = |field: &'_ Field| matches!(field, Field::Bytes(_));
        found.filter(|it| bytes(&it.1)).map(|it| it.1.bytes()).collect()
    }

    /// A string; empty when it is absent.
    pub fn text(&self, field: u64) -> String {
        String::from_utf8_lossy(self.all(field).first().copied().unwrap_or_default()).into_owned()
    }

    /// A message; empty when it is absent.
    pub fn message(&self, field: u64) -> Fields {
        Self::parse(self.all(field).first().copied().unwrap_or_default())
    }
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number goes on");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// Writes a frame: kind 1 is a request, 2 a response.
///
/// # Errors
/// The other side has gone.
pub fn send_frame(to: &mut impl Write, stream: u32, kind: u8, message: &[u8]) -> io::Result<()> {
    let mut frame = (message.len() as u32).to_be_bytes().to_vec();
    frame.extend(stream.to_be_bytes());
    frame.extend([kind, 0]);
    frame.extend(message);
    to.write_all(&frame)
}

/// Reads a frame: stream, kind, message.
///
/// # Errors
/// The other side has gone, or says nothing for too long.
pub fn receive_frame(from: &mut impl Read) -> io::Result<(u32, u8, Vec<u8>)> {
    let mut head = [0; 10];
    from.read_exact(&mut head)?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let mut message = vec![0; word(0) as usize];
    from.read_exact(&mut message)?;
    Ok((word(4), head[8], message))
}
