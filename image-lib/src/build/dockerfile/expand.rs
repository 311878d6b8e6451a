//! Variable expansion in words, with quotes and escapes removed: `$name`, `${name}` and the
//! modifiers `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.
//!
//! No command is ever run and no arithmetic done; a lone `$` stands for itself.

use std::iter::Peekable;
use std::str::Chars;

use super::pattern::Pattern;

/// How deep substitutions may stand in each other. People write two or three; each costs stack, which
/// threads of a build have little of.
const NESTING_MAX: usize = 64;

/// Where variables get their values.
pub trait Variables {
    /// The value of `name`; `None` when it is unset.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Variables for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

/// Longest text that a word may expand to, in bytes: what the kernel lets one argument or variable
/// have (`MAX_ARG_STRLEN`) many times over. A variable that is made of itself twice, some forty times in
/// a row, would otherwise fill the memory.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// How quotes are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quotes {
    /// They quote and are removed, as in the words of an instruction.
    Remove,
    /// They are ordinary characters, as in the body of a here-document.
    Plain,
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The whole text.
    pub text: String,
    /// The text cut at white space that was not quoted, as `EXPOSE` takes it.
    pub words: Vec<String>,
    /// Variables that were used and have no value.
    pub unset: Vec<String>,
}

/// Expands `word`, in which `escape` takes the meaning from the next character.
///
/// # Errors
/// What is wrong with the word: an open quote or brace, an unknown modifier, or the message of
/// `${name:?message}`.
pub fn expand(
    word: &str,
    variables: &dyn Variables,
    escape: char,
    quotes: Quotes,
) -> Result<Expanded, String> {
    let mut scanner = Scanner {
        chars: word.chars().peekable(),
        variables,
        escape,
        quotes,
        nesting: 0,
        unset: Vec::new(),
    };
    let mut output = Output::default();
    scanner.until(None, &mut output, Escapes::Remove)?;
    output.end_word();
    Ok(Expanded { text: output.text, words: output.words, unset: scanner.unset })
}

/// What becomes of escapes outside quotes: patterns still need them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Remove,
    Keep,
}

#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Output {
    /// A character that white space may split.
    fn push(&mut self, c: char) {
        self.text.push(c);
        if c.is_whitespace() {
            self.end_word();
        } else {
            self.word.push(c);
            self.in_word = true;
        }
    }

    /// A quoted or escaped character.
    fn push_quoted(&mut self, c: char) {
        self.text.push(c);
        self.word.push(c);
        self.in_word = true;
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.in_word) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

struct Scanner<'a> {
    chars: Peekable<Chars<'a>>,
    variables: &'a dyn Variables,
    escape: char,
    quotes: Quotes,
    nesting: usize,
    unset: Vec<String>,
}

impl Scanner<'_> {
    /// Expands up to `stop`, which is consumed, or to the end of the word if there is none.
    fn until(
        &mut self,
        stop: Option<char>,
        out: &mut Output,
        escapes: Escapes,
    ) -> Result<(), String> {
        while let Some(c) = self.chars.next() {
            if out.text.len() > TEXT_BYTES_MAX {
                return Err(format!("expands to more than {TEXT_BYTES_MAX} bytes"));
            }
            match c {
                c if Some(c) == stop => return Ok(()),
                '\'' if self.quotes == Quotes::Remove => self.single_quoted(out)?,
                '"' if self.quotes == Quotes::Remove => self.double_quoted(out)?,
                '$' => {
                    for c in self.dollar()?.chars() {
                        out.push(c);
                    }
                }
                c if c == self.escape => {
                    if escapes == Escapes::Keep {
                        // Patterns have one escape of their own, whatever the file's is.
                        out.push_quoted('\\');
                    }
                    if let Some(next) = self.chars.next() {
                        out.push_quoted(next);
                    }
                }
                c => out.push(c),
            }
        }
        match stop {
            None => Ok(()),
            Some(stop) => {
                Err(format!("unexpected end of statement while looking for matching {stop}"))
            }
        }
    }

    fn single_quoted(&mut self, out: &mut Output) -> Result<(), String> {
        out.in_word = true;
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(());
            }
            out.push_quoted(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double_quoted(&mut self, out: &mut Output) -> Result<(), String> {
        out.in_word = true;
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return Ok(()),
                '$' => self.dollar()?.chars().for_each(|c| out.push_quoted(c)),
                c if c == self.escape => match self.chars.next() {
                    Some(next) => {
                        if next != '"' && next != '$' && next != self.escape {
                            out.push_quoted(c);
                        }
                        out.push_quoted(next);
                    }
                    None => break,
                },
                c => out.push_quoted(c),
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".to_owned())
    }

    /// What stands after a `$`, which has been read.
    fn dollar(&mut self) -> Result<String, String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name) });
        }
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err("syntax error: missing '}'".to_owned()),
            Some('}') => Ok(self.value(&name)),
            Some(':') => match self.chars.next() {
                Some(modifier @ ('-' | '+' | '?')) => self.default(&name, modifier, true),
                Some(other) => Err(format!("unsupported modifier (:{other}) in substitution")),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.default(&name, modifier, false),
            Some(side @ ('#' | '%')) => self.trimmed(&name, side),
            Some('/') => self.replaced(&name),
            Some(other) => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// `${name-word}` and its kin; with a colon an empty value counts as none.
    fn default(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, String> {
        let word = self.braced('}', Escapes::Remove)?;
        let value = self.variables.get(name).map(str::to_owned);
        let usable = value.filter(|value| !colon || !value.is_empty());
        match (modifier, usable) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('-', Some(value)) | ('?', Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            _ if word.is_empty() && colon => Err(format!("{name}: is not allowed to be empty")),
            _ if word.is_empty() => Err(format!("{name}: is not allowed to be unset")),
            _ => Err(format!("{name}: {word}")),
        }
    }

    fn trimmed(&mut self, name: &str, side: char) -> Result<String, String> {
        let greedy = self.chars.next_if_eq(&side).is_some();
        let pattern = Pattern::compile(&self.braced('}', Escapes::Keep)?)?;
        let value = self.value(name);
        let rest = if side == '#' {
            pattern.without_prefix(&value, greedy)
        } else {
            pattern.without_suffix(&value, greedy)
        };
        Ok(rest.to_owned())
    }

    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = Pattern::compile(&self.braced('/', Escapes::Keep)?)?;
        let replacement = self.braced('}', Escapes::Remove)?;
        Ok(pattern.replace(&self.value(name), &replacement, all))
    }

    fn braced(&mut self, stop: char, escapes: Escapes) -> Result<String, String> {
        if self.nesting == NESTING_MAX {
            return Err(format!("substitutions are nested more than {NESTING_MAX} deep"));
        }
        self.nesting += 1;
        let mut inner = Output::default();
        self.until(Some(stop), &mut inner, escapes)?;
        self.nesting -= 1;
        Ok(inner.text)
    }

    fn value(&mut self, name: &str) -> String {
        if let Some(value) = self.variables.get(name) {
            return value.to_owned();
        }
        self.unset.push(name.to_owned());
        String::new()
    }

    /// A name: letters, digits and `_`; digits alone if it begins with one; or one special.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.peek().copied() {
            let digits_only = name.starts_with(|c: char| c.is_ascii_digit());
            let fits = match c {
                c if c.is_ascii_digit() => true,
                c if c.is_alphabetic() || c == '_' => !digits_only,
                '@' | '*' | '#' | '?' | '-' | '$' | '!' if name.is_empty() => {
                    self.chars.next();
                    return c.to_string();
                }
                _ => false,
            };
            if !fits {
                break;
            }
            name.push(c);
            self.chars.next();
        }
        name
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
