//! Path patterns: `*` and `?` stay within a path component, `[a-z]` is a class, `\` escapes. With
//! [`Stars::Any`] `**` crosses components, as in `.dockerignore` and `--exclude`; with
//! [`Stars::Component`] two stars are no more than one, as in the sources of `COPY`.
//!
//! Matching walks all possibilities at once, so its time is bounded by the product of the lengths:
//! a hostile pattern cannot make it explode.

/// What `**` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stars {
    /// Any number of components, none included.
    Any,
    /// The same as one star.
    Component,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`.
    One,
    /// `*`.
    Star,
    /// `**` that is not a whole component in front: anything at all.
    All,
    /// The way round the [`Token::Dirs`] that follows it.
    MaybeDirs,
    /// `**/`: components up to a slash.
    Dirs,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// An open class, an empty one, or an escape at the end.
    pub fn compile(pattern: &str, stars: Stars) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' => {
                    let mut count = 1;
                    while chars.next_if_eq(&'*').is_some() {
                        count += 1;
                    }
                    if count == 1 || stars == Stars::Component {
                        tokens.push(Token::Star);
                    } else if chars.next_if_eq(&'/').is_some() {
                        tokens.extend([Token::MaybeDirs, Token::Dirs]);
                    } else {
                        tokens.push(Token::All);
                    }
                }
                '?' => tokens.push(Token::One),
                '[' => tokens.push(class(&mut chars).ok_or_else(|| bad(pattern))?),
                '\\' => tokens.push(Token::Literal(chars.next().ok_or_else(|| bad(pattern))?)),
                literal => tokens.push(Token::Literal(literal)),
            }
        }
        Ok(Self(tokens))
    }

    /// Whether the whole of `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut row = vec![false; self.0.len() + 1];
        row[0] = true;
        self.skip_empty(&mut row);
        for c in path.chars() {
            let mut next = vec![false; row.len()];
            for (index, token) in self.0.iter().enumerate().filter(|(index, _)| row[*index]) {
                match token {
                    Token::Literal(literal) => next[index + 1] |= *literal == c,
                    Token::One => next[index + 1] |= c != '/',
                    Token::Star => next[index] |= c != '/',
                    Token::All => next[index] = true,
                    Token::MaybeDirs => {}
                    Token::Dirs => {
                        next[index] = true;
                        next[index + 1] |= c == '/';
                    }
                    Token::Class { negated, ranges } => {
                        let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                        next[index + 1] |= c != '/' && inside != *negated;
                    }
                }
            }
            self.skip_empty(&mut next);
            row = next;
        }
        row[self.0.len()]
    }

    /// Passes over what may match nothing.
    fn skip_empty(&self, row: &mut [bool]) {
        for (index, token) in self.0.iter().enumerate() {
            match token {
                Token::Star | Token::All if row[index] => row[index + 1] = true,
                Token::MaybeDirs if row[index] => {
                    row[index + 1] = true;
                    row[index + 2] = true;
                }
                _ => {}
            }
        }
    }
}

/// Whether `text` has a character that means more than itself.
#[must_use]
pub fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

fn bad(pattern: &str) -> String {
    format!("syntax error in pattern {pattern:?}")
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            ']' | '-' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        if chars.next_if_eq(&'-').is_none() {
            ranges.push((low, low));
            continue;
        }
        let high = match chars.next()? {
            ']' | '-' => return None,
            '\\' => chars.next()?,
            c => c,
        };
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::{Glob, Stars};

    #[test]
    fn matches_within_components() {
        for (pattern, path, expected) in [
            ("a.txt", "a.txt", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "d/a.txt", false),
            ("*", "", true),
            ("d/*/x", "d/e/x", true),
            ("d/*/x", "d/e/f/x", false),
            ("?", "é", true),
            ("?", "/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a]", "/", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**", "a/b", false),
        ] {
            let glob = Glob::compile(pattern, Stars::Component).unwrap();
            assert_eq!(glob.matches(path), expected, "{pattern} on {path}");
        }
        for bad in ["[", "[]", "[a", "a\\", "[-a]", "[a-]"] {
            assert!(Glob::compile(bad, Stars::Component).is_err(), "{bad}");
        }
    }

    #[test]
    fn matches_across_components() {
        for (pattern, path, expected) in [
            ("**", "a/b", true),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "ax", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("a**b", "a/x/b", true),
            ("**/*.go", "a/b.go", true),
            ("**/**/x", "x", true),
            ("***/x", "a/x", true),
        ] {
            let glob = Glob::compile(pattern, Stars::Any).unwrap();
            assert_eq!(glob.matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn takes_hostile_patterns_in_bounded_time() {
        let glob = Glob::compile(&"*a".repeat(200), Stars::Any).unwrap();
        assert!(!glob.matches(&"a".repeat(190)));
    }
}
