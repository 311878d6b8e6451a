//! Strings as system calls want them, found in bytes.

use std::ffi::CStr;

/// The string that ends at the first NUL of `bytes`; `None` when there is none. As
/// [`CStr::from_bytes_until_nul`], but made to be inlined: the child needs it at every step, and the
/// standard library's lies in a part of the program that its process would not touch otherwise.
#[inline]
#[must_use]
pub fn until_nul(bytes: &[u8]) -> Option<&CStr> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let whole = bytes.get(..=end)?;
    // SAFETY: the last byte is the first NUL.
    Some(unsafe { CStr::from_bytes_with_nul_unchecked(whole) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_at_the_first_nul() {
        assert_eq!(until_nul(b"a\0b\0"), Some(c"a"));
        assert_eq!(until_nul(b"\0"), Some(c""));
        assert_eq!(until_nul(b"abc"), None);
        assert_eq!(until_nul(b""), None);
    }
}
