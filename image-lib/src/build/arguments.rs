//! Build arguments: what the user gave, what every build has by itself, and which of them a
//! Dockerfile used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::dockerfile::Dockerfile;
use super::dockerfile::expand::{Quotes, expand};
use super::dockerfile::instruction::Command;
use super::dockerfile::word::did_you_mean;
use super::error::{BuildError, StepError};
use super::options::BuildOptions;
use super::plan::step_error;
use crate::spec::{Platform, Timestamp};

/// Arguments that reach `RUN` without being declared, and neither its key nor the history.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The argument that fixes all times.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The arguments of one build.
#[derive(Debug)]
pub struct BuildArguments {
    given: BTreeMap<String, String>,
    used: Mutex<BTreeSet<String>>,
    /// The global scope: what `FROM` may use, and what a bare `ARG NAME` in a stage takes.
    globals: BTreeMap<String, String>,
}

impl BuildArguments {
    /// The global scope of `dockerfile`.
    ///
    /// # Errors
    /// The default of a global argument cannot be expanded.
    pub fn new(
        given: &BTreeMap<String, String>,
        dockerfile: &Dockerfile,
        platform: &Platform,
        target: Option<&str>,
    ) -> Result<Self, BuildError> {
        let mut globals = automatic(platform, &Platform::host(), target);
        let mut used = BTreeSet::new();
        for (name, value) in given {
            if let Some(automatic) = globals.get_mut(name) {
                value.clone_into(automatic);
                used.insert(name.clone());
            }
        }
        for instruction in &dockerfile.global_arguments {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let value = match (given.get(&argument.name), &argument.default) {
                    (Some(value), _) => {
                        used.insert(argument.name.clone());
                        Some(value.clone())
                    }
                    (None, Some(default)) => {
                        let escape = dockerfile.directives.escape;
                        let expanded = expand(default, &globals, escape, Quotes::Remove);
                        let expanded = expanded.map_err(|message| {
                            let source = StepError::Expansion { word: default.clone(), message };
                            step_error(dockerfile, instruction.place, &instruction.text, source)
                        })?;
                        Some(expanded.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    globals.insert(argument.name.clone(), value);
                }
            }
        }
        Ok(Self { given: given.clone(), used: Mutex::new(used), globals })
    }

    /// The global scope.
    #[must_use]
    pub fn globals(&self) -> &BTreeMap<String, String> {
        &self.globals
    }

    /// What the user gave for `name`, which is thereby used.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&str> {
        let value = self.given.get(name)?;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Some(value)
    }

    /// The proxies that the user gave: environment of every `RUN`.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        PROXIES.iter().filter_map(|name| Some((*name, self.given.get(*name)?.as_str())))
    }

    /// The time that the user fixed by an argument.
    ///
    /// # Errors
    /// The value is no number of seconds.
    pub fn epoch(&self) -> Result<Option<Timestamp>, BuildError> {
        self.given(SOURCE_DATE_EPOCH).map(parse_epoch).transpose()
    }

    /// The arguments that nothing used, each with a name it may have been meant for.
    #[must_use]
    pub fn unused(&self, declared: &BTreeSet<String>) -> Vec<(String, Option<String>)> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let stray = self.given.keys().filter(|name| {
            let name = name.as_str();
            !used.contains(name)
                && !declared.contains(name)
                && !PROXIES.contains(&name)
                && !name.starts_with("BUILDKIT_")
        });
        stray
            .map(|name| {
                let near = did_you_mean(name, declared.iter().map(String::as_str));
                (name.clone(), near.map(str::to_owned))
            })
            .collect()
    }
}

/// Whether an argument or the caller's environment fixes the time.
pub(super) fn has_epoch(options: &BuildOptions) -> bool {
    options.arguments.contains_key(SOURCE_DATE_EPOCH)
        || std::env::var_os(SOURCE_DATE_EPOCH).is_some_and(|value| !value.is_empty())
}

/// Reads a number of seconds since 1970.
///
/// # Errors
/// It is none.
pub fn parse_epoch(text: &str) -> Result<Timestamp, BuildError> {
    let time = text.trim().parse().ok().map(Timestamp::from_seconds);
    // The configuration of the image could not be read again.
    time.filter(|time| time.is_expressible()).ok_or_else(|| BuildError::Option {
        option: SOURCE_DATE_EPOCH.to_owned(),
        reason: format!("{text:?} is no number of seconds since 1970, or beyond the year 9999"),
    })
}

/// The arguments that every build has without anybody giving them.
fn automatic(
    platform: &Platform,
    host: &Platform,
    target: Option<&str>,
) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (side, platform) in [("TARGET", platform), ("BUILD", host)] {
        let values = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ];
        for (what, value) in values {
            arguments.insert(format!("{side}{what}"), value);
        }
    }
    arguments.insert("TARGETSTAGE".to_owned(), target.unwrap_or("default").to_owned());
    arguments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::parse_epoch;

    #[test]
    fn takes_times_that_a_configuration_can_hold() {
        for (text, time) in [
            ("0", "1970-01-01T00:00:00Z"),
            (" 1700000000\n", "2023-11-14T22:13:20Z"),
            ("253402300799", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse_epoch(text).unwrap().to_string(), time);
        }
        for text in ["", "now", "1.5", "253402300800", "-62167219201", "9223372036854775807"] {
            assert!(parse_epoch(text).is_err(), "{text}");
        }
    }
}
