//! Sizes and times as people read them, in docker's words.

use std::time::Duration;

use keel_image::spec::Timestamp;

use crate::failure::Failure;

/// Three significant digits and a decimal unit: `4.26MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{text}{}", UNITS[unit])
}

/// How long ago `time` was: `5 minutes ago`.
pub(crate) fn ago(time: Option<Timestamp>) -> String {
    let Some(time) = time else { return "N/A".to_owned() };
    let seconds = (Timestamp::now().seconds - time.seconds).max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let span = match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    };
    format!("{span} ago")
}

/// Reads `64m`, `1g`, `512k`, `1024b` or plain bytes; units are binary.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, Failure> {
    let refused = || Failure::new(format!("invalid size: {text:?}")).with_code(125);
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refused()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).ok_or_else(refused)
}

/// Reads a number of processors such as `1.5` as billionths.
pub(crate) fn parse_cpus(text: &str) -> Result<u64, Failure> {
    let refused = || Failure::new(format!("invalid number of processors: {text:?}")).with_code(125);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 || text.len() == fraction.len() {
        return Err(refused());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| refused())? };
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| refused())?;
    whole.checked_mul(1_000_000_000).and_then(|n| n.checked_add(fraction)).ok_or_else(refused)
}

/// Reads a duration as Go writes it: `1h30m`, `10m`, `1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Failure> {
    let refused = || Failure::new(format!("invalid duration: {text:?}")).with_code(125);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refused)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let seconds = match &after[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(refused()),
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())?;
        sum = sum.checked_add(part).ok_or_else(refused)?;
        rest = &after[end..];
    }
    if text.is_empty() { Err(refused()) } else { Ok(sum) }
}

/// Reads a point in time: one of RFC 3339, a date, seconds since 1970, or how long ago it was.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let zoned = [text.to_owned(), format!("{text}Z"), format!("{text}T00:00:00Z")];
    if let Some(time) = zoned.iter().find_map(|text| text.parse().ok()) {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Timestamp::from_seconds(seconds));
    }
    let ago = parse_duration(text)?;
    let now = Timestamp::now();
    let seconds = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
    Ok(Timestamp { seconds: now.seconds.saturating_sub(seconds), ..now })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_sizes_as_docker() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (4_261_550, "4.26MB"),
            (142_000_000, "142MB"),
            (1_240_000_000, "1.24GB"),
            (13_256, "13.3kB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn reads_durations_and_times() {
        for (text, milliseconds) in
            [("0", 0), ("10m", 600_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("2ms", 2)]
        {
            assert_eq!(
                parse_duration(text).unwrap(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
        for text in ["", "x", "10", "m", "1d", "-1s", "1h2", "999999999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (text, seconds) in [
            ("1970-01-02T00:00:00Z", 86_400),
            ("1970-01-02T00:00:01", 86_401),
            ("1970-01-02", 86_400),
            ("86400", 86_400),
        ] {
            assert_eq!(parse_time(text).unwrap().seconds, seconds, "{text}");
        }
        let hour_ago = Timestamp::now().seconds - parse_time("1h").unwrap().seconds;
        assert!((3599..=3601).contains(&hour_ago));
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn reads_sizes_and_processors() {
        assert_eq!(parse_bytes("64m").unwrap(), 64 << 20);
        assert_eq!(parse_bytes("1GiB").unwrap(), 1 << 30);
        assert_eq!(parse_bytes("100").unwrap(), 100);
        assert!(parse_bytes("x").is_err() && parse_bytes("1x").is_err());
        assert_eq!(parse_cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(parse_cpus("2").unwrap(), 2_000_000_000);
        assert!(parse_cpus("").is_err() && parse_cpus("-1").is_err());
    }
}
