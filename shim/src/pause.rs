//! `pause`: the process of a sandbox. It holds the pod's namespaces, and reaps whatever ends there without a parent.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};

/// Waits until it is asked to end.
pub fn pause() -> Result<(), String> {
    wait_for_the_end().map_err(|error| format!("pause: {error}"))
}

fn wait_for_the_end() -> std::io::Result<()> {
    let (mut signals, signal) = UnixStream::pair()?;
    let asked = Arc::new(AtomicBool::new(false));
    for number in [SIGTERM, SIGINT] {
        signal_hook::flag::register(number, Arc::clone(&asked))?;
    }
    for number in [SIGTERM, SIGINT, SIGCHLD] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
    }
    let mut buffer = [0; 64];
    while !asked.load(Ordering::Relaxed) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        match signals.read(&mut buffer) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
