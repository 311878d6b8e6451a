//! The 512 bytes before every entry.

use super::{Problem, sparse};
use crate::spec::Timestamp;

/// The unit of an archive.
pub(super) const BLOCK: usize = 512;

/// What the format fields of a header say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// Before POSIX: no magic.
    V7,
    /// POSIX, with a prefix of 155 bytes.
    Ustar,
    /// Schilling's tar, with a prefix of 131 bytes.
    Star,
    /// GNU's, without a prefix.
    Gnu,
}

/// A header's own fields, before extended headers are applied.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) flag: u8,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: i128,
    pub(super) gid: i128,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) device: (u32, u32),
    /// The map and the real size that GNU's old sparse header begins.
    pub(super) sparse: Option<sparse::OldMap>,
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// Octal digits between spaces and NULs, or base 256 where the first bit is set.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the whole field, of which the first bit is only the mark; the
        // second is the sign.
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            let byte = match (index, negative) {
                (0, false) => byte & 0x7f,
                (0, true) => byte | 0x80,
                _ => *byte,
            };
            value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
            if index == 0 && negative {
                // The first byte's own high bits stand for the sign already.
                value = i128::from(byte) - 256;
            }
        }
        return Some(value);
    }
    let is_padding = |b: &u8| *b == b' ' || *b == 0;
    let start = field.iter().position(|b| !is_padding(b)).unwrap_or(field.len());
    let rest = &field[start..];
    let end = rest.iter().position(is_padding).unwrap_or(rest.len());
    if !rest[end..].iter().all(is_padding) {
        return None;
    }
    rest[..end].iter().try_fold(0_i128, |value, byte| match byte {
        b'0'..=b'7' => Some(value * 8 + i128::from(byte - b'0')),
        _ => None,
    })
}

fn integer<T: TryFrom<i128>>(field: &[u8], name: &'static str) -> Result<T, Problem> {
    number(field).and_then(|n| T::try_from(n).ok()).ok_or(Problem::Number { field: name })
}

fn checksum_fits(block: &[u8; BLOCK]) -> bool {
    let Some(expected) = number(&block[148..156]) else { return false };
    let mut plain = 0_i128;
    let mut signed = 0_i128;
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        plain += i128::from(byte);
        // Some old programs summed signed characters.
        signed += i128::from(byte.cast_signed());
    }
    expected == plain || expected == signed
}

fn format(block: &[u8; BLOCK]) -> Format {
    match (&block[257..263], &block[263..265]) {
        (b"ustar\0", _) if &block[508..512] == b"tar\0" => Format::Star,
        (b"ustar\0", _) => Format::Ustar,
        (b"ustar ", b" \0") => Format::Gnu,
        _ => Format::V7,
    }
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Problem> {
        if !checksum_fits(block) {
            return Err(Problem::Checksum);
        }
        let format = format(block);
        let prefix = match format {
            Format::Ustar => text(&block[345..500]),
            Format::Star => text(&block[345..476]),
            Format::V7 | Format::Gnu => b"",
        };
        let mut path = prefix.to_vec();
        if !prefix.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(text(&block[..100]));
        let flag = block[156];
        let is_device = matches!(flag, b'3' | b'4') && format != Format::V7;
        let device = if is_device {
            (integer(&block[329..337], "devmajor")?, integer(&block[337..345], "devminor")?)
        } else {
            (0, 0)
        };
        let mode: u64 = integer(&block[100..108], "mode")?;
        let seconds = integer::<i64>(&block[136..148], "mtime")?;
        let sparse = (flag == b'S').then(|| sparse::OldMap::begin(block)).transpose()?;
        Ok(Self {
            path,
            flag,
            link: text(&block[157..257]).to_vec(),
            // Some writers add the bits of the file type.
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: number(&block[108..116]).ok_or(Problem::Number { field: "uid" })?,
            gid: number(&block[116..124]).ok_or(Problem::Number { field: "gid" })?,
            size: integer(&block[124..136], "size")?,
            mtime: Timestamp::from_seconds(seconds),
            device,
            sparse,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_octal_and_base_256() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"64x"), None);
        assert_eq!(number(b"64 7"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x20, 0, 0]), Some(0x20_0000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xfe]), Some(-2));
    }
}
