//! Sizes of memory as callers write them: bytes, or a number with `k`, `m`, `g`, `t` or `p`, powers
//! of 1024, behind which `b` or `ib` may stand.

/// Reads a size in bytes. `None` for what is none, and for what 63 bits do not hold.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let number_end = text.rfind(|c: char| c.is_ascii_digit() || ". ".contains(c))? + 1;
    let (number, unit) = text.split_at(number_end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let shift = shift(&unit.to_ascii_lowercase())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = whole.parse::<i64>().ok()?.checked_mul(1 << shift)?;
    // More digits than these say less than a byte.
    let fraction = fraction.get(..15).unwrap_or(fraction);
    let parts = i128::from(fraction.parse::<i64>().ok()?) << shift;
    let parts = parts / 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_add(i64::try_from(parts).ok()?)
}

fn shift(unit: &str) -> Option<u32> {
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    match letter {
        "" if unit != "ib" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bytes_and_units() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32 B", 32),
            ("1k", 1 << 10),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("0.1k", 102),
            ("2 tib", 2 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "", "m", "-1", "-5m", "1x", "1ib", "1.m", ".5m", "1  m", "1.2.3", "99999p", "1é", "0x5",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
