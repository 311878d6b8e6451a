//! How long tasks waited for a resource (Documentation/accounting/psi.rst of the kernel).

use super::Files;
use crate::cgroup::error::CgroupError;

/// What the kernel says of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Share,
    /// All tasks waited.
    pub full: Share,
}

/// A share of time; averages in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Of the last ten seconds.
    pub average_10: u64,
    /// Of the last minute.
    pub average_60: u64,
    /// Of the last five minutes.
    pub average_300: u64,
    /// Microseconds in all.
    pub total: u64,
}

/// Reads a file such as `memory.pressure`; `None` where the kernel does not count.
pub(super) fn read(files: &Files<'_>, name: &str) -> Result<Option<Pressure>, CgroupError> {
    Ok(files.text(name)?.map(|text| parse(&text)))
}

pub(super) fn parse(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let share = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => share.average_10 = hundredths(value),
                "avg60" => share.average_60 = hundredths(value),
                "avg300" => share.average_300 = hundredths(value),
                "total" => share.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    pressure
}

/// The kernel prints two digits behind the point.
fn hundredths(text: &str) -> u64 {
    text.replace('.', "").parse().unwrap_or(0)
}
