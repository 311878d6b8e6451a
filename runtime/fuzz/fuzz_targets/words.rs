//! Words of the command line: users, ids, signals, sizes, durations.
#![no_main]

use keel::cli::signal::Signal;
use keel::cli::user::User;
use keel::cli::{duration, size};
use keel::container::id::ContainerId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(user) = User::parse(text) {
        // CVE-2026-30892: nothing but digits becomes an id.
        assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'), "{text:?}");
        let again = match user.gid {
            Some(gid) => format!("{}:{gid}", user.uid),
            None => user.uid.to_string(),
        };
        assert_eq!(User::parse(&again), Ok(user));
    }
    if let Ok(id) = ContainerId::parse(text) {
        assert!(
            !text.contains(['/', '\0', '\n']) && text != "." && text != ".." && text.len() < 256
        );
        assert_eq!(id.as_str(), text);
    }
    if let Ok(signal) = Signal::parse(text) {
        assert!((0..=64).contains(&signal.number()), "{text:?}");
    }
    if let Some(size) = size::parse(text) {
        assert!(size >= -1 || text.trim_start().starts_with('-'), "{text:?}");
    }
    let _ = duration::parse(text);
});
