//! `HEALTHCHECK` and the durations in its flags.

use super::flag::Flags;
use super::instruction::Healthcheck;
use super::word::{JsonForm, json_form};

/// Reads what follows `HEALTHCHECK`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(flags: &mut Flags, rest: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim_start();
    match kind.to_ascii_uppercase().as_str() {
        "" => return Err("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" if rest.is_empty() => {
            check.test = vec!["NONE".to_owned()];
            return Ok(check);
        }
        "NONE" => return Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" => {}
        _ => return Err(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)")),
    }
    check.interval = duration(flags, "interval")?;
    check.timeout = duration(flags, "timeout")?;
    check.start_period = duration(flags, "start-period")?;
    check.start_interval = duration(flags, "start-interval")?;
    if let Some(text) = flags.string("retries").map_err(|error| error.message)? {
        check.retries = text
            .parse()
            .ok()
            .filter(|retries| *retries >= 0)
            .ok_or_else(|| format!("--retries must be a number of at least 0, not {text:?}"))?;
    }
    check.test = match json_form(rest) {
        JsonForm::NotStrings => {
            return Err("arrays in HEALTHCHECK must be comprised of strings only".to_owned());
        }
        JsonForm::Strings(strings) if !strings.is_empty() => {
            [vec!["CMD".to_owned()], strings].concat()
        }
        JsonForm::Absent if !rest.is_empty() => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        _ => return Err("missing command after HEALTHCHECK CMD".to_owned()),
    };
    Ok(check)
}

fn duration(flags: &mut Flags, name: &'static str) -> Result<i64, String> {
    let Some(text) = flags.string(name).map_err(|error| error.message)? else { return Ok(0) };
    let nanoseconds = parse_duration(&text)
        .ok_or_else(|| format!("--{name}: invalid duration {text:?} (for example 1m30s)"))?;
    if nanoseconds < 0 || (1..1_000_000).contains(&nanoseconds) {
        return Err(format!("--{name}: duration {text:?} cannot be less than 1ms"));
    }
    Ok(nanoseconds)
}

/// Nanoseconds of numbers with units, as in `1h30m` or `1.5s`; a bare `0` needs none.
fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
        rest = next;
    }
    total.checked_mul(sign)
}

/// A decimal number times `scale`, in whole units: no floating point, so that nothing is rounded.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.chars() {
        unit /= 10;
        total = total.checked_add(i64::from(digit.to_digit(10)?).checked_mul(unit)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::super::flag::{Flags, split};
    use super::{parse, parse_duration};

    #[test]
    fn reads_durations() {
        assert_eq!(parse_duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse_duration("1.5s"), Some(1_500_000_000));
        assert_eq!(parse_duration(".5ms"), Some(500_000));
        assert_eq!(parse_duration("0"), Some(0));
        for bad in ["", "5", "s", "1x", "1.2.3s", "."] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_checks() {
        let read = |text: &str| {
            let (flags, at) = split(text, '\\');
            parse(&mut Flags::new(flags), &text[at..])
        };
        let check = read("--interval=5s --retries=3 cmd [\"a\",\"b\"]").unwrap();
        assert_eq!((check.interval, check.retries), (5_000_000_000, 3));
        assert_eq!(check.test, ["CMD", "a", "b"]);
        assert_eq!(read("CMD a  b").unwrap().test, ["CMD-SHELL", "a  b"]);
        assert_eq!(read("NONE").unwrap().test, ["NONE"]);
        for bad in
            ["", "NONE x", "CMD", "CMD []", "RUN x", "--interval=1us CMD x", "--retries=-1 CMD x"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
