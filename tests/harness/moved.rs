//! How many bytes a command moves: counts of the kernel, which no other load changes.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The bytes that a process and its threads have read and written, by whatever system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Read from files, pipes and sockets.
    pub read: u64,
    /// Written to them.
    pub written: u64,
}

impl Moved {
    /// Runs a command, which must succeed.
    #[track_caller]
    pub fn by(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = Pid::from_child(&child);
        // Ended and not yet forgotten.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), options).expect("an own child");
        let counts = fs::read_to_string(format!("/proc/{}/io", child.id())).expect("counts");
        let status = child.wait().expect("an own child");
        assert!(status.success(), "{command:?}: {status}");
        let count = |name: &str| {
            let line = counts.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|text| text.trim().parse().ok()).expect("a count")
        };
        Self { read: count("rchar:"), written: count("wchar:") }
    }
}
