//! Environment variables in the order in which they first appeared.

use super::dockerfile::expand::Variables;

/// The search path of an image that says nothing about it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Names with values; setting one again keeps its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Reads `NAME=value` strings, as an image's configuration has them.
    #[must_use]
    pub fn read(entries: &[String]) -> Self {
        let mut environment = Self::default();
        for entry in entries {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            environment.set(name, value);
        }
        environment
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// `NAME=value` strings.
    #[must_use]
    pub fn entries(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, Variables};

    #[test]
    fn keeps_the_order_of_first_appearance() {
        let mut environment = Environment::read(&["A=1".into(), "B=x=y".into(), "C".into()]);
        environment.set("A", "2");
        environment.set("D", "");
        assert_eq!(environment.entries(), ["A=2", "B=x=y", "C=", "D="]);
        assert_eq!((environment.get("C"), environment.get("E")), (Some(""), None));
    }
}
