//! `--version`: three lines that callers take apart by their first words.

use super::program::Name;

/// The version of the runtime specification that is followed.
pub use crate::config::SPECIFICATION as SPEC;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, where the builder told.
pub const COMMIT: &str = match option_env!("KEEL_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The text of `--version`.
///
/// Clients of runc demand the first line to begin with `runc version`, so it does under that name; the
/// build suffix says who answers.
#[must_use]
pub fn text(name: Name) -> String {
    let first = match name {
        Name::Keel => format!("keel version {VERSION}"),
        Name::Runc => format!("runc version {VERSION}+keel"),
    };
    format!("{first}\ncommit: {COMMIT}\nspec: {SPEC}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_a_line_each_for_version_commit_and_specification() {
        let own = text(Name::Keel);
        let lines: Vec<_> = own.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], format!("keel version {VERSION}"));
        assert_eq!(lines[1], format!("commit: {COMMIT}"));
        assert_eq!(lines[2], "spec: 1.3.0");
        let alias = text(Name::Runc);
        assert!(alias.starts_with("runc version "), "{alias}");
        assert!(alias.lines().next().is_some_and(|line| line.ends_with("+keel")), "{alias}");
    }
}
