//! `.dockerignore`: which files of the context do not take part.
//!
//! Patterns are anchored at the root of the context, a pattern matches everything below what it
//! matches, and the last pattern that matches decides; `!` lets files in again. It is not the
//! `.gitignore` language, where a name matches at any depth.

use super::glob::{Glob, Stars};

/// A compiled `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: Glob,
    text: String,
    /// `!`: a match lets the file in.
    exception: bool,
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct IgnoreError {
    /// The line, from 1; for patterns that came from flags, their number.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// What the patterns say of one path; kept while its children are visited.
#[derive(Debug, Clone)]
pub struct Verdict {
    matched: Vec<bool>,
    /// Whether the path is left out.
    pub ignored: bool,
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    ///
    /// # Errors
    /// The first pattern that cannot be read.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        Self::compile(lines.map(|(index, line)| (index + 1, line)))
    }

    /// Compiles the patterns of `--exclude`.
    ///
    /// # Errors
    /// The first pattern that cannot be read.
    pub fn from_patterns(patterns: &[String]) -> Result<Self, IgnoreError> {
        Self::compile(patterns.iter().enumerate().map(|(index, text)| (index + 1, text.as_str())))
    }

    fn compile<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (line, text) in lines {
            let text = text.trim();
            let (exception, text) = match text.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, text),
            };
            if text.is_empty() {
                if exception {
                    let message = "illegal exclusion pattern: \"!\"".to_owned();
                    return Err(IgnoreError { line, message });
                }
                continue;
            }
            let text = clean(text);
            let glob = Glob::compile(&text, Stars::Any)
                .map_err(|message| IgnoreError { line, message })?;
            patterns.push(Pattern { glob, text, exception });
        }
        Ok(Self { patterns })
    }

    /// Whether nothing is ever left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The verdict on the root of the context, which is never left out.
    #[must_use]
    pub fn root(&self) -> Verdict {
        Verdict { matched: vec![false; self.patterns.len()], ignored: false }
    }

    /// The verdict on `path`, whose parent directory got `parent`.
    #[must_use]
    pub fn judge(&self, parent: &Verdict, path: &str) -> Verdict {
        let mut ignored = false;
        let mut matched = Vec::with_capacity(self.patterns.len());
        for (pattern, above) in self.patterns.iter().zip(&parent.matched) {
            let fits = *above || pattern.glob.matches(path);
            if fits {
                ignored = !pattern.exception;
            }
            matched.push(fits);
        }
        Verdict { matched, ignored }
    }

    /// The verdict on a path of which only the text is known.
    #[must_use]
    pub fn judge_path(&self, path: &str) -> Verdict {
        let mut verdict = self.root();
        for (at, _) in path.match_indices('/') {
            verdict = self.judge(&verdict, &path[..at]);
        }
        self.judge(&verdict, path)
    }

    /// Whether an exception could let in something below the directory `path`, which is left out:
    /// only then it must be visited.
    #[must_use]
    pub fn may_admit_below(&self, path: &str) -> bool {
        self.patterns.iter().filter(|p| p.exception).any(|p| reaches_below(&p.text, path))
    }
}

/// Whether the components of `directory` can be the beginning of what `pattern` matches.
fn reaches_below(pattern: &str, directory: &str) -> bool {
    let mut parts = pattern.split('/');
    for component in directory.split('/') {
        let Some(part) = parts.next() else { return false };
        if part.contains("**") {
            return true;
        }
        let fits = Glob::compile(part, Stars::Any).is_ok_and(|glob| glob.matches(component));
        if !fits {
            return false;
        }
    }
    parts.next().is_some()
}

/// The path without `.`, `..` where it can be resolved, double slashes, and slashes at both ends.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if text.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    fn ignored(patterns: &str, path: &str) -> bool {
        Ignore::parse(patterns).unwrap().judge_path(path).ignored
    }

    #[test]
    fn anchors_at_the_root_and_covers_what_is_below() {
        for (patterns, path, expected) in [
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("./x/../a", "a", true),
            ("*.o", "x.o", true),
            ("*.o", "d/x.o", false),
            ("**/*.o", "d/e/x.o", true),
            ("*", "d/x", true),
            ("*/x", "d/x/y", true),
            ("#a\n a ", "a", true),
            (" #a", "#a", true),
            ("\u{feff}a", "a", true),
            ("", "a", false),
            ("a\n!a/b", "a/b", false),
            ("a\n!a/b", "a/c", true),
            ("a\n!a/b\na/b/c", "a/b/c", true),
            ("!a\na", "a", true),
            ("*\n!src\nsrc/*.o", "src/x.c", false),
            ("*\n!src\nsrc/*.o", "src/x.o", true),
            ("docs/**\n!docs/**/*.md", "docs/a/b.md", false),
            ("docs/**\n!docs/**/*.md", "docs/a/b.txt", true),
        ] {
            assert_eq!(ignored(patterns, path), expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn visits_ignored_directories_only_for_exceptions() {
        let below = |patterns: &str, path| Ignore::parse(patterns).unwrap().may_admit_below(path);
        assert!(!below("*", "a"));
        assert!(below("*\n!a/b", "a"));
        assert!(!below("*\n!a/b", "b"));
        assert!(below("*\n!*/b/c", "x/b"));
        assert!(below("*\n!**/keep", "x/y"));
        assert!(!below("*\n!a", "a/b"));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert_eq!(Ignore::parse("a\n!").unwrap_err().line, 2);
        assert!(Ignore::parse("[").unwrap_err().to_string().starts_with("line 1: "));
    }
}
