//! Messages: a header that says what it is for, and values (D-Bus Specification, "Message Format").

use super::read::{Reader, read};
use super::value::Value;
use super::write::{align, write};
use crate::limits::DBUS_MESSAGE_BYTES_MAX;

/// What a peer sent is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(super) &'static str);

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Asks for something.
    Call,
    /// The answer.
    Return,
    /// The answer that it failed.
    Error,
    /// Tells everybody.
    Signal,
    /// One that the specification may yet define; to be passed over.
    Other,
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// The name of the service.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface of the object.
    pub interface: &'a str,
    /// The method's name.
    pub member: &'a str,
}

/// Bytes at the beginning that tell how long a message is.
pub(super) const PREFIX: usize = 16;

/// Numbers of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A call as bytes. `to_bus` is whether a bus passes it on: only then does it bear a destination.
///
/// # Errors
/// [`Malformed`] when it is longer than a message may be.
pub fn call(
    method: &Method<'_>,
    arguments: &[Value],
    serial: u32,
    to_bus: bool,
) -> Result<Vec<u8>, Malformed> {
    let mut body = Vec::new();
    arguments.iter().for_each(|argument| write(&mut body, argument));
    let signature: String = arguments.iter().map(Value::signature).collect();
    let field = |number, value| Value::Struct(vec![Value::Byte(number), Value::variant(value)]);
    let mut fields = vec![
        field(PATH, Value::Path(method.path.to_owned())),
        field(INTERFACE, Value::text(method.interface)),
        field(MEMBER, Value::text(method.member)),
    ];
    if to_bus {
        fields.push(field(DESTINATION, Value::text(method.destination)));
    }
    if !signature.is_empty() {
        fields.push(field(SIGNATURE, Value::Signature(signature)));
    }
    let too_long = Malformed("too long to be sent");
    let length = u32::try_from(body.len()).map_err(|_| too_long)?;
    let mut message = vec![b'l', 1, 0, 1];
    message.extend(length.to_le_bytes());
    message.extend(serial.to_le_bytes());
    write(&mut message, &Value::Array("(yv)".to_owned(), fields));
    align(&mut message, 8);
    message.extend(body);
    if message.len() > DBUS_MESSAGE_BYTES_MAX { Err(too_long) } else { Ok(message) }
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The call that it answers.
    pub reply_to: Option<u32>,
    /// The object, of a signal.
    pub path: String,
    /// The method or signal.
    pub member: String,
    /// The name of the error.
    pub error: String,
    signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

/// The whole length of a message whose first [`PREFIX`] bytes these are.
///
/// # Errors
/// [`Malformed`] when they begin no message, or a longer one than is taken.
pub fn length(prefix: &[u8; PREFIX]) -> Result<usize, Malformed> {
    let (mut reader, body) = begin(prefix)?;
    reader.at = 12;
    let fields = reader.uint32()?;
    let whole = (u64::from(fields) + PREFIX as u64).next_multiple_of(8) + u64::from(body);
    let bounded = usize::try_from(whole).ok().filter(|whole| *whole <= DBUS_MESSAGE_BYTES_MAX);
    bounded.ok_or(Malformed("longer than any answer of systemd"))
}

/// A reader behind the first four bytes, and the length of the body.
fn begin(bytes: &[u8]) -> Result<(Reader<'_>, u32), Malformed> {
    let big_endian = match bytes.first() {
        Some(b'l') => false,
        Some(b'B') => true,
        _ => return Err(Malformed("no byte order")),
    };
    if bytes.get(3) != Some(&1) {
        return Err(Malformed("another version of the protocol"));
    }
    let mut reader = Reader { bytes, at: 4, big_endian, variants: 0 };
    let body = reader.uint32()?;
    Ok((reader, body))
}

impl Message {
    /// Reads a whole message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (mut reader, length) = begin(bytes)?;
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => Kind::Other,
        };
        reader.uint32()?;
        let big_endian = reader.big_endian;
        let fields = reader.values("a(yv)")?;
        reader.align(8)?;
        let body = bytes.get(reader.at..).unwrap_or_default();
        if usize::try_from(length).ok() != Some(body.len()) {
            return Err(Malformed("a body of another length"));
        }
        let mut message = Self {
            kind,
            reply_to: None,
            path: String::new(),
            member: String::new(),
            error: String::new(),
            signature: String::new(),
            body: body.to_vec(),
            big_endian,
        };
        for field in fields {
            if let Value::Array(_, fields) = field {
                fields.into_iter().for_each(|field| message.take(field));
            }
        }
        Ok(message)
    }

    fn take(&mut self, field: Value) {
        let Value::Struct(parts) = field else { return };
        let [Value::Byte(number), Value::Variant(value)] = parts.as_slice() else { return };
        match (*number, &**value) {
            (PATH, Value::Path(path)) => self.path.clone_from(path),
            (MEMBER, Value::Text(name)) => self.member.clone_from(name),
            (ERROR_NAME, Value::Text(name)) => self.error.clone_from(name),
            (REPLY_SERIAL, Value::Uint32(serial)) => self.reply_to = Some(*serial),
            (SIGNATURE, Value::Signature(text)) => self.signature.clone_from(text),
            _ => {}
        }
    }

    /// The values.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn values(&self) -> Result<Vec<Value>, Malformed> {
        read(&self.body, &self.signature, self.big_endian)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const METHOD: Method<'_> = Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StopUnit",
    };

    #[test]
    fn reads_its_own_call() {
        let arguments = [Value::text("a.scope"), Value::text("replace")];
        let bytes = call(&METHOD, &arguments, 7, true).unwrap();
        let prefix = bytes.first_chunk().unwrap();
        assert_eq!(length(prefix).unwrap(), bytes.len());
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (Kind::Call, "StopUnit"));
        assert_eq!(message.values().unwrap(), arguments);
    }

    /// Taken from the wire: systemd's answer to StopUnit.
    #[test]
    fn reads_an_answer() {
        let mut bytes = vec![b'l', 2, 1, 1, 12, 0, 0, 0, 9, 0, 0, 0, 15, 0, 0, 0];
        bytes.extend([5, 1, b'u', 0, 7, 0, 0, 0, 8, 1, b'g', 0, 1, b'o', 0, 0]);
        bytes.extend([7, 0, 0, 0]);
        bytes.extend(b"/job/42\0");
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.kind, message.reply_to), (Kind::Return, Some(7)));
        assert_eq!(message.values().unwrap(), [Value::Path("/job/42".to_owned())]);
    }

    #[test]
    fn refuses_what_is_no_message() {
        assert!(length(&[0; PREFIX]).is_err());
        let mut huge = [255; PREFIX];
        huge[..4].copy_from_slice(&[b'l', 2, 0, 1]);
        assert!(length(&huge).is_err());
        let bytes = call(&METHOD, &[], 1, false).unwrap();
        for end in 0..bytes.len() {
            assert!(Message::parse(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Message::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn sends_no_message_that_nobody_takes() {
        let long = Value::text("x".repeat(DBUS_MESSAGE_BYTES_MAX));
        assert!(call(&METHOD, &[long], 1, true).is_err());
    }
}
