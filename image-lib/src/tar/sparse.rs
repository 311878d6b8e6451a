//! Files with holes, in the four forms that GNU tar has written: the old header `S`, and PAX 0.0,
//! 0.1 and 1.0.

use super::header::{BLOCK, number};
use super::pax::{Records, decimal};
use super::{Problem, header};

/// The most segments of one file.
const SEGMENTS_MAX: usize = 1 << 16;

/// Where the stored bytes of a file belong: offset and length of each run, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) size: u64,
}

impl Map {
    /// Checks that the runs ascend, lie inside the file and make up what is stored.
    pub(super) fn checked(self, stored: u64) -> Result<Self, Problem> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for (offset, length) in &self.segments {
            if *offset < end {
                return Err(Problem::Sparse);
            }
            end = offset.checked_add(*length).ok_or(Problem::Sparse)?;
            sum = sum.checked_add(*length).ok_or(Problem::Sparse)?;
        }
        if end > self.size || sum != stored {
            return Err(Problem::Sparse);
        }
        Ok(self)
    }
}

/// The map of an old sparse header while its extension blocks are read.
#[derive(Debug)]
pub(super) struct OldMap {
    map: Map,
    pub(super) continues: bool,
}

impl OldMap {
    pub(super) fn begin(block: &[u8; BLOCK]) -> Result<Self, Problem> {
        let size = number(&block[483..495]).and_then(|n| u64::try_from(n).ok());
        let map = Map { segments: Vec::new(), size: size.ok_or(Problem::Sparse)? };
        let mut begun = Self { map, continues: block[482] != 0 };
        begun.add(&block[386..482])?;
        Ok(begun)
    }

    pub(super) fn extend(&mut self, block: &[u8; header::BLOCK]) -> Result<(), Problem> {
        self.add(&block[..504])?;
        self.continues = block[504] != 0;
        Ok(())
    }

    fn add(&mut self, table: &[u8]) -> Result<(), Problem> {
        for pair in table.chunks_exact(24) {
            if pair[0] == 0 && pair[12] == 0 {
                break;
            }
            let field = |f: &[u8]| number(f).and_then(|n| u64::try_from(n).ok());
            match (field(&pair[..12]), field(&pair[12..])) {
                (Some(offset), Some(length)) => self.map.segments.push((offset, length)),
                _ => return Err(Problem::Sparse),
            }
        }
        if self.map.segments.len() > SEGMENTS_MAX {
            return Err(Problem::Limit { what: "sparse segments", limit: SEGMENTS_MAX as u64 });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Map {
        self.map
    }
}

/// The form of a PAX sparse file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PaxSparse {
    /// The map is in the records (0.0 and 0.1).
    Known(Map),
    /// The map stands before the content (1.0).
    InContent {
        /// The size of the file with its holes.
        size: u64,
    },
}

pub(super) fn of_records(records: &Records) -> Result<Option<PaxSparse>, Problem> {
    if !records.has_prefix("GNU.sparse.") {
        return Ok(None);
    }
    let version = (records.number("GNU.sparse.major")?, records.number("GNU.sparse.minor")?);
    let size = match records.number("GNU.sparse.realsize")? {
        Some(size) => size,
        None => records.number("GNU.sparse.size")?.ok_or(Problem::Sparse)?,
    };
    match version {
        (Some(1), Some(0)) => return Ok(Some(PaxSparse::InContent { size })),
        (None | Some(0), _) => {}
        _ => return Err(Problem::Sparse),
    }
    let numbers: Option<Vec<u64>> = match records.get("GNU.sparse.map") {
        Some(map) => map.split(|b| *b == b',').map(decimal).collect(),
        None => repeated(records),
    };
    let numbers = numbers.ok_or(Problem::Sparse)?;
    if numbers.len() % 2 != 0 || numbers.len() > SEGMENTS_MAX * 2 {
        return Err(Problem::Sparse);
    }
    let count = records.number("GNU.sparse.numblocks")?;
    if count.is_some_and(|count| count != numbers.len() as u64 / 2) {
        return Err(Problem::Sparse);
    }
    let segments = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    Ok(Some(PaxSparse::Known(Map { segments, size })))
}

/// Form 0.0 repeats two keys in turn.
fn repeated(records: &Records) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for (key, value) in records.iter() {
        let expects_offset = numbers.len() % 2 == 0;
        match key {
            b"GNU.sparse.offset" if expects_offset => numbers.push(decimal(value)?),
            b"GNU.sparse.numbytes" if !expects_offset => numbers.push(decimal(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => return None,
            _ => {}
        }
    }
    Some(numbers)
}

/// Reads the map that stands before the content: a count and then pairs, each number a line.
/// Returns the map and how many bytes it took with its padding.
pub(super) fn from_content(
    size: u64,
    mut next_block: impl FnMut() -> Result<[u8; BLOCK], super::TarError>,
    refuse: impl Fn(Problem) -> super::TarError,
) -> Result<(Map, u64), super::TarError> {
    let mut text: Vec<u8> = Vec::new();
    let mut taken = 0_u64;
    let mut position = 0;
    let mut line = || -> Result<u64, super::TarError> {
        loop {
            if let Some(end) = text[position..].iter().position(|b| *b == b'\n') {
                let number = decimal(&text[position..position + end]);
                position += end + 1;
                return number.ok_or_else(|| refuse(Problem::Sparse));
            }
            // No number is longer than 20 digits.
            if text.len() - position > 20 {
                return Err(refuse(Problem::Sparse));
            }
            text.extend_from_slice(&next_block()?);
            taken += BLOCK as u64;
        }
    };
    let count = line()?;
    if count > SEGMENTS_MAX as u64 {
        return Err(refuse(Problem::Limit { what: "sparse segments", limit: SEGMENTS_MAX as u64 }));
    }
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push((line()?, line()?));
    }
    Ok((Map { segments, size }, taken))
}
