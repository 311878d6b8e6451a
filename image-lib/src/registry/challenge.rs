//! The `WWW-Authenticate` header: what a server wants to see before it answers (RFC 9110 §11.6.1, and
//! the token page of the distribution specification for the parameters of `Bearer`). Pure.

/// The most bytes of one header that are looked at.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The most challenges and parameters that are kept.
const PARTS_MAX: usize = 64;

/// One way in which a server lets itself be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case: `basic`, `bearer`.
    pub scheme: String,
    /// The parameters, names in lower case, in the order of the header.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, whose name is in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All challenges of a header. What cannot be read ends the list: what stands before it counts.
    #[must_use]
    pub fn parse(header: &str) -> Vec<Self> {
        let mut end = header.len().min(HEADER_BYTES_MAX);
        while !header.is_char_boundary(end) {
            end -= 1;
        }
        Parser { rest: &header[..end] }.challenges()
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn challenges(mut self) -> Vec<Challenge> {
        let mut challenges: Vec<Challenge> = Vec::new();
        let mut parts = 0;
        while parts < PARTS_MAX {
            parts += 1;
            self.skip(|c| c == ',' || c.is_ascii_whitespace());
            let Some(word) = self.token() else { break };
            // A word with an equals sign behind it belongs to the challenge before it, other
            // words begin one. The sign may have blanks around it, as the RFC's "bad whitespace".
            if let Some(value) = self.value() {
                let Some(challenge) = challenges.last_mut() else { break };
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            } else {
                let scheme = word.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: Vec::new() });
                self.skip_token68();
            }
        }
        challenges
    }

    fn skip(&mut self, fits: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(fits);
    }

    fn token(&mut self) -> Option<&'a str> {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let end = self.rest.find(|c| !is_token(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// `= value`, if that is what comes next.
    fn value(&mut self) -> Option<String> {
        let after = self.rest.trim_start().strip_prefix('=')?.trim_start();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        self.rest = &quoted[at + 1..];
                        return Some(value);
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
            // Never closed: what is there is taken, as other clients do.
            self.rest = "";
            return Some(value);
        }
        // Servers leave out quotes where the grammar asks for them: a URL ends at a comma or blank.
        let end = after.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(after.len());
        // A lone equals sign is the padding of a token68, not a value.
        if end == 0 || after.starts_with('=') {
            return None;
        }
        self.rest = &after[end..];
        Some(after[..end].to_owned())
    }

    /// Credentials in one word, as `Negotiate` has them, mean nothing here.
    fn skip_token68(&mut self) {
        let trimmed = self.rest.trim_start_matches(' ');
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        let end = trimmed.find(|c| !is_word(c)).unwrap_or(trimmed.len());
        let word = &trimmed[..end];
        let padding = word.trim_end_matches('=');
        let ends_here =
            trimmed[end..].trim_start().is_empty() || trimmed[end..].trim_start().starts_with(',');
        if !word.is_empty()
            && ends_here
            && !padding.contains('=')
            && trimmed.len() != self.rest.len()
        {
            self.rest = &trimmed[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(header: &str) -> Challenge {
        let challenges = Challenge::parse(header);
        assert_eq!(challenges.len(), 1, "{header}: {challenges:?}");
        challenges.into_iter().next().unwrap()
    }

    #[test]
    fn reads_the_forms_of_registries() {
        let bearer = one(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(bearer.scheme, "bearer");
        assert_eq!(bearer.parameter("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(bearer.parameter("scope"), Some("repository:a/b:pull,push"));
        let basic = one(r#"BASIC Realm = "a \"quoted\" realm" , charset=UTF-8"#);
        assert_eq!(basic.scheme, "basic");
        assert_eq!(basic.parameter("realm"), Some(r#"a "quoted" realm"#));
        assert_eq!(basic.parameter("charset"), Some("UTF-8"));
        assert_eq!(
            one("bearer realm=https://a.b/c?d=e").parameter("realm"),
            Some("https://a.b/c?d=e")
        );
        assert_eq!(one("Negotiate").parameters, []);
        assert_eq!(one(r#"Bearer realm="unclosed"#).parameter("realm"), Some("unclosed"));
    }

    #[test]
    fn keeps_several_challenges_apart() {
        let all = Challenge::parse(
            r#"Negotiate YWJj==, Basic realm="x, y", Bearer realm="z",error="invalid_token""#,
        );
        let schemes: Vec<&str> = all.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["negotiate", "basic", "bearer"]);
        assert_eq!(all[1].parameter("realm"), Some("x, y"));
        assert_eq!(all[2].parameter("error"), Some("invalid_token"));
    }

    #[test]
    fn survives_nonsense() {
        for header in ["", ",,,", "=", "\"", "a=b", "Basic realm=\"\\", "é", &"a ".repeat(40_000)]
        {
            assert!(Challenge::parse(header).len() <= PARTS_MAX);
        }
    }
}
