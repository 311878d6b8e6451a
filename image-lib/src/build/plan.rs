//! Which stages a target needs, and what each starts from: a graph, computed without touching
//! anything but the names that it is given.
//!
//! A stage that the target does not reach is not in the plan, and so neither built nor resolved.
//! Dependencies always stand earlier in the file, so that file order is an order of building.

use std::collections::{BTreeMap, BTreeSet};

use super::dockerfile::expand::{Quotes, expand};
use super::dockerfile::instruction::{Command, Instruction, Transfer};
use super::dockerfile::mount::MountKind;
use super::dockerfile::parser::parse_trigger;
use super::dockerfile::word::did_you_mean;
use super::dockerfile::{Dockerfile, Stage};
use super::error::{BuildError, StepError};

/// Where something is taken from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nothing at all.
    Scratch,
    /// A stage, by its index in the Dockerfile.
    Stage(usize),
    /// An image of the store, by the name that the Dockerfile gives.
    Image(String),
}

/// A stage that is built.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// Its index in the Dockerfile.
    pub index: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it starts from.
    pub base: Origin,
    /// Triggers of the base, then its own instructions.
    pub instructions: Vec<Instruction>,
    /// What the names in `--from` mean.
    pub origins: BTreeMap<String, Origin>,
}

impl PlannedStage {
    /// The stages that must be built before.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<usize> {
        let origins = self.origins.values().chain([&self.base]);
        origins
            .filter_map(|o| if let Origin::Stage(index) = o { Some(*index) } else { None })
            .collect()
    }

    /// How many steps progress counts to: the base image, if there is one, and each instruction
    /// that can change the rootfs.
    #[must_use]
    pub fn steps(&self) -> usize {
        let base = usize::from(matches!(self.base, Origin::Image(_)));
        base + self.instructions.iter().filter(|i| makes_layer(&i.command)).count()
    }
}

/// Whether an instruction can change the rootfs.
#[must_use]
pub fn makes_layer(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Transfer(_) | Command::Workdir(_))
}

/// What is built, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The stages; each stands after those it needs, and the target is the last.
    pub stages: Vec<PlannedStage>,
}

/// Plans the build of `target`, or of the last stage. `globals` are the arguments that `FROM` may
/// use; `triggers` gives the `OnBuild` of an image.
///
/// # Errors
/// The target does not exist, a base has no name, or a trigger is none.
pub fn plan(
    dockerfile: &Dockerfile,
    target: Option<&str>,
    globals: &BTreeMap<String, String>,
    triggers: &mut dyn FnMut(&str) -> Result<Vec<String>, StepError>,
) -> Result<Plan, BuildError> {
    let target = match target {
        None => dockerfile.stages.len() - 1,
        Some(name) => find_target(&dockerfile.stages, name)?,
    };
    let mut planned: BTreeMap<usize, PlannedStage> = BTreeMap::new();
    let mut wanted = vec![target];
    while let Some(index) = wanted.pop() {
        if planned.contains_key(&index) {
            continue;
        }
        let stage = &dockerfile.stages[index];
        let found = plan_stage(dockerfile, index, globals, triggers)
            .map_err(|source| step_error(dockerfile, stage.place.line, &stage.text, source))??;
        wanted.extend(found.needs());
        planned.insert(index, found);
    }
    Ok(Plan { stages: planned.into_values().collect() })
}

/// An error of the instruction `text` at `line`.
#[must_use]
pub fn step_error(
    dockerfile: &Dockerfile,
    line: usize,
    text: &str,
    source: StepError,
) -> BuildError {
    let file = dockerfile.source.name().to_owned();
    let source = Box::new(source);
    BuildError::Step { file, line, instruction: shorten(text), source }
}

/// One line that shows an instruction.
#[must_use]
pub fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn find_target(stages: &[Stage], name: &str) -> Result<usize, BuildError> {
    let lower = name.to_ascii_lowercase();
    let named = stages.iter().rposition(|stage| stage.from.name.as_deref() == Some(lower.as_str()));
    let numbered = || name.parse().ok().filter(|index: &usize| *index < stages.len());
    named.or_else(numbered).ok_or_else(|| {
        let names = stages.iter().filter_map(|stage| stage.from.name.as_deref());
        let near = did_you_mean(&lower, names).map(str::to_owned);
        BuildError::Target { name: name.to_owned(), near }
    })
}

type Planned = Result<PlannedStage, BuildError>;

fn plan_stage(
    dockerfile: &Dockerfile,
    index: usize,
    globals: &BTreeMap<String, String>,
    triggers: &mut dyn FnMut(&str) -> Result<Vec<String>, StepError>,
) -> Result<Planned, StepError> {
    let stage = &dockerfile.stages[index];
    let written = &stage.from.base;
    let base = expand(written, globals, dockerfile.directives.escape, Quotes::Remove)
        .map_err(|message| StepError::Expansion { word: written.clone(), message })?
        .text;
    if base.is_empty() {
        return Err(StepError::Value(format!("base name ({written}) should not be blank")));
    }
    let before = &dockerfile.stages[..index];
    let base = match earlier_stage(before, &base) {
        Some(found) => Origin::Stage(found),
        None if base == "scratch" => Origin::Scratch,
        None => Origin::Image(base),
    };
    let texts = match &base {
        Origin::Scratch => Vec::new(),
        Origin::Stage(found) => own_triggers(&dockerfile.stages[*found]),
        Origin::Image(name) => triggers(name)?,
    };
    let mut instructions = Vec::new();
    for text in texts {
        let command = parse_trigger(&text).map_err(|message| {
            StepError::Value(format!("the base's trigger {text:?} is no instruction: {message}"))
        })?;
        instructions.push(Instruction { place: stage.place, text, command });
    }
    instructions.extend(stage.instructions.iter().cloned());
    let mut origins = BTreeMap::new();
    for instruction in &instructions {
        for name in from_names(&instruction.command) {
            match origin(before, index, name) {
                Ok(origin) => origins.insert(name.to_owned(), origin),
                Err(source) => {
                    let line = instruction.place.line;
                    return Ok(Err(step_error(dockerfile, line, &instruction.text, source)));
                }
            };
        }
    }
    let name = stage.from.name.clone();
    Ok(Ok(PlannedStage { index, name, base, instructions, origins }))
}

/// The triggers that a stage leaves to those that start from it.
fn own_triggers(stage: &Stage) -> Vec<String> {
    let texts = stage.instructions.iter().filter_map(|instruction| match &instruction.command {
        Command::Onbuild(text) => Some(text.clone()),
        _ => None,
    });
    texts.collect()
}

fn earlier_stage(before: &[Stage], name: &str) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    before.iter().rposition(|stage| stage.from.name.as_deref() == Some(lower.as_str()))
}

/// The names that `--from` takes something from.
fn from_names(command: &Command) -> Vec<&str> {
    match command {
        Command::Transfer(Transfer { from: Some(name), .. }) => vec![name],
        Command::Run(run) => run
            .mounts
            .iter()
            .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Cache))
            .filter_map(|mount| mount.from.as_deref())
            .collect(),
        _ => Vec::new(),
    }
}

fn origin(before: &[Stage], index: usize, name: &str) -> Result<Origin, StepError> {
    if let Some(found) = earlier_stage(before, name) {
        return Ok(Origin::Stage(found));
    }
    if let Ok(number) = name.parse::<usize>() {
        if number < before.len() {
            return Ok(Origin::Stage(number));
        }
        let reason = if number == index {
            "refers to the current build stage"
        } else {
            "there is no such earlier stage"
        };
        return Err(StepError::Value(format!("invalid from flag value {name}: {reason}")));
    }
    match name {
        "" => Err(StepError::Value("the --from flag has no value".to_owned())),
        "scratch" => Ok(Origin::Scratch),
        _ => Ok(Origin::Image(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::parse;
    use super::{BuildError, Origin, Plan, plan};

    fn build(text: &str, target: Option<&str>) -> Result<Plan, BuildError> {
        let dockerfile = parse("Dockerfile", text).unwrap();
        let globals = [("V".to_owned(), "1".to_owned())].into();
        plan(&dockerfile, target, &globals, &mut |name| {
            Ok(if name == "trigger" { vec!["COPY --from=a x y".to_owned()] } else { vec![] })
        })
    }

    fn indexes(text: &str, target: Option<&str>) -> Vec<usize> {
        build(text, target).unwrap().stages.iter().map(|stage| stage.index).collect()
    }

    const STAGES: &str =
        "FROM x AS a\nFROM y AS b\nFROM a AS c\nCOPY --from=b / /\nFROM z\nCOPY --from=0 / /\n";

    #[test]
    fn plans_only_what_is_reached() {
        assert_eq!(indexes(STAGES, None), [0, 3]);
        assert_eq!(indexes(STAGES, Some("C")), [0, 1, 2]);
        assert_eq!(indexes(STAGES, Some("1")), [1]);
    }

    #[test]
    fn lets_earlier_stages_shadow_images() {
        let found = build("FROM x AS y\nFROM Y\n", None).unwrap();
        assert_eq!(found.stages[1].base, Origin::Stage(0));
        let found = build("FROM y\nFROM x AS y\n", Some("0")).unwrap();
        assert_eq!(found.stages[0].base, Origin::Image("y".into()));
        let found = build("FROM img:${V}\n", None).unwrap();
        assert_eq!(found.stages[0].base, Origin::Image("img:1".into()));
    }

    #[test]
    fn follows_what_triggers_need() {
        assert_eq!(indexes("FROM x AS a\nFROM trigger\n", None), [0, 1]);
        let text = "FROM x AS a\nFROM x AS b\nONBUILD COPY --from=a / /\nFROM b\n";
        assert_eq!(indexes(text, None), [0, 1, 2]);
    }

    #[test]
    fn refuses_what_is_not_there() {
        let error = build(STAGES, Some("d")).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean a?"));
        let error = build("FROM $N\n", None).unwrap_err();
        assert_eq!(error.to_string(), "Dockerfile:1: FROM $N");
        let error = build("FROM x\nCOPY --from=0 a b\n", None).unwrap_err();
        assert_eq!(error.to_string(), "Dockerfile:2: COPY --from=0 a b");
    }
}
