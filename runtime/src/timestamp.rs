//! Points in time as RFC 3339 text in UTC, the form of the log's `time` and of a container's `created`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-22T16:00:54Z`: whole seconds.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let (seconds, _) = since_epoch(time);
    format!("{}Z", date_and_time(seconds))
}

/// `2026-11-22T16:00:54.10342Z`: as many of the nine fractional digits as carry information, and
/// no fraction where it is zero, which is how the other runtimes print it.
#[must_use]
pub fn rfc3339_nano(time: SystemTime) -> String {
    let (seconds, nanoseconds) = since_epoch(time);
    if nanoseconds == 0 {
        return format!("{}Z", date_and_time(seconds));
    }
    let fraction = format!("{nanoseconds:09}");
    format!("{}.{}Z", date_and_time(seconds), fraction.trim_end_matches('0'))
}

/// Seconds since the epoch, rounded down also before it, and the nanoseconds that remain.
fn since_epoch(time: SystemTime) -> (i64, u32) {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (whole(after), after.subsec_nanos()),
        Err(error) => match (whole(error.duration()), error.duration().subsec_nanos()) {
            (seconds, 0) => (-seconds, 0),
            (seconds, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
        },
    }
}

fn date_and_time(seconds: i64) -> String {
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)
}

/// The Gregorian date of a day counted from 1970-01-01.
///
/// Years are taken to begin in March, so that the leap day is the last of its year; 719 468 days lie
/// between 0000-03-01 and the epoch, 146 097 in the 400 years after which the calendar repeats.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, five months have 153 days: 31, 30, 31, 30, 31.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expectations from `date -u -d @SECONDS +%FT%TZ`.
    #[test]
    fn prints_known_points_in_time() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_363_254, "2026-11-22T16:00:54Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn keeps_only_the_digits_of_the_fraction_that_matter() {
        for (nanoseconds, expected) in [
            (0, "1970-01-01T00:00:01Z"),
            (1, "1970-01-01T00:00:01.000000001Z"),
            (120_000_000, "1970-01-01T00:00:01.12Z"),
            (999_999_999, "1970-01-01T00:00:01.999999999Z"),
        ] {
            assert_eq!(rfc3339_nano(UNIX_EPOCH + Duration::new(1, nanoseconds)), expected);
        }
        let before = UNIX_EPOCH - Duration::new(0, 1);
        assert_eq!(rfc3339_nano(before), "1969-12-31T23:59:59.999999999Z");
    }
}
