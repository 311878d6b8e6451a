//! Parser directives: the `# key=value` comments at the very top of a Dockerfile.
//!
//! Only `syntax`, `escape` and `check` exist. The first line that is anything else ends them for
//! good, and a directive may not be given twice.

use super::place::{DockerfileError, Place, Source};

/// What the directives of a Dockerfile say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The frontend that the author asked for; the built-in one answers for all of them.
    pub syntax: Option<String>,
    /// The escape character: a backslash, or a backtick.
    pub escape: char,
    /// The configuration of the checks, as written.
    pub check: Option<String>,
    /// The line of that.
    pub check_line: usize,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None, check_line: 0 }
    }
}

impl Directives {
    /// Reads the directives that open `lines`.
    ///
    /// # Errors
    /// A directive given twice, or an escape character other than `\` and a backtick.
    pub fn read(lines: &[&str], source: &Source) -> Result<Self, DockerfileError> {
        let mut found = Self::default();
        let mut escape_seen = false;
        for (index, line) in lines.iter().enumerate() {
            let Some((key, value)) = split_directive(line) else { break };
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            let place = Place { line: index + 1, column };
            let twice =
                || source.error(place, format!("only one {key} parser directive can be used"));
            match key.as_str() {
                "syntax" => {
                    if found.syntax.is_some() {
                        return Err(twice());
                    }
                    let image = value.split(' ').next().unwrap_or(value);
                    found.syntax = Some(image.to_owned());
                }
                "check" => {
                    if found.check.is_some() {
                        return Err(twice());
                    }
                    found.check = Some(value.to_owned());
                    found.check_line = index + 1;
                }
                "escape" => {
                    if escape_seen {
                        return Err(twice());
                    }
                    escape_seen = true;
                    found.escape = match value {
                        "\\" => '\\',
                        "`" => '`',
                        other => {
                            let text = format!("invalid escape token {other:?}: must be ` or \\");
                            return Err(source.error(place, text));
                        }
                    };
                }
                _ => break,
            }
        }
        Ok(found)
    }
}

/// `# key = value`, with the key in lower case; `None` for any other line.
pub(super) fn split_directive(line: &str) -> Option<(String, &str)> {
    let body = line.trim_start().strip_prefix('#')?.trim_start();
    let (key, value) = body.split_once('=')?;
    let (key, value) = (key.trim_end(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::{Directives, Source};

    fn read(text: &str) -> Result<Directives, String> {
        let lines: Vec<&str> = text.lines().collect();
        Directives::read(&lines, &Source::new("Dockerfile", text)).map_err(|e| e.message)
    }

    #[test]
    fn reads_known_directives_in_any_case_and_order() {
        let found =
            read("#Escape=`\n#   SYNTAX = docker/dockerfile:1 x=y\n# check=skip=all").unwrap();
        assert_eq!(found.escape, '`');
        assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!(found.check.as_deref(), Some("skip=all"));
    }

    #[test]
    fn stops_at_the_first_line_that_is_none() {
        for opening in ["# a comment", "", "FROM a", "# other=1", "#!shebang"] {
            let found = read(&format!("{opening}\n# escape=`")).unwrap();
            assert_eq!(found.escape, '\\', "after {opening:?}");
        }
    }

    #[test]
    fn refuses_repeats_and_unknown_escapes() {
        assert!(read("# escape=\\\n# escape=`").unwrap_err().contains("only one escape"));
        assert!(read("# escape=x").unwrap_err().contains("must be ` or \\"));
    }
}
