//! What a token shall permit: `repository:app:pull,push`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A set of permissions: actions by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// No permission at all, which is enough to look whether a login is right.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reading a repository.
    #[must_use]
    pub fn pull(repository: &str) -> Self {
        Self::none().and(&format!("repository:{repository}"), &["pull"])
    }

    /// Reading a repository and writing to it.
    #[must_use]
    pub fn push(repository: &str) -> Self {
        Self::none().and(&format!("repository:{repository}"), &["pull", "push"])
    }

    /// The same with `actions` on `resource` added.
    #[must_use]
    pub fn and(mut self, resource: &str, actions: &[&str]) -> Self {
        let own = self.0.entry(resource.to_owned()).or_default();
        own.extend(actions.iter().map(|&action| action.to_owned()));
        self
    }

    /// The permissions that a challenge names, separated by blanks.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut scopes = Self::none();
        for scope in text.split_ascii_whitespace() {
            // The name of a resource may have colons itself: a registry with its port.
            if let Some((resource, actions)) = scope.rsplit_once(':') {
                scopes = scopes.and(resource, &actions.split(',').collect::<Vec<_>>());
            }
        }
        scopes
    }

    /// The permissions of both.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// One text for each resource, as token servers want them.
    pub fn each(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.each().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_and_sorts() {
        let asked = Scopes::parse("repository:h:5000/a/b:push,pull registry:catalog:* nonsense");
        assert_eq!(asked.to_string(), "registry:catalog:* repository:h:5000/a/b:pull,push");
        let both = Scopes::pull("a").union(&Scopes::parse("repository:a:push repository:b:pull"));
        assert_eq!(both.to_string(), "repository:a:pull,push repository:b:pull");
        assert_eq!(Scopes::none().to_string(), "");
    }
}
