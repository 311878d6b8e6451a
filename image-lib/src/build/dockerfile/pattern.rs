//! The patterns of `${name#pattern}` and its kin: only `*` and `?` are special.

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Any,
}

impl Pattern {
    /// Compiles `text`, in which `\` stands before a `*`, `?`, `\`, `/` or `}` that is meant
    /// literally. Gives the escape that is none of those.
    ///
    /// # Errors
    /// The invalid escape.
    pub fn compile(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(next @ ('*' | '?' | '\\' | '/' | '}')) => Token::Literal(next),
                    Some(next) => return Err(format!("invalid escape '\\{next}'")),
                    None => return Err("invalid escape '\\'".to_owned()),
                },
                literal => Token::Literal(literal),
            });
        }
        Ok(Self(tokens))
    }

    /// Byte lengths of the prefixes of `text` that match, the shortest first.
    fn matches(&self, text: &str) -> Vec<usize> {
        self.lengths(text.chars())
    }

    fn lengths(&self, text: impl Iterator<Item = char>) -> Vec<usize> {
        // A row holds, for each place in the pattern, whether it can be reached; one row per
        // character keeps the time bounded by the product of both lengths.
        let mut row = vec![false; self.0.len() + 1];
        row[0] = true;
        self.skip_any(&mut row);
        let mut lengths = Vec::new();
        let mut at = 0;
        for c in text {
            if row[self.0.len()] {
                lengths.push(at);
            }
            let mut next = vec![false; row.len()];
            for (index, token) in self.0.iter().enumerate().filter(|(index, _)| row[*index]) {
                match token {
                    Token::Any => next[index] = true,
                    Token::One => next[index + 1] = true,
                    Token::Literal(literal) if *literal == c => next[index + 1] = true,
                    Token::Literal(_) => {}
                }
            }
            self.skip_any(&mut next);
            row = next;
            at += c.len_utf8();
        }
        if row[self.0.len()] {
            lengths.push(at);
        }
        lengths
    }

    fn skip_any(&self, row: &mut [bool]) {
        for (index, token) in self.0.iter().enumerate() {
            if row[index] && *token == Token::Any {
                row[index + 1] = true;
            }
        }
    }

    /// `text` without the prefix that matches; the longest one if `greedy`.
    #[must_use]
    pub fn without_prefix<'a>(&self, text: &'a str, greedy: bool) -> &'a str {
        let lengths = self.matches(text);
        let found = if greedy { lengths.last() } else { lengths.first() };
        found.map_or(text, |length| &text[*length..])
    }

    /// `text` without the suffix that matches; the longest one if `greedy`.
    #[must_use]
    pub fn without_suffix<'a>(&self, text: &'a str, greedy: bool) -> &'a str {
        // Backwards a suffix is a prefix, and looked for once instead of from every place.
        let backwards = Self(self.0.iter().rev().copied().collect());
        let lengths = backwards.lengths(text.chars().rev());
        let found = if greedy { lengths.last() } else { lengths.first() };
        found.map_or(text, |length| &text[..text.len() - length])
    }

    /// `text` with the first match, or with `all` of them, replaced; matches are the longest.
    #[must_use]
    pub fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        let mut result = String::new();
        let mut at = 0;
        while at < text.len() {
            if let Some(length) = self.matches(&text[at..]).last().filter(|length| **length > 0) {
                result.push_str(replacement);
                at += length;
                if !all {
                    break;
                }
                continue;
            }
            let step = text[at..].chars().next().map_or(1, char::len_utf8);
            result.push_str(&text[at..at + step]);
            at += step;
        }
        result.push_str(&text[at..]);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn pattern(text: &str) -> Pattern {
        Pattern::compile(text).unwrap()
    }

    #[test]
    fn removes_prefixes_and_suffixes() {
        let path = "usr/local/lib.so.1";
        assert_eq!(pattern("*/").without_prefix(path, false), "local/lib.so.1");
        assert_eq!(pattern("*/").without_prefix(path, true), "lib.so.1");
        assert_eq!(pattern(".*").without_suffix(path, false), "usr/local/lib.so");
        assert_eq!(pattern(".*").without_suffix(path, true), "usr/local/lib");
        assert_eq!(pattern("x").without_prefix(path, true), path);
        assert_eq!(pattern("us?").without_prefix(path, true), "/local/lib.so.1");
        assert_eq!(pattern("*").without_suffix(path, false), path);
        assert_eq!(pattern("*").without_suffix(path, true), "");
        assert_eq!(pattern("é*").without_suffix("aébéc", false), "aéb");
        assert_eq!(pattern("é*").without_suffix("aébéc", true), "a");
        assert_eq!(pattern("").without_suffix(path, true), path);
        // From every place anew, this would take hours.
        let long = "x".repeat(1 << 20);
        assert_eq!(pattern("*y*z").without_suffix(&long, true), long);
    }

    #[test]
    fn replaces() {
        assert_eq!(pattern("o").replace("foo boo", "0", false), "f0o boo");
        assert_eq!(pattern("o").replace("foo boo", "0", true), "f00 b00");
        assert_eq!(pattern("f*o").replace("foo boo", "-", true), "-");
        assert_eq!(pattern("").replace("foo", "-", true), "foo");
        assert_eq!(pattern("é").replace("aéa", "", true), "aa");
        assert_eq!(pattern(r"\*\/").replace("a*/b", "-", true), "a-b");
        assert!(Pattern::compile(r"\a").is_err());
    }
}
