//! What a program says about who runs it: the first line of a script, a header of ELF (elf(5)).

/// Where the path of the interpreter is.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// Here.
    Path(&'a [u8]),
    /// In the file.
    At {
        /// Bytes from its beginning.
        offset: u64,
        /// How many, with the zero at the end.
        bytes: usize,
    },
}

/// Who runs the program with this beginning; nothing if it runs itself, or is none.
#[must_use]
pub fn interpreter(head: &[u8]) -> Option<Named<'_>> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word =
            line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty());
        return word.map(Named::Path);
    }
    // Of 64 bits, the least significant first.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    const INTERPRETER: u64 = 3;
    let table = usize::try_from(number(head, 32, 8)?).ok()?;
    let (entry_bytes, count) = (number(head, 54, 2)?, number(head, 56, 2)?);
    (0..count).find_map(|index| {
        let at = table.checked_add(usize::try_from(index.checked_mul(entry_bytes)?).ok()?)?;
        if number(head, at, 4)? != INTERPRETER {
            return None;
        }
        let offset = number(head, at.checked_add(8)?, 8)?;
        let bytes = usize::try_from(number(head, at.checked_add(32)?, 8)?).ok()?;
        Some(Named::At { offset, bytes })
    })
}

/// An unsigned number of `bytes` bytes.
fn number(head: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let field = head.get(at..at.checked_add(bytes)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::{Named, interpreter};

    #[test]
    fn finds_who_runs_a_program() {
        assert_eq!(interpreter(b"#!/bin/sh -e\necho"), Some(Named::Path(b"/bin/sh")));
        assert_eq!(interpreter(b"#! \t/usr/bin/env python"), Some(Named::Path(b"/usr/bin/env")));
        assert_eq!(interpreter(b"#!\n/bin/sh"), None);
        assert_eq!(interpreter(b"echo"), None);
        let own = std::fs::read("/bin/sh").unwrap();
        let Some(Named::At { offset, bytes }) = interpreter(&own[..4096]) else {
            panic!("no loader")
        };
        let at = usize::try_from(offset).unwrap();
        assert!(
            own[at..at + bytes].ends_with(b".so.2\0") || own[at..at + bytes].ends_with(b".so.1\0")
        );
    }

    #[test]
    fn takes_no_harm_from_odd_headers() {
        let mut head = b"\x7fELF\x02\x01".to_vec();
        head.resize(64, 0xff);
        assert_eq!(interpreter(&head), None);
        assert_eq!(interpreter(&head[..20]), None);
    }
}
