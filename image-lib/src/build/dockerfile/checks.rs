//! Which findings of the checks are told: `# check=skip=A,B;error=true;experimental=all`, at the top of a
//! Dockerfile for all of it, above an instruction for that one.

use std::collections::BTreeSet;

use super::directive::split_directive;
use super::word::did_you_mean;

/// A rule: its name, and whether it is off unless `experimental` names it.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) is_experimental: bool,
}

const fn rule(name: &'static str) -> Rule {
    Rule { name, is_experimental: false }
}

const fn experimental(name: &'static str) -> Rule {
    Rule { name, is_experimental: true }
}

/// All rules. The names, but for the last four, are those of BuildKit.
pub(super) const RULES: [Rule; 26] = [
    rule("ConsistentInstructionCasing"),
    rule("CopyIgnoredFile"),
    rule("DuplicateStageName"),
    rule("ExposeInvalidFormat"),
    rule("ExposeProtoCasing"),
    rule("FromAsCasing"),
    rule("FromPlatformFlagConstDisallowed"),
    rule("InvalidBaseImagePlatform"),
    rule("InvalidDefaultArgInFrom"),
    experimental("InvalidDefinitionDescription"),
    rule("JSONArgsRecommended"),
    rule("LegacyKeyValueFormat"),
    rule("MaintainerDeprecated"),
    rule("MultipleInstructionsDisallowed"),
    rule("NoEmptyContinuation"),
    rule("RedundantTargetPlatform"),
    rule("ReservedStageName"),
    rule("SecretsUsedInArgOrEnv"),
    rule("StageNameCasing"),
    rule("UndefinedArgInFrom"),
    rule("UndefinedVar"),
    rule("WorkdirRelativePath"),
    experimental("CacheMountWithoutLock"),
    experimental("HeredocWithoutErrexit"),
    experimental("PipeWithoutPipefail"),
    experimental("UnusedStage"),
];

/// Names of rules, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    Some(BTreeSet<String>),
}

impl Names {
    fn read(text: &str) -> Self {
        if text.eq_ignore_ascii_case("all") {
            return Self::All;
        }
        Self::Some(text.split(',').map(|name| name.trim().to_owned()).collect())
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

/// What is told, and whether it ends the build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    skip: Names,
    experimental: Names,
    /// Whether a finding is an error.
    pub is_error: bool,
}

impl Checks {
    /// Reads the value of a `check` directive.
    ///
    /// # Errors
    /// A part that is no option, or a value that is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut checks = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("invalid check option {part:?}: it is no key=value pair"))?;
            match key.trim() {
                "skip" => checks.skip = Names::read(value.trim()),
                "experimental" => checks.experimental = Names::read(value.trim()),
                "error" => {
                    checks.is_error = value.trim().parse().map_err(|_| {
                        format!("invalid check option error={value}: it is neither true nor false")
                    })?;
                }
                other => {
                    let near = did_you_mean(other, ["skip", "error", "experimental"])
                        .map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                    return Err(format!("invalid check option {other:?}{near}"));
                }
            }
        }
        Ok(checks)
    }

    /// Whether findings of `rule` are told, for a line with these comments above it.
    #[must_use]
    pub fn tells(&self, rule: &str, comments: &[&str]) -> bool {
        let is_experimental = RULES.iter().any(|known| known.name == rule && known.is_experimental);
        let above = |of: fn(&Self) -> &Names| {
            let own = comments.iter().filter_map(|comment| split_directive(comment));
            let own = own.filter(|(key, _)| key == "check").filter_map(|(_, v)| Self::read(v).ok());
            own.into_iter().any(|checks| of(&checks).has(rule))
        };
        if self.skip.has(rule) || above(|checks| &checks.skip) {
            return false;
        }
        !is_experimental || self.experimental.has(rule) || above(|checks| &checks.experimental)
    }
}

#[cfg(test)]
mod tests {
    use super::Checks;

    #[test]
    fn reads_options() {
        let checks = Checks::read("skip=UndefinedVar, FromAsCasing;error=true").unwrap();
        assert!(checks.is_error && !checks.tells("UndefinedVar", &[]));
        assert!(!checks.tells("FromAsCasing", &[]) && checks.tells("StageNameCasing", &[]));
        assert!(!Checks::read("skip=all").unwrap().tells("UndefinedVar", &[]));
        assert!(!Checks::default().tells("UnusedStage", &[]));
        assert!(Checks::read("experimental=all").unwrap().tells("UnusedStage", &[]));
        for bad in ["skip", "skpi=all", "error=maybe"] {
            assert!(Checks::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_comments_above() {
        let checks = Checks::default();
        assert!(!checks.tells("UndefinedVar", &["# said", "# check=skip=UndefinedVar"]));
        assert!(checks.tells("UnusedStage", &["# check=experimental=UnusedStage"]));
    }
}
