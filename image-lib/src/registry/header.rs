//! The headers of answers that decide what is done next: `Link`, `Retry-After`, `Content-Range`,
//! `Content-Type` and the limits of a rate. Pure; whatever they hold, nothing here fails loudly.

use std::time::Duration;

/// The target of the link to the next page (RFC 8288), if the header has one.
#[must_use]
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // The parameters of this link end where the next one begins.
        let parameters = after.split('<').next().unwrap_or(after);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let words = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && words.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
    None
}

/// How long a server asks to be left alone: a number of seconds, or a date, which is compared with
/// `now` in seconds since 1970.
#[must_use]
pub fn retry_after(header: &str, now: u64) -> Option<Duration> {
    let text = header.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Whoever asks for longer than fits asks for ever.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    http_date(text).map(|at| Duration::from_secs(at.saturating_sub(now)))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7, the form that is sent).
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let parts: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let fits = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    if !fits {
        return None;
    }
    // The days since 1 March of year 0, in which leap days come last in their year.
    let shifted = if month > 2 { year } else { year - 1 };
    let month = u64::try_from((month + 9) % 12).ok()?;
    let days =
        shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + (month * 153 + 2) / 5 + day
            - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(since_1970 * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

/// A part of something larger: its first and last byte, and how large the whole is if that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, which is part of it.
    pub last: u64,
    /// The bytes of the whole.
    pub total: Option<u64>,
}

/// Reads `bytes 5-9/10` (RFC 9110 §14.4).
#[must_use]
pub fn content_range(header: &str) -> Option<ContentRange> {
    let (unit, rest) = header.trim().split_once(' ')?;
    let (range, total) = rest.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    let fits = unit.eq_ignore_ascii_case("bytes")
        && first <= last
        && total.is_none_or(|total| last < total);
    fits.then_some(ContentRange { first, last, total })
}

/// Reads the `Range: 0-99` with which a registry says how much of an upload it has: the number of
/// bytes. `0-0` means none or one; a client that has sent nothing knows which.
#[must_use]
pub fn upload_range(header: &str) -> Option<u64> {
    let text = header.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    (number(first)? == 0).then_some(number(last)?)?.checked_add(1)
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// The media type of a `Content-Type`, without its parameters.
#[must_use]
pub fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn finds_the_next_page() {
        for (header, expected) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some("/v2/a/tags/list?n=2&last=b")),
            (r#"<a>; rel=prev, <b>; title="x"; rel="last next""#, Some("b")),
            ("<a>;REL=NEXT", Some("a")),
            ("<a>; rel=nextish", None),
            ("a; rel=next", None),
            ("<a", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }

    #[test]
    fn reads_times_to_wait() {
        assert_eq!(retry_after(" 7 ", 0), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("99999999999999999999", 0),
            Some(Duration::from_secs(u64::from(u32::MAX)))
        );
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, 784_111_770), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(date, 800_000_000), Some(Duration::ZERO));
        assert_eq!(http_date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in
            ["", "-1", "soon", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"]
        {
            assert_eq!(retry_after(text, 0), None, "{text}");
        }
    }

    #[test]
    fn reads_ranges() {
        let range = content_range("bytes 5-9/10").unwrap();
        assert_eq!((range.first, range.last, range.total), (5, 9, Some(10)));
        assert_eq!(content_range("Bytes 5-9/*").unwrap().total, None);
        for text in ["bytes 9-5/10", "bytes 5-10/10", "bytes */10", "items 5-9/10", "bytes 5-9", ""]
        {
            assert_eq!(content_range(text), None, "{text}");
        }
        assert_eq!(upload_range("0-99"), Some(100));
        assert_eq!(upload_range("bytes=0-0"), Some(1));
        assert_eq!(upload_range("5-9"), None);
        assert_eq!(upload_range(&format!("0-{}", u64::MAX)), None);
    }

    #[test]
    fn cuts_parameters_off() {
        assert_eq!(media_type("application/json; charset=utf-8"), "application/json");
        assert_eq!(media_type(""), "");
    }
}
