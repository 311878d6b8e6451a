//! One piece of memory for all strings of a plan, so that the child finds every path NUL-terminated
//! and needs no memory of its own.

use std::ffi::CStr;

use crate::sys::text::until_nul;

/// Strings, each followed by a NUL.
#[derive(Debug, Clone, Default)]
pub struct Arena {
    bytes: Vec<u8>,
}

/// A string in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    start: u32,
    length: u32,
}

impl Arena {
    /// Stores a string. What follows a NUL byte is cut off, as the kernel would do.
    pub fn add(&mut self, text: impl AsRef<[u8]>) -> Text {
        let text = text.as_ref().split(|byte| *byte == 0).next().unwrap_or_default();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        self.bytes.push(0);
        // Configs are bounded far below 4 GiB, so both always fit.
        Text {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            length: u32::try_from(text.len()).unwrap_or(0),
        }
    }

    /// The string as a system call wants it. Allocates nothing.
    #[must_use]
    pub fn c_str(&self, text: Text) -> &CStr {
        let start = text.start as usize;
        let end = start + text.length as usize + 1;
        self.bytes.get(start..end).and_then(until_nul).unwrap_or(c"")
    }

    /// The string for a human.
    #[must_use]
    pub fn show(&self, text: Text) -> std::borrow::Cow<'_, str> {
        self.c_str(text).to_string_lossy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_stored() {
        let mut arena = Arena::default();
        let first = arena.add("proc");
        let empty = arena.add("");
        let cut = arena.add("a\0b");
        assert_eq!(arena.c_str(first), c"proc");
        assert_eq!(arena.c_str(empty), c"");
        assert_eq!(arena.show(cut), "a");
    }
}
