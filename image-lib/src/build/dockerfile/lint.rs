//! The checks: what is allowed and is most likely not meant. They see the Dockerfile alone; what needs
//! values of variables, the context or base images is told by the build.

use std::collections::{BTreeMap, BTreeSet};

use super::expand::{Quotes, expand};
use super::instruction::{Command, CommandLine, Instruction, Pair};
use super::mount::MountKind;
use super::parser::{Dockerfile, Stage};
use super::place::{DockerfileError, Place};
use super::word::{did_you_mean, split_blank, split_quoted};
use crate::reference::Reference;

/// Arguments that every build has.
const AUTOMATIC: [&str; 11] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
];

/// Parts of a variable's name that speak of a secret.
const SECRET_WORDS: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// All findings in a Dockerfile, in its order.
#[must_use]
pub fn check(dockerfile: &Dockerfile) -> Vec<DockerfileError> {
    let mut lint = Lint { dockerfile, found: Vec::new() };
    lint.casing();
    lint.global_arguments();
    for index in 0..dockerfile.stages.len() {
        lint.stage(index);
    }
    lint.unused_stages();
    let mut found = lint.found;
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, finding)| finding).collect()
}

struct Lint<'a> {
    dockerfile: &'a Dockerfile,
    found: Vec<(Place, DockerfileError)>,
}

impl Lint<'_> {
    fn tell(&mut self, place: Place, rule: &str, text: &str) {
        if let Some(finding) = self.dockerfile.finding(place, rule, text) {
            self.found.push((place, finding));
        }
    }

    /// Instruction words are all written in one way.
    fn casing(&mut self) {
        let file = self.dockerfile;
        let stages = file.stages.iter();
        let own = stages.flat_map(|stage| {
            let rest = stage.instructions.iter().map(|i| (i.place, i.text.as_str()));
            std::iter::once((stage.place, stage.text.as_str())).chain(rest)
        });
        let global = file.global_arguments.iter().map(|i| (i.place, i.text.as_str()));
        let words: Vec<(Place, &str)> = global
            .chain(own)
            .map(|(place, text)| (place, text.split_whitespace().next().unwrap_or_default()))
            .collect();
        let is_upper = |word: &str| word == word.to_ascii_uppercase();
        let is_lower = |word: &str| word == word.to_ascii_lowercase();
        let lower = words.iter().filter(|(_, word)| is_lower(word)).count();
        let upper = words.iter().filter(|(_, word)| is_upper(word)).count();
        let majority_is_lower = lower > upper;
        for (place, word) in words {
            let (fits, name) = if majority_is_lower {
                (is_lower(word), "lowercase")
            } else {
                (is_upper(word), "uppercase")
            };
            if !fits {
                let text = format!(
                    "Command '{word}' should match the case of the command majority ({name})"
                );
                self.tell(place, "ConsistentInstructionCasing", &text);
            }
        }
    }

    fn global_arguments(&mut self) {
        for instruction in &self.dockerfile.global_arguments {
            self.secrets(instruction);
            self.description(instruction.place, argument_name(instruction));
        }
    }

    fn stage(&mut self, index: usize) {
        let stages = &self.dockerfile.stages;
        let stage = &stages[index];
        self.from(&stages[..index], stage);
        let mut last: BTreeMap<&str, Place> = BTreeMap::new();
        let mut has_workdir = stages[..index].iter().any(|before| {
            before.from.name.as_deref() == Some(&stage.from.base.to_ascii_lowercase())
                && before.instructions.iter().any(|i| matches!(i.command, Command::Workdir(_)))
        });
        let mut has_shell = false;
        for instruction in &stage.instructions {
            let word = match &instruction.command {
                Command::Cmd(line) => {
                    self.json_form(instruction, "CMD", line, has_shell);
                    "CMD"
                }
                Command::Entrypoint(line) => {
                    self.json_form(instruction, "ENTRYPOINT", line, has_shell);
                    "ENTRYPOINT"
                }
                Command::Healthcheck(_) => "HEALTHCHECK",
                Command::Shell(_) => {
                    has_shell = true;
                    continue;
                }
                Command::Workdir(path) => {
                    self.workdir(instruction.place, path, has_workdir);
                    has_workdir = true;
                    continue;
                }
                _ => {
                    self.instruction(instruction, has_shell);
                    continue;
                }
            };
            if let Some(before) = last.insert(word, instruction.place) {
                let text = format!(
                    "Multiple {word} instructions should not be used in the same stage because only the last one will be used"
                );
                self.tell(before, "MultipleInstructionsDisallowed", &text);
            }
        }
    }

    fn from(&mut self, before: &[Stage], stage: &Stage) {
        let words: Vec<&str> =
            split_blank(&stage.text).into_iter().map(|range| &stage.text[range]).collect();
        if let (Some(name), [first, .., between, written]) = (&stage.from.name, words.as_slice()) {
            if written.chars().any(|c| c.is_ascii_uppercase()) {
                let text = format!("Stage name '{written}' should be lowercase");
                self.tell(stage.place, "StageNameCasing", &text);
            }
            let is_upper = |word: &str| word == word.to_ascii_uppercase();
            if is_upper(first) != is_upper(between) {
                let text = format!("'{between}' and '{first}' keywords' casing do not match");
                self.tell(stage.place, "FromAsCasing", &text);
            }
            if before.iter().any(|other| other.from.name.as_ref() == Some(name)) {
                let text = format!("Duplicate stage name {name:?}, stage names should be unique");
                self.tell(stage.place, "DuplicateStageName", &text);
            }
            if matches!(name.as_str(), "scratch" | "context") {
                let text =
                    format!("Stage name should not use the same name as reserved stage {name:?}");
                self.tell(stage.place, "ReservedStageName", &text);
            }
            self.description(stage.place, Some(name));
        }
        self.platform(stage);
        self.base(before, stage);
    }

    fn platform(&mut self, stage: &Stage) {
        let Some(platform) = &stage.from.platform else { return };
        if matches!(platform.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let text = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.tell(stage.place, "RedundantTargetPlatform", &text);
        }
        if platform.contains('$') {
            return;
        }
        // A stage that has the processor in its name is meant to be one of several.
        let architecture = platform.split('/').nth(1).unwrap_or(platform);
        let is_named = stage.from.name.as_ref().is_some_and(|name| name.contains(architecture));
        if !is_named {
            let text = format!("FROM --platform flag should not use constant value {platform:?}");
            self.tell(stage.place, "FromPlatformFlagConstDisallowed", &text);
        }
    }

    fn base(&mut self, before: &[Stage], stage: &Stage) {
        let file = self.dockerfile;
        let mut values: BTreeMap<String, String> =
            AUTOMATIC.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        for instruction in &file.global_arguments {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let default = argument.default.as_deref().unwrap_or_default();
                let value = expand(default, &values, file.directives.escape, Quotes::Remove);
                values.insert(argument.name.clone(), value.map(|v| v.text).unwrap_or_default());
            }
        }
        for word in stage.from.platform.iter().chain([&stage.from.base]) {
            let Ok(expanded) = expand(word, &values, file.directives.escape, Quotes::Remove) else {
                continue;
            };
            for name in &expanded.unset {
                let near = did_you_mean(name, values.keys().map(String::as_str))
                    .map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                let text = format!("FROM argument '{name}' is not declared{near}");
                self.tell(stage.place, "UndefinedArgInFrom", &text);
            }
            let is_base = std::ptr::eq(word, &stage.from.base);
            if !is_base || !word.contains('$') || !expanded.unset.is_empty() {
                continue;
            }
            let is_stage = |other: &Stage| {
                other.from.name.as_deref() == Some(expanded.text.to_ascii_lowercase().as_str())
            };
            let is_known =
                before.iter().any(is_stage) || expanded.text.parse::<Reference>().is_ok();
            if !is_known {
                let text = format!(
                    "Default value for ARG {word} results in empty or invalid base image name"
                );
                self.tell(stage.place, "InvalidDefaultArgInFrom", &text);
            }
        }
    }

    fn json_form(&mut self, at: &Instruction, word: &str, line: &CommandLine, has_shell: bool) {
        if matches!(line, CommandLine::Shell(_)) && !has_shell {
            let text = format!(
                "JSON arguments recommended for {word} to prevent unintended behavior related to OS signals"
            );
            self.tell(at.place, "JSONArgsRecommended", &text);
        }
    }

    fn workdir(&mut self, place: Place, path: &str, has_workdir: bool) {
        let path = path.trim_matches(['"', '\'']);
        if !has_workdir && !path.starts_with(['/', '$']) {
            let text = format!(
                "Relative workdir {path:?} can have unexpected results if the base image changes"
            );
            self.tell(place, "WorkdirRelativePath", &text);
        }
    }

    fn instruction(&mut self, instruction: &Instruction, has_shell: bool) {
        let place = instruction.place;
        match &instruction.command {
            Command::Maintainer(author) => {
                let text = format!(
                    "Maintainer instruction is deprecated in favor of using label: LABEL org.opencontainers.image.authors={author:?}"
                );
                self.tell(place, "MaintainerDeprecated", &text);
            }
            Command::Env(pairs) => {
                self.pairs(instruction, "ENV", pairs);
                self.secrets(instruction);
            }
            Command::Label(pairs) => self.pairs(instruction, "LABEL", pairs),
            Command::Arg(_) => self.secrets(instruction),
            Command::Expose(words) => self.expose(place, words),
            Command::Run(run) => self.run(place, run, has_shell),
            _ => {}
        }
    }

    fn pairs(&mut self, instruction: &Instruction, word: &str, pairs: &[Pair]) {
        let escape = self.dockerfile.directives.escape;
        let text = &instruction.text;
        let first = split_quoted(text, escape).into_iter().nth(1);
        let is_old = first.is_some_and(|range| !text[range].contains('='));
        if let (true, [_]) = (is_old, pairs) {
            let text = format!(
                "\"{word} key=value\" should be used instead of legacy \"{word} key value\" format"
            );
            self.tell(instruction.place, "LegacyKeyValueFormat", &text);
        }
    }

    fn secrets(&mut self, instruction: &Instruction) {
        let (word, names): (_, Vec<&str>) = match &instruction.command {
            Command::Arg(arguments) => ("ARG", arguments.iter().map(|a| a.name.as_str()).collect()),
            Command::Env(pairs) => ("ENV", pairs.iter().map(|p| p.name.as_str()).collect()),
            _ => return,
        };
        for name in names.into_iter().filter(|name| speaks_of_a_secret(name)) {
            let text =
                format!("Do not use ARG or ENV instructions for sensitive data ({word} {name:?})");
            self.tell(instruction.place, "SecretsUsedInArgOrEnv", &text);
        }
    }

    fn expose(&mut self, place: Place, words: &[String]) {
        for word in words.iter().filter(|word| !word.contains('$')) {
            if let Some((_, protocol)) = word.split_once('/')
                && protocol != protocol.to_ascii_lowercase()
            {
                let text =
                    format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
                self.tell(place, "ExposeProtoCasing", &text);
            }
            if word.contains(':') {
                let text = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                );
                self.tell(place, "ExposeInvalidFormat", &text);
            }
        }
    }

    fn run(&mut self, place: Place, run: &super::instruction::Run, has_shell: bool) {
        let CommandLine::Shell(text) = &run.command else { return };
        if let [only] = run.heredocs.as_slice()
            && super::heredoc::is_whole(text)
            && only.body.lines().count() > 1
            && !only.body.lines().any(|line| line.trim_start().starts_with("set -"))
            && !only.body.starts_with("#!")
            && !has_shell
        {
            let text = "a line that fails does not end the command; begin with set -e";
            self.tell(place, "HeredocWithoutErrexit", text);
        }
        if text.contains(" | ") && !text.contains("pipefail") && !has_shell {
            let text = "only the last command of a pipe can fail the step; set pipefail by SHELL";
            self.tell(place, "PipeWithoutPipefail", text);
        }
        let is_unlocked = run.mounts.iter().any(|mount| {
            let target = mount.target.as_deref().unwrap_or_default();
            mount.kind == MountKind::Cache
                && (target.starts_with("/var/cache/apt") || target.starts_with("/var/lib/apt"))
                && mount.sharing.as_deref() != Some("locked")
        });
        if is_unlocked {
            let text = "apt cannot share its cache with another build; add sharing=locked";
            self.tell(place, "CacheMountWithoutLock", text);
        }
    }

    /// `# name description` stands directly above what has a name.
    fn description(&mut self, place: Place, name: Option<&str>) {
        let comments = self.dockerfile.source.comments_above(place.line);
        let Some(name) = name else { return };
        let Some(text) = comments.last().map(|line| line.trim_start_matches(['#', ' ', '\t']))
        else {
            return;
        };
        if text.is_empty()
            || text.contains("check=")
            || text.split_whitespace().next() == Some(name)
        {
            return;
        }
        let text = format!(
            "Comment for build stage or argument should follow the format: `# {name} <description>`"
        );
        self.tell(place, "InvalidDefinitionDescription", &text);
    }

    /// Stages that the last one does not need.
    fn unused_stages(&mut self) {
        let stages = &self.dockerfile.stages;
        let mut used = BTreeSet::new();
        let mut pending = vec![stages.len() - 1];
        while let Some(index) = pending.pop() {
            if used.insert(index) {
                pending.extend(needs(stages, index));
            }
        }
        for (index, stage) in stages.iter().enumerate() {
            if !used.contains(&index) {
                let name = stage.from.name.clone().unwrap_or_else(|| index.to_string());
                let text = format!("the last stage does not need the stage {name}");
                self.tell(stage.place, "UnusedStage", &text);
            }
        }
    }
}

/// The earlier stages that a stage names.
fn needs(stages: &[Stage], index: usize) -> Vec<usize> {
    let before = &stages[..index];
    let find = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let named = before.iter().rposition(|s| s.from.name.as_deref() == Some(lower.as_str()));
        named.or_else(|| name.parse().ok().filter(|number| *number < index))
    };
    let stage = &stages[index];
    let mut names = vec![stage.from.base.as_str()];
    for instruction in &stage.instructions {
        match &instruction.command {
            Command::Transfer(transfer) => names.extend(transfer.from.as_deref()),
            Command::Run(run) => names.extend(run.mounts.iter().filter_map(|m| m.from.as_deref())),
            _ => {}
        }
    }
    // What a variable names is any of them.
    if stage.from.base.contains('$') {
        return (0..index).collect();
    }
    names.into_iter().filter_map(find).collect()
}

fn argument_name(instruction: &Instruction) -> Option<&str> {
    match &instruction.command {
        Command::Arg(arguments) => arguments.first().map(|argument| argument.name.as_str()),
        _ => None,
    }
}

pub(crate) fn speaks_of_a_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut parts = lower.split('_');
    parts.any(|part| SECRET_WORDS.contains(&part)) && !lower.split('_').any(|part| part == "public")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::speaks_of_a_secret;

    #[test]
    fn knows_names_of_secrets() {
        for name in ["TOKEN", "github_token", "AWS_SECRET_KEY", "key"] {
            assert!(speaks_of_a_secret(name), "{name}");
        }
        for name in ["TOKENS", "MONKEY", "PUBLIC_KEY", "AUTHOR"] {
            assert!(!speaks_of_a_secret(name), "{name}");
        }
    }

    #[test]
    fn stands_in_order_and_is_silent_of_what_is_well() {
        let text = "FROM scratch AS One\nENV a b\nfrom scratch\nCMD x\nCMD [\"y\"]\n";
        let lines: Vec<usize> =
            parse("Dockerfile", text).unwrap().warnings.iter().map(|w| w.at.place.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 4]);
        let text = "FROM scratch AS one\nENV a=b\nFROM one\nWORKDIR /x\nWORKDIR y\nCMD [\"y\"]\n";
        assert!(parse("Dockerfile", text).unwrap().warnings.is_empty());
    }
}
