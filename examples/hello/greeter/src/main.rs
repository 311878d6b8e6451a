//! Greets whoever it is told to, and says what it sees of the container around it.

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    let whom = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let lines = [
        format!("{greeting}, {whom}!"),
        format!("hostname: {}", hostname.trim_end()),
        format!("pid: {}", std::process::id()),
        format!("mounts: {}", mounts.lines().count()),
    ];
    print(&lines.join("\n"))
}

fn print(text: &str) -> Result<(), Box<dyn Error>> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
