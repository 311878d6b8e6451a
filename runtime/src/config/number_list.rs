//! Lists of processors or memory nodes as cpuset(7) writes them, `0-3,7`, read into masks of bits.

use super::error::Kind;
use super::field::Field;
use crate::limits::LISTED_NUMBER_MAX;

/// The mask of a field: bit n%64 of word n/64 for the number n. `None` where the field is absent, empty
/// or refused, which `noun` is for.
pub(super) fn read(field: &Field<'_>, noun: &str) -> Option<Vec<u64>> {
    let list = field.string().filter(|list| !list.is_empty())?;
    let mask = parse(list);
    if mask.is_none() {
        let detail = format!(
            "invalid {noun} {list:?}: no list like 0-3,7 of numbers up to {LISTED_NUMBER_MAX}"
        );
        field.refuse(Kind::Invalid, detail);
    }
    mask
}

/// Blanks around the parts and commas too many are passed over, as runc does; a list without any
/// number is none.
fn parse(list: &str) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        for number in first..=last {
            mask[number / 64] |= 1 << (number % 64);
        }
    }
    if mask.is_empty() { None } else { Some(mask) }
}

fn number(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= LISTED_NUMBER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        assert_eq!(parse("0-1,9"), Some(vec![0b10_0000_0011]));
        assert_eq!(parse("3"), Some(vec![0b1000]));
        assert_eq!(parse(" 1, ,0 ,"), Some(vec![0b11]));
        assert_eq!(
            parse("64,2000").map(|mask| (mask.len(), mask[1], mask[31])),
            Some((32, 1, 1 << 16))
        );
        for bad in ["", ",", "a", "3-1", "-1", "+1", "65537", "0-", "1-2-3", "0-9876543210", "0x1"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
