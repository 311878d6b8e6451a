//! The user of a further process: numbers only, and nothing that merely looks like one.

use super::quote::quoted;

/// The value of `exec --user`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id, where one was given.
    pub gid: Option<u32>,
}

impl User {
    /// Reads `UID` or `UID:GID`.
    ///
    /// A lenient reader is a privilege escalation (CVE-2026-30892: `1` was taken for uid 0), so both
    /// numbers must be decimal digits to the last byte, and the id that stands for "no id" in the
    /// kernel's calls is refused.
    ///
    /// # Errors
    /// The text is anything else; the message names it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (uid, gid) = match text.split_once(':') {
            None => (text, None),
            Some((uid, gid)) => (uid, Some(gid)),
        };
        let parsed = match (parse_id(uid), gid.map(parse_id)) {
            (Some(uid), None) => Some(Self { uid, gid: None }),
            (Some(uid), Some(Some(gid))) => Some(Self { uid, gid: Some(gid) }),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!("invalid user {}: expected UID or UID:GID, both decimal", quoted(text))
        })
    }
}

/// A user or group id: decimal digits, below the id that `setresuid(2)` takes for "leave as it is".
pub(super) fn parse_id(text: &str) -> Option<u32> {
    let only_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_or_two_ids() {
        for (text, uid, gid) in [
            ("0", 0, None),
            ("1", 1, None),
            ("1:2", 1, Some(2)),
            ("1000:0", 1000, Some(0)),
            ("007", 7, None),
            ("4294967294:4294967294", 4_294_967_294, Some(4_294_967_294)),
        ] {
            assert_eq!(User::parse(text), Ok(User { uid, gid }), "{text}");
        }
    }

    /// CVE-2026-30892 and the other ways to be read as somebody else.
    #[test]
    fn refuses_everything_else_and_names_it() {
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "1:2:3",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1: 2",
            "0x1",
            "1e3",
            "1.0",
            "root",
            "1:root",
            "4294967295",
            "1:4294967295",
            "4294967296",
            "18446744073709551617",
            "١",
        ] {
            let error = User::parse(text).unwrap_err();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
