//! One connection: requests as they come, answers as they are told to go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::{Fault, Seen, Shared};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
        Self::new(status, body).with("Content-Type", "application/json")
    }
}

impl Shared {
    /// One connection, which is kept open between requests.
    pub(super) fn serve(&self, stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
        let Ok(copy) = stream.try_clone() else { return };
        let mut reader = BufReader::new(copy);
        loop {
            match reader.fill_buf() {
                // A client that speaks TLS is told in its own language that this is none.
                Ok([0x16, ..]) => {
                    let _ = (&stream).write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                    break;
                }
                Ok([_, ..]) => {}
                _ => break,
            }
            let Some(mut seen) = head(&mut reader) else { break };
            let fault = self.next_fault(&seen.line);
            let cut = match fault {
                Fault::CutRequestAt(bytes) => Some(bytes),
                _ => None,
            };
            let Some(body) = body(&mut reader, &seen, cut) else { break };
            seen.body = String::from_utf8_lossy(&body).into_owned();
            self.state().seen.push(seen.clone());
            if matches!(fault, Fault::Status(..)) {
                // Refused before anything was done.
            } else if let Some(answer) = self.upload(&seen, &body, cut.is_some()) {
                if cut.is_some() || !self.send(&stream, &seen, answer, fault) {
                    break;
                }
                continue;
            }
            let answer = self.answer(&seen, matches!(fault, Fault::WithoutRange));
            if !self.send(&stream, &seen, answer, fault) {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn next_fault(&self, line: &str) -> Fault {
        let mut state = self.state();
        let queue = state
            .faults
            .iter_mut()
            .find(|(part, queue)| line.contains(part.as_str()) && !queue.is_empty());
        queue.and_then(|(_, queue)| queue.pop_front()).unwrap_or(Fault::None)
    }

    /// Sends an answer with its fault; false if the connection is over.
    fn send(&self, mut stream: &TcpStream, seen: &Seen, mut answer: Answer, fault: Fault) -> bool {
        match &fault {
            Fault::Status(status, headers, body) => {
                answer = Answer::new(*status, body.as_str());
                for (name, value) in headers {
                    answer = answer.with(name, value.as_str());
                }
            }
            Fault::Bytes(bytes) => answer.body.clone_from(bytes),
            Fault::Header(name, value) => answer = answer.with(name, value.as_str()),
            _ => {}
        }
        let mut head = format!(
            "HTTP/1.1 {} Tests\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        if stream.write_all(head.as_bytes()).is_err() {
            return false;
        }
        if seen.line.starts_with("HEAD") {
            return true;
        }
        let whole = answer.body.len();
        let stop = match fault {
            Fault::CutAt(at) | Fault::SilentAt(at) | Fault::HeldAt(at) => at.min(whole),
            _ => whole,
        };
        let target = seen.line.split(' ').nth(1).unwrap_or_default();
        if !self.send_counted(stream, target, &answer.body[..stop]) {
            return false;
        }
        match fault {
            Fault::CutAt(_) => false,
            Fault::SilentAt(_) => {
                // The client goes when it has waited long enough.
                let _ = stream.read(&mut [0; 1]);
                false
            }
            Fault::HeldAt(_) => {
                let mut state = self.state();
                while !state.is_released {
                    state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                drop(state);
                self.send_counted(stream, target, &answer.body[stop..])
            }
            _ => true,
        }
    }

    fn send_counted(&self, mut stream: &TcpStream, target: &str, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(16 << 10) {
            // Before it is sent: who has all of it may look at once.
            *self.state().sent.entry(target.to_owned()).or_default() += piece.len() as u64;
            if stream.write_all(piece).is_err() {
                return false;
            }
        }
        true
    }
}

/// The line and the headers of a request.
fn head(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Seen { line, headers, body: String::new() })
}

/// The body of a request, or so many bytes of it.
fn body(reader: &mut BufReader<TcpStream>, seen: &Seen, cut: Option<usize>) -> Option<Vec<u8>> {
    let length = seen.headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    let length = cut.map_or(length, |cut| length.min(cut as u64));
    reader.take(length).read_to_end(&mut body).ok()?;
    Some(body)
}
