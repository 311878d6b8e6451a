//! What proves who one is.

use std::fmt;

/// A text that no message shows: neither its `Debug` nor its `Display` form has it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever sends or stores it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Is there no text at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What proves who one is at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password, or a token that is used as one.
        password: Secret,
    },
    /// A refresh token of OAuth 2, which a token server changes for others.
    IdentityToken(Secret),
    /// A bearer token that the registry takes as it is.
    RegistryToken(Secret),
}

impl Credential {
    /// A name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password { username: username.into(), password: Secret::new(password) }
    }

    /// What a credential helper's and docker's convention means: the name `<token>` stands before an
    /// identity token.
    #[must_use]
    pub(crate) fn of_pair(username: String, secret: String) -> Self {
        if username == "<token>" {
            Self::IdentityToken(Secret::new(secret))
        } else {
            Self::Password { username, password: Secret::new(secret) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        let credential = Credential::password("me", "hunter2");
        let texts =
            format!("{credential:?} {} {:?}", Secret::new("hunter2"), Secret::new("hunter2"));
        assert!(!texts.contains("hunter2") && texts.contains("me"));
        assert!(matches!(
            Credential::of_pair("<token>".into(), "x".into()),
            Credential::IdentityToken(_)
        ));
    }
}
