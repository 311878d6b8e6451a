//! Greets whoever is named by the path.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(80);
    for client in TcpListener::bind(("127.0.0.1", port))?.incoming() {
        let mut client = client?;
        let mut request = String::new();
        BufReader::new(&client).read_line(&mut request)?;
        let body = greeting::greet(&request);
        write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
    Ok(())
}
