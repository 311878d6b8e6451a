//! What a containerd costs counts as its client's.

use std::fs;
use std::time::Duration;

use keel_tests::Containerd;

/// The processor time that it has needed.
pub(crate) fn cpu(daemon: &Containerd) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // After the name: user and system time are the twelfth and thirteenth, in hundredths; then those of
    // children that it has waited for, such as programs that inflate.
    let ticks = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// The most memory that it has had.
pub(crate) fn rss_kib(daemon: &Containerd) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Forgets an image and all that belongs to it: one that is there would not be unpacked again.
pub(crate) fn forget(daemon: &Containerd, name: &str) {
    daemon.ctr(&["images", "rm", "--sync", name], None);
}
