//! The programs that change the host's network.

use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use keel_image::build::NetworkError;

/// Where they are on systems whose ordinary `PATH` does not lead there.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Whether a program is there.
pub(super) fn is_there(name: &str) -> bool {
    directories().any(|directory| directory.join(name).is_file())
}

fn directories() -> impl Iterator<Item = std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own: Vec<_> = std::env::split_paths(&path).collect();
    own.into_iter().chain(SYSTEM.map(Into::into))
}

/// Runs a program with this standard input; it must succeed.
pub(super) fn run(name: &str, words: &[&str], input: &str) -> Result<(), NetworkError> {
    output(name, words, input).map(drop)
}

/// As [`run`], and gives what it printed.
pub(super) fn output(name: &str, words: &[&str], input: &str) -> Result<String, NetworkError> {
    let called = || format!("{name} {}", words.join(" "));
    let refused = |error: &std::io::Error| NetworkError {
        reason: format!("{}: {error}", called()),
        hint: (error.kind() == ErrorKind::NotFound).then(|| hint(name)),
    };
    let file = directories().map(|directory| directory.join(name)).find(|file| file.is_file());
    let mut command = Command::new(file.unwrap_or_else(|| name.into()));
    command.args(words).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| refused(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| refused(&error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = said.collect::<Vec<_>>().join("; ");
    Err(NetworkError {
        reason: format!("{}: {said} ({})", called(), output.status),
        hint: Some(OTHERWISE.to_owned()),
    })
}

/// What is possible without.
const OTHERWISE: &str = "`--network=host` and `--network=none` need no bridge";

/// What to do about a program that is not there.
pub(super) fn hint(name: &str) -> String {
    let package = if name == "ip" { "iproute2" } else { "iptables or nftables" };
    format!("install {package}; {OTHERWISE}")
}
