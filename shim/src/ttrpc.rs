//! ttrpc: frames of ten bytes and a message, requests and responses, one of each for a call.
//!
//! `length (4, big endian) · stream (4) · kind (1: request, 2: response, 3: data) · flags (1) · message`

use crate::error::{Code, Error};
use crate::limits;
use crate::protobuf::{Fields, Malformed, Writer};

const HEADER: usize = 10;
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// The client keeps its side open: it wants a stream of messages, which the task API has none of.
const REMOTE_OPEN: u8 = 2;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The call that it belongs to; a client's are odd.
    pub stream: u32,
    kind: u8,
    flags: u8,
    /// The message, or its length where it is beyond the bound.
    pub message: Result<Vec<u8>, usize>,
}

/// What has come of a connection and is no whole frame yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Bytes of a frame beyond the bound that are still to come.
    passed_over: usize,
}

impl Inbox {
    /// Takes what was read.
    pub fn push(&mut self, mut bytes: &[u8]) {
        let over = self.passed_over.min(bytes.len());
        bytes = &bytes[over..];
        self.passed_over -= over;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. A frame that is too long is told by its head, and its message is passed over.
    pub fn take(&mut self) -> Option<Frame> {
        let (head, rest) = self.bytes.split_at_checked(HEADER)?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = word(0) as usize;
        let (stream, kind, flags) = (word(4), head[8], head[9]);
        if length > limits::MESSAGE_BYTES {
            let here = length.min(rest.len());
            self.passed_over = length - here;
            self.bytes.drain(..HEADER + here);
            return Some(Frame { stream, kind, flags, message: Err(length) });
        }
        let message = rest.get(..length)?.to_vec();
        self.bytes.drain(..HEADER + length);
        if self.bytes.is_empty() && self.bytes.capacity() > 4096 {
            self.bytes = Vec::new();
        }
        Some(Frame { stream, kind, flags, message: Ok(message) })
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// `containerd.task.v2.Task`.
    pub service: String,
    /// `Create`.
    pub method: String,
    /// The method's message.
    pub payload: Vec<u8>,
    /// How long the caller waits, in nanoseconds; 0 is for ever.
    pub timeout_nanos: u64,
}

/// What a frame holds for one that serves.
pub fn request(frame: Frame) -> Result<Request, Error> {
    let message = frame.message.map_err(|length| {
        let bound = limits::MESSAGE_BYTES;
        let text = format!("a message of {length} bytes is longer than {bound}");
        Error::new(Code::ResourceExhausted, text)
    })?;
    if frame.kind != REQUEST {
        return Err(Error::new(Code::InvalidArgument, format!("a frame of kind {}", frame.kind)));
    }
    if frame.stream.is_multiple_of(2) {
        return Err(Error::new(Code::InvalidArgument, "a client's streams are odd"));
    }
    if frame.flags & REMOTE_OPEN != 0 {
        return Err(Error::new(Code::Unimplemented, "the task API has no streams"));
    }
    Ok(parse_request(&message)?)
}

fn parse_request(message: &[u8]) -> Result<Request, Malformed> {
    let mut request = Request::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.take()? {
        match field {
            1 => request.service = value.text()?.to_owned(),
            2 => request.method = value.text()?.to_owned(),
            3 => request.payload = value.bytes()?.to_vec(),
            4 => request.timeout_nanos = value.number()?,
            _ => {}
        }
    }
    Ok(request)
}

/// What a frame holds for one that asked: the stream, and whether it went well.
pub fn response(frame: &Frame) -> (u32, Result<(), String>) {
    let Ok(message) = &frame.message else {
        return (frame.stream, Err("an answer beyond the bound".to_owned()));
    };
    if frame.kind != RESPONSE {
        return (frame.stream, Err(format!("a frame of kind {}", frame.kind)));
    }
    let status = || -> Result<(u64, String), Malformed> {
        let (mut code, mut text) = (0, String::new());
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.take()? {
            if field != 1 {
                continue;
            }
            let mut fields = Fields::of(value.bytes()?);
            while let Some((field, value)) = fields.take()? {
                match field {
                    1 => code = value.number()?,
                    2 => value.text()?.clone_into(&mut text),
                    _ => {}
                }
            }
        }
        Ok((code, text))
    };
    let outcome = match status() {
        Ok((0, _)) => Ok(()),
        Ok((code, text)) => Err(format!("{text} (code {code})")),
        Err(malformed) => Err(malformed.to_string()),
    };
    (frame.stream, outcome)
}

/// The bytes of a call.
pub fn encode_request(stream: u32, request: &Request) -> Vec<u8> {
    let message = Writer::new()
        .text(1, &request.service)
        .text(2, &request.method)
        .bytes(3, &request.payload)
        .number(4, request.timeout_nanos);
    frame(stream, REQUEST, &message.done())
}

/// The bytes of an answer.
pub fn encode_response(stream: u32, answer: &Result<Vec<u8>, Error>) -> Vec<u8> {
    let message = match answer {
        Ok(payload) => Writer::new().bytes(2, payload),
        Err(error) => {
            let status = Writer::new().number32(1, error.code as u32).text(2, &error.message);
            Writer::new().message(1, status)
        }
    };
    frame(stream, RESPONSE, &message.done())
}

fn frame(stream: u32, kind: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + message.len());
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Request {
        Request {
            service: "containerd.task.v2.Task".to_owned(),
            method: "State".to_owned(),
            payload: b"\x0a\x01a".to_vec(),
            timeout_nanos: 7,
        }
    }

    #[test]
    fn frames_are_found_in_any_pieces() {
        let mut bytes = encode_request(1, &call());
        bytes.extend(encode_request(3, &call()));
        for size in [1, 3, 10, 11, bytes.len()] {
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                inbox.push(piece);
                while let Some(frame) = inbox.take() {
                    seen.push((frame.stream, request(frame)));
                }
            }
            assert_eq!(seen, [(1, Ok(call())), (3, Ok(call()))], "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_beyond_the_bound_is_passed_over() {
        let mut inbox = Inbox::default();
        let long = vec![0; limits::MESSAGE_BYTES + 1];
        inbox.push(&frame(1, REQUEST, &long)[..5000]);
        let first = inbox.take().map(request);
        assert_eq!(first.map(|it| it.map_err(|e| e.code)), Some(Err(Code::ResourceExhausted)));
        inbox.push(&long[..long.len() - 4990]);
        inbox.push(&encode_request(3, &call()));
        assert_eq!(inbox.take().map(request), Some(Ok(call())));
    }

    #[test]
    fn answers_carry_their_status() {
        let error = Error::new(Code::NotFound, "no such task");
        let mut inbox = Inbox::default();
        inbox.push(&encode_response(1, &Err(error)));
        inbox.push(&encode_response(3, &Ok(Vec::new())));
        let first = inbox.take().map(|frame| response(&frame));
        assert_eq!(first, Some((1, Err("no such task (code 5)".to_owned()))));
        assert_eq!(inbox.take().map(|frame| response(&frame)), Some((3, Ok(()))));
    }

    #[test]
    fn streams_are_refused() {
        let mut bytes = encode_request(1, &call());
        bytes[9] = REMOTE_OPEN;
        let mut inbox = Inbox::default();
        inbox.push(&bytes);
        let refused = inbox.take().map(request);
        assert_eq!(refused.map(|it| it.map_err(|e| e.code)), Some(Err(Code::Unimplemented)));
    }
}
