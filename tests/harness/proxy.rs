//! A proxy in the test's own process, by CONNECT and by SOCKS 5, which leads every name to one address.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// A proxy that remembers where its clients wanted to go.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    wanted: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads everything to `address`.
    pub fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let wanted = Arc::new(Mutex::new(Vec::new()));
        let (address, own) = (address.to_owned(), Arc::clone(&wanted));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (address, own) = (address.clone(), Arc::clone(&own));
                std::thread::spawn(move || {
                    let Ok(name) = greet(&client) else { return };
                    own.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    if let Ok(server) = TcpStream::connect(address) {
                        join(&client, &server);
                    }
                });
            }
        });
        Self { port, wanted }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients wanted to go.
    pub fn wanted(&self) -> Vec<String> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers the client's greeting and returns where it wants to go.
fn greet(mut client: &TcpStream) -> io::Result<String> {
    let mut first = [0];
    client.peek(&mut first)?;
    if first[0] != 5 {
        let mut reader = BufReader::with_capacity(1, client);
        let (mut line, mut header) = (String::new(), String::from("x"));
        reader.read_line(&mut line)?;
        while !header.trim().is_empty() {
            header.clear();
            reader.read_line(&mut header)?;
        }
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        return Ok(line.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    client.read_exact(&mut vec![0; head[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    // Names only: an address would mean that the client has looked it up.
    if request[3] != 3 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut name = vec![0; request[4].into()];
    client.read_exact(&mut name)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80])?;
    Ok(format!("{}:{}", String::from_utf8_lossy(&name), u16::from_be_bytes(port)))
}

fn join(client: &TcpStream, server: &TcpStream) {
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(client, server), (server, client)] {
            scope.spawn(move || {
                // Either side may end first.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
}
