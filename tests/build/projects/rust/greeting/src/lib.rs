//! What the server says.

/// Greets whoever a request line names by its path.
pub fn greet(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap_or("/");
    format!("Rust greets {}\n", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn greets_by_the_path() {
        assert_eq!(super::greet("GET /you HTTP/1.1"), "Rust greets you\n");
    }
}
