//! `--chmod`: permissions as an octal number or as symbols, `u=rwX,go=rX`.

/// A change of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileMode {
    /// These bits, whatever they were.
    Fixed(u32),
    /// Clauses, applied in order.
    Symbolic(Vec<Clause>),
}

/// One clause: whom, how, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    who: u32,
    operations: Vec<(char, String)>,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl FileMode {
    /// Reads the value of `--chmod`.
    ///
    /// # Errors
    /// It is neither an octal number up to 07777 nor symbols.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "invalid chmod parameter {text:?}: it must be an octal number up to 07777 or symbols such as u=rwX,go=rX"
            )
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| invalid())?;
            return if mode <= 0o7777 { Ok(Self::Fixed(mode)) } else { Err(invalid()) };
        }
        text.split(',').map(clause).collect::<Option<_>>().map(Self::Symbolic).ok_or_else(invalid)
    }

    /// The bits of a file that had `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Fixed(bits) => *bits,
            Self::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }

    /// The bits, if they do not depend on the file.
    #[must_use]
    pub fn fixed(&self) -> Option<u32> {
        match self {
            Self::Fixed(bits) => Some(*bits),
            Self::Symbolic(_) => None,
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let mut who = 0;
    for c in text[..at].chars() {
        who |= match c {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => USER | GROUP | OTHER,
            _ => return None,
        };
    }
    if who == 0 {
        who = USER | GROUP | OTHER;
    }
    let mut operations: Vec<(char, String)> = Vec::new();
    for c in text[at..].chars() {
        match c {
            '+' | '-' | '=' => operations.push((c, String::new())),
            'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => operations.last_mut()?.1.push(c),
            _ => return None,
        }
    }
    Some(Clause { who, operations })
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        self.operations.iter().fold(mode, |mode, (operation, letters)| {
            let bits = letters.chars().fold(0, |bits, letter| {
                bits | match letter {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_directory || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => spread(mode >> 6),
                    'g' => spread(mode >> 3),
                    'o' => spread(mode),
                    _ => 0,
                }
            }) & self.who;
            match operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !self.who) | bits,
            }
        })
    }
}

/// Three permission bits for all three of user, group and other.
fn spread(bits: u32) -> u32 {
    (bits & 0o7) * 0o111
}

#[cfg(test)]
mod tests {
    use super::FileMode;

    #[test]
    fn applies_numbers_and_symbols() {
        for (text, mode, directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("04711", 0o600, false, 0o4711),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("g=u", 0o640, false, 0o660),
            ("u+s,o+t", 0o755, false, 0o5755),
            ("go-rwx,u+x", 0o666, false, 0o700),
            ("o=", 0o777, false, 0o770),
        ] {
            let found = FileMode::parse(text).unwrap().apply(mode, directory);
            assert_eq!(found, expected, "{text} on {mode:o}: {found:o}");
        }
        for bad in ["", "10000", "9", "u", "u*x", "u=q", "x=u"] {
            assert!(FileMode::parse(bad).is_err(), "{bad}");
        }
    }
}
