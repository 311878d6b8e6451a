//! Extended headers of PAX: records `LENGTH KEY=VALUE\n`, where the length counts the whole record
//! and alone says where it ends, because values may hold any byte.

use super::Problem;
use crate::fsroot::Xattr;
use crate::spec::Timestamp;

/// The records of one extended header, in their order: sparse maps repeat keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, Problem> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|b| *b == b' ').ok_or(Problem::ExtendedRecord)?;
            let length = decimal(&bytes[..space]).ok_or(Problem::ExtendedRecord)?;
            let length = usize::try_from(length).map_err(|_| Problem::ExtendedRecord)?;
            let record = bytes.get(space + 1..length).ok_or(Problem::ExtendedRecord)?;
            let (b'\n', record) = record.split_last().ok_or(Problem::ExtendedRecord)? else {
                return Err(Problem::ExtendedRecord);
            };
            let equals = record.iter().position(|b| *b == b'=').ok_or(Problem::ExtendedRecord)?;
            let key = &record[..equals];
            if key.is_empty() || key.contains(&0) {
                return Err(Problem::ExtendedRecord);
            }
            records.push((key.to_vec(), record[equals + 1..].to_vec()));
            bytes = &bytes[length..];
        }
        Ok(Self(records))
    }

    /// These records where `local` has none of the same key. An empty value takes a key back.
    pub(super) fn overlaid(&self, local: Option<Self>) -> Self {
        let local = local.unwrap_or_default();
        if self.0.is_empty() {
            return local;
        }
        let kept = self.0.iter().filter(|(key, _)| !local.0.iter().any(|(k, _)| k == key));
        Self(kept.chain(&local.0).cloned().collect())
    }

    /// How much memory the records take.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    /// The last value of `key`; an empty one is no value.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        let record = self.0.iter().rev().find(|(k, _)| k == key.as_bytes())?;
        Some(record.1.as_slice()).filter(|value| !value.is_empty())
    }

    /// All values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))
    }

    pub(super) fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with(prefix.as_bytes()))
    }

    pub(super) fn number(&self, key: &'static str) -> Result<Option<u64>, Problem> {
        self.get(key).map(|v| decimal(v).ok_or(Problem::Number { field: key })).transpose()
    }

    pub(super) fn time(&self, key: &'static str) -> Result<Option<Timestamp>, Problem> {
        self.get(key).map(|v| time(v).ok_or(Problem::Number { field: key })).transpose()
    }

    /// The extended attributes: as star and GNU tar write them, and as libarchive does, whose names
    /// are percent-encoded and whose values are base 64. Sorted, each name once.
    pub(super) fn xattrs(&self) -> Result<Vec<Xattr>, Problem> {
        let mut attributes = std::collections::BTreeMap::new();
        for (key, value) in self.iter() {
            if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let name = percent_decoded(name).ok_or(Problem::ExtendedRecord)?;
                let value = base64_decoded(value).ok_or(Problem::ExtendedRecord)?;
                attributes.entry(name).or_insert(value);
            }
        }
        for (key, value) in self.iter() {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                attributes.insert(name.to_vec(), value.to_vec());
            }
        }
        if attributes.keys().any(|name| name.is_empty() || name.contains(&0)) {
            return Err(Problem::ExtendedRecord);
        }
        Ok(attributes.into_iter().collect())
    }
}

/// Digits only; no sign and no space.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds with an optional sign and an optional fraction, cut after nanoseconds.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..dot])?).ok()?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| u32::from(fraction.get(at).map_or(0, |b| b - b'0'));
    let nanoseconds = (0..9).fold(0_u32, |value, at| value * 10 + digit(at));
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, n) => Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - n },
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    Some(decoded)
}

/// What [`percent_decoded`] reads; printable characters stay but for those that mean something.
pub(super) fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'%' | b'=') => encoded.push(*byte),
            _ => encoded.extend(format!("%{byte:02X}").into_bytes()),
        }
    }
    encoded
}

/// Base 64 without padding, as libarchive writes it.
pub(super) fn base64_encoded(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        // So many bytes need one digit more.
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            encoded.push(DIGITS[(bits >> shift & 63) as usize]);
        }
    }
    encoded
}

/// Base 64 with padding or without.
pub(crate) fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    // Libarchive leaves the padding out; others write it.
    for byte in text.iter().filter(|b| **b != b'=' && **b != b'\n') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn splits_records_by_their_length() {
        let records = Records::parse(b"24 SCHILY.xattr.a.b=x\ny\n11 path=ab\n").unwrap();
        assert_eq!(records.get("path"), Some(&b"ab"[..]));
        assert_eq!(records.xattrs().unwrap(), [(b"a.b".to_vec(), b"x\ny".to_vec())]);
        for bad in [&b"5 a=b"[..], b"6 a=b\nx", b"99 a=b\n", b"0 a=b\n", b"-6 a=b\n", b"6 =ab\n"] {
            assert!(Records::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reads_times_before_1970() {
        let at = |t: &str| time(t.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(at("1.5"), Some((1, 500_000_000)));
        assert_eq!(at("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(at("-3"), Some((-3, 0)));
        assert_eq!(at("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(at("1e3"), None);
    }

    #[test]
    fn reads_the_attributes_of_libarchive() {
        let records = Records::parse(b"36 LIBARCHIVE.xattr.user.a%3db=AAEC\n").unwrap();
        assert_eq!(records.xattrs().unwrap(), [(b"user.a=b".to_vec(), vec![0, 1, 2])]);
    }

    #[test]
    fn encodes_what_it_decodes() {
        assert_eq!(percent_encoded(b"user.a=b%c \xff"), b"user.a%3Db%25c%20%FF");
        for bytes in [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfc", b"=%\0\n"] {
            assert_eq!(percent_decoded(&percent_encoded(bytes)).unwrap(), bytes);
            assert_eq!(base64_decoded(&base64_encoded(bytes)).unwrap(), bytes);
        }
        assert_eq!(base64_encoded(b"\0\x01\x02a"), b"AAECYQ");
    }
}
