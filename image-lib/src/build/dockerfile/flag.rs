//! Flags of an instruction: `--name`, `--name=value`, before its arguments.

use super::word::did_you_mean;

/// One flag as written, quotes and escapes removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name, without the dashes.
    pub name: String,
    /// What follows the `=`.
    pub value: Option<String>,
    /// Where the flag begins in the instruction's text.
    pub offset: usize,
}

/// Splits the flags off the front of `text`; gives them and the offset at which arguments begin.
/// A lone `--` ends the flags.
#[must_use]
pub fn split(text: &str, escape: char) -> (Vec<Flag>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (flags, at);
        }
        let (word, length) = read_word(&text[at..], escape);
        let offset = at;
        at += length;
        if word == "--" {
            at += text[at..].len() - text[at..].trim_start().len();
            return (flags, at);
        }
        let body = word.trim_start_matches("--");
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (body.to_owned(), None),
        };
        flags.push(Flag { name, value, offset });
    }
}

/// The first word of `text`, quotes and escapes removed, and its length as written.
fn read_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// The flags of one instruction while it is read: every flag is taken once, and what nobody took
/// is refused.
#[derive(Debug)]
pub struct Flags {
    flags: Vec<Flag>,
    known: Vec<&'static str>,
}

/// What is wrong with a flag, and where in the instruction's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagError {
    /// Where the flag begins.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl Flags {
    /// Holds `flags` to be taken.
    #[must_use]
    pub fn new(flags: Vec<Flag>) -> Self {
        Self { flags, known: Vec::new() }
    }

    fn take_all(&mut self, name: &'static str) -> Vec<Flag> {
        self.known.push(name);
        let (taken, kept) = self.flags.drain(..).partition(|flag| flag.name == name);
        self.flags = kept;
        taken
    }

    fn take_one(&mut self, name: &'static str) -> Result<Option<Flag>, FlagError> {
        let mut taken = self.take_all(name).into_iter();
        let first = taken.next();
        match taken.next() {
            Some(again) => Err(refuse(&again, format!("duplicate flag specified: {name}"))),
            None => Ok(first),
        }
    }

    /// A flag with a value.
    ///
    /// # Errors
    /// The flag is given twice, or without a value.
    pub fn string(&mut self, name: &'static str) -> Result<Option<String>, FlagError> {
        Ok(self.string_at(name)?.map(|(_, value)| value))
    }

    /// A flag with a value, and its place.
    ///
    /// # Errors
    /// The flag is given twice, or without a value.
    pub fn string_at(&mut self, name: &'static str) -> Result<Option<(usize, String)>, FlagError> {
        let Some(flag) = self.take_one(name)? else { return Ok(None) };
        match flag.value {
            Some(value) => Ok(Some((flag.offset, value))),
            None => Err(missing_value(&flag)),
        }
    }

    /// A flag that may be repeated, with the place of each.
    ///
    /// # Errors
    /// The flag is given without a value.
    pub fn strings(&mut self, name: &'static str) -> Result<Vec<(usize, String)>, FlagError> {
        let with_value = |flag: Flag| match flag.value {
            Some(value) => Ok((flag.offset, value)),
            None => Err(missing_value(&flag)),
        };
        self.take_all(name).into_iter().map(with_value).collect()
    }

    /// A flag that is there or not; `=true` and `=false` are its only values.
    ///
    /// # Errors
    /// The flag is given twice, or has another value.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, FlagError> {
        let Some(flag) = self.take_one(name)? else { return Ok(None) };
        match flag.value.as_deref() {
            None | Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                let text = format!("expecting true or false for flag --{name}, not {other:?}");
                Err(refuse(&flag, text))
            }
        }
    }

    /// Ends the reading: a flag that nobody took is unknown.
    ///
    /// # Errors
    /// The first unknown flag, with the nearest known one.
    pub fn finish(self) -> Result<(), FlagError> {
        let Some(flag) = self.flags.first() else { return Ok(()) };
        let mut message = format!("unknown flag: --{}", flag.name);
        if let Some(near) = did_you_mean(&flag.name, self.known.iter().copied()) {
            message.push_str(&format!(" (did you mean --{near}?)"));
        }
        Err(refuse(flag, message))
    }
}

fn missing_value(flag: &Flag) -> FlagError {
    refuse(flag, format!("missing a value on flag: --{}", flag.name))
}

fn refuse(flag: &Flag, message: String) -> FlagError {
    FlagError { offset: flag.offset, message }
}

#[cfg(test)]
mod tests {
    use super::{Flags, split};

    #[test]
    fn splits_flags_from_arguments() {
        let text = r#"--a --b=c\ d  --e="f g" x --y"#;
        let (flags, at) = split(text, '\\');
        let pairs: Vec<_> =
            flags.iter().map(|f| (f.name.as_str(), f.value.as_deref(), f.offset)).collect();
        assert_eq!(pairs, [("a", None, 0), ("b", Some("c d"), 4), ("e", Some("f g"), 14)]);
        assert_eq!(&text[at..], "x --y");
        let text = "--a -- --b";
        assert_eq!(&text[split(text, '\\').1..], "--b");
        assert_eq!(split("-a b", '\\').1, 0);
    }

    #[test]
    fn takes_each_flag_once() {
        let flags = |text: &str| Flags::new(split(text, '\\').0);
        assert_eq!(flags("--link").boolean("link"), Ok(Some(true)));
        assert_eq!(flags("--link=false").boolean("link"), Ok(Some(false)));
        assert!(flags("--link=").boolean("link").is_err());
        assert!(flags("--from").string("from").is_err());
        assert!(flags("--from=a --from=b").string("from").is_err());
        assert_eq!(flags("--x=1 --x=2").strings("x").unwrap().len(), 2);
        let mut typo = flags("--chwon=1");
        assert_eq!(typo.string("chown"), Ok(None));
        let error = typo.finish().unwrap_err();
        assert_eq!(error.message, "unknown flag: --chwon (did you mean --chown?)");
    }
}
