//! A client of WebSockets (RFC 6455) as Kubernetes speaks them: the first byte of a message is its channel.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A connection.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Connects to `http://HOST/PATH` from the network namespace of a process.
    #[track_caller]
    pub fn connect_in(pid: i32, url: &str) -> Self {
        let (host, path) =
            url.strip_prefix("http://").expect("http").split_once('/').expect("a path");
        let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("a namespace");
        let address = host.to_owned();
        // A thread has a network of its own until it ends; a connection keeps the one it was made in.
        let connected = std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("the namespace");
            TcpStream::connect(address).expect("a connection")
        });
        let mut stream = connected.join().expect("a thread");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2VlbGtlZWxrZWVsa2VlbA==\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self { stream }
    }

    /// Sends bytes on a channel.
    #[track_caller]
    pub fn send(&mut self, channel: u8, bytes: &[u8]) {
        let length = u16::try_from(bytes.len() + 1).expect("a short message");
        // A whole binary message, masked with zeros as a client's has to be.
        let mut frame = vec![0x82];
        match u8::try_from(length) {
            Ok(short @ ..126) => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.push(channel);
        frame.extend(bytes);
        self.stream.write_all(&frame).expect("the server takes it");
    }

    /// The next message with its channel; `None` when the server has closed.
    pub fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).ok()?;
            let length = match head[1] & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.exactly()?)),
                127 => u64::from_be_bytes(self.exactly()?),
                short => u64::from(short),
            };
            let mut message = vec![0; usize::try_from(length).ok()?];
            self.stream.read_exact(&mut message).ok()?;
            match head[0] & 0xf {
                8 => return None,
                1 | 2 if !message.is_empty() => {
                    let bytes = message.split_off(1);
                    return Some((message[0], bytes));
                }
                _ => {}
            }
        }
    }

    /// All that comes on a channel until the server closes or it ends with this.
    pub fn receive_until(&mut self, channel: u8, end: &str) -> String {
        let mut text = Vec::new();
        while let Some((from, bytes)) = self.receive() {
            if from == channel {
                text.extend(bytes);
                if !end.is_empty() && String::from_utf8_lossy(&text).contains(end) {
                    break;
                }
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn exactly<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}
