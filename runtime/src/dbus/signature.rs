//! Signatures: types in letters (D-Bus Specification, "Type System").

/// Nesting that the specification allows, of arrays and of structs alike.
const DEPTH_MAX: u32 = 32;

/// Longest signature in bytes; its length is one byte.
pub const BYTES_MAX: usize = 255;

/// The types of a signature, one after the other; `None` when it is no signature.
#[must_use]
pub fn types(signature: &str) -> Option<Vec<&str>> {
    if signature.len() > BYTES_MAX {
        return None;
    }
    let mut types = Vec::new();
    let mut rest = signature;
    while !rest.is_empty() {
        let end = end_of_type(rest.as_bytes(), Depth::default())?;
        let (first, others) = rest.split_at_checked(end)?;
        types.push(first);
        rest = others;
    }
    Some(types)
}

/// Whether this is exactly one type.
#[must_use]
pub fn is_single(signature: &str) -> bool {
    types(signature).is_some_and(|types| types.len() == 1)
}

/// On what boundary values of a type begin, by the type's first letter.
pub(super) fn alignment(first: u8) -> usize {
    match first {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

#[derive(Clone, Copy, Default)]
struct Depth {
    arrays: u32,
    structs: u32,
}

/// The length of the first type.
fn end_of_type(text: &[u8], depth: Depth) -> Option<usize> {
    if depth.arrays > DEPTH_MAX || depth.structs > DEPTH_MAX {
        return None;
    }
    match text.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g'
        | b'v' => Some(1),
        b'a' => {
            let depth = Depth { arrays: depth.arrays + 1, ..depth };
            match text.get(1)? {
                b'{' => end_of_entry(text, depth),
                _ => Some(1 + end_of_type(text.get(1..)?, depth)?),
            }
        }
        b'(' => {
            let depth = Depth { structs: depth.structs + 1, ..depth };
            let mut at = 1;
            while *text.get(at)? != b')' {
                at += end_of_type(text.get(at..)?, depth)?;
            }
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

/// The length of `a{…}`: a key without parts, and one value.
fn end_of_entry(text: &[u8], depth: Depth) -> Option<usize> {
    const KEY: usize = 2;
    let depth = Depth { structs: depth.structs + 1, ..depth };
    if matches!(text.get(KEY)?, b'a' | b'(' | b'v') {
        return None;
    }
    let value = KEY + end_of_type(text.get(KEY..)?, depth)?;
    let end = value + end_of_type(text.get(value..)?, depth)?;
    (*text.get(end)? == b'}').then_some(end + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn splits_types() {
        assert_eq!(types("").unwrap(), Vec::<&str>::new());
        assert_eq!(types("ssa(sv)a(sa(sv))").unwrap(), ["s", "s", "a(sv)", "a(sa(sv))"]);
        assert_eq!(types("a{sv}aay(i(u))").unwrap(), ["a{sv}", "aay", "(i(u))"]);
        assert!(is_single("a{sa{sv}}"));
        assert!(!is_single("ss"));
    }

    #[test]
    fn refuses_what_is_no_signature() {
        for text in
            ["a", "(", "()", "(s", ")", "{ss}", "a{s}", "a{sss}", "a{vs}", "h", "é", "a{(s)s}"]
        {
            assert_eq!(types(text), None, "{text}");
        }
        assert!(types(&format!("{}y", "a".repeat(32))).is_some());
        assert_eq!(types(&format!("{}y", "a".repeat(33))), None);
        assert_eq!(types(&"y".repeat(256)), None);
    }
}
