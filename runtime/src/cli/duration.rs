//! Spans of time as Go writes them: `5s`, `1m30s`, `1.5h`, `100ms`.

use std::time::Duration;

/// Units and their length in nanoseconds, longer names first where one begins another.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Reads a span; one that is negative comes out as zero. `None` for what is none, and for what Go's
/// 64 bits of nanoseconds do not hold (some 292 years).
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    while !rest.is_empty() || total == 0 && rest == unsigned {
        let (nanoseconds, after) = part(rest)?;
        total = total.checked_add(nanoseconds).filter(|sum| i64::try_from(*sum).is_ok())?;
        rest = after;
    }
    Some(if negative { Duration::ZERO } else { Duration::from_nanos(total) })
}

/// A number with its unit, and what follows.
fn part(text: &str) -> Option<(u64, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond the nanosecond are cut off, as by Go.
    let mut scale = *unit;
    let mut nanoseconds = whole.checked_mul(*unit)?;
    for digit in fraction.bytes() {
        scale /= 10;
        nanoseconds = nanoseconds.checked_add(scale.checked_mul(u64::from(digit - b'0'))?)?;
    }
    Some((nanoseconds, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, milliseconds) in [
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("100ms", 100),
            ("1.5h", 5_400_000),
            ("+0.25s", 250),
            (".5s", 500),
            ("1.s", 1_000),
            ("2000us", 2),
            ("1000µs1000000ns", 2),
            ("0", 0),
            ("0s", 0),
            ("-3s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("7ns"), Some(Duration::from_nanos(7)));
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in
            ["", "-", "5", "s", ".s", "5 s", "1x", "1.2.3s", "5S", "1d", "9999999999h", "5s3", "é"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
