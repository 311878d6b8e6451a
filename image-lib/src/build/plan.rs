//! Which stages a target needs, and what each starts from: a graph, computed without touching
//! anything but the names that it is given.
//!
//! A stage that the target does not reach is not in the plan, and so neither built nor resolved.
//! Dependencies always stand earlier in the file, so that file order is an order of building.

use std::collections::{BTreeMap, BTreeSet};

use super::base::LAYOUT_SCHEME;
use super::dockerfile::expand::{Quotes, expand};
use super::dockerfile::instruction::{Command, Instruction, Transfer};
use super::dockerfile::mount::MountKind;
use super::dockerfile::parser::parse_trigger;
use super::dockerfile::word::did_you_mean;
use super::dockerfile::{Dockerfile, Place, Stage};
use super::error::{BuildError, StepError};
use super::options::NamedContext;
use crate::reference::Reference;
use crate::spec::Platform;

/// The name of nothing, where an image could stand.
const SCRATCH: &str = "scratch";

/// Where something is taken from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nothing at all.
    Scratch,
    /// A stage, by its index in the Dockerfile.
    Stage(usize),
    /// An image, by the name that the Dockerfile or a named context gives.
    Image(String),
    /// The directory of a named context.
    Context(String),
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
    /// What `FROM --platform` says, expanded.
    pub platform: Option<Platform>,
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

    /// How many steps progress counts to: the base, if it has files that no stage has made, and each
    /// instruction that can change the rootfs.
    #[must_use]
    pub fn steps(&self) -> usize {
        let base = usize::from(matches!(self.base, Origin::Image(_) | Origin::Context(_)));
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

/// What names mean that a Dockerfile does not explain itself.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The arguments that `FROM` may use.
    pub globals: &'a BTreeMap<String, String>,
    /// The named contexts, which win over stages and images.
    pub contexts: &'a BTreeMap<String, NamedContext>,
}

impl Scope<'_> {
    /// What a named context of that name stands for. An image is the same with and without its
    /// default registry and tag.
    fn context(&self, stages: &[Stage], name: &str) -> Result<Option<Origin>, StepError> {
        let image = || name.parse::<Reference>().ok().map(Reference::or_latest);
        let same_image = |other: &String| {
            let other = other.parse::<Reference>().ok().map(Reference::or_latest);
            other.is_some() && other == image()
        };
        let same = |other: &String| other.eq_ignore_ascii_case(name) || same_image(other);
        if self.contexts.is_empty() {
            return Ok(None);
        }
        let Some((key, context)) = self.contexts.iter().find(|(other, _)| same(other)) else {
            return Ok(None);
        };
        Ok(Some(match context {
            NamedContext::Directory(_) => Origin::Context(key.clone()),
            NamedContext::Image(image) if image == SCRATCH => Origin::Scratch,
            NamedContext::Image(image) => Origin::Image(image.clone()),
            NamedContext::Layout(place) => Origin::Image(format!("{LAYOUT_SCHEME}{place}")),
            NamedContext::Stage(stage) => Origin::Stage(
                find_stage(stages, stage)
                    .ok_or_else(|| StepError::Value(format!("there is no stage {stage:?}")))?,
            ),
        }))
    }
}

/// Gives the triggers of an image for a platform; without one, for that of the build.
pub type Triggers<'a> = dyn FnMut(&str, Option<&Platform>) -> Result<Vec<String>, StepError> + 'a;

/// Plans the build of `target`, or of the last stage. `triggers` gives the `OnBuild` of an image.
///
/// # Errors
/// The target does not exist, a base has no name, or a trigger is none.
pub fn plan(
    dockerfile: &Dockerfile,
    target: Option<&str>,
    scope: Scope<'_>,
    triggers: &mut Triggers<'_>,
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
        let found = plan_stage(dockerfile, index, scope, triggers)
            .map_err(|source| step_error(dockerfile, stage.place, &stage.text, source))??;
        wanted.extend(found.needs());
        planned.insert(index, found);
    }
    Ok(Plan { stages: planned.into_values().collect() })
}

/// An error of the instruction `text` at `place`.
#[must_use]
pub fn step_error(
    dockerfile: &Dockerfile,
    place: Place,
    text: &str,
    source: StepError,
) -> BuildError {
    let escape = dockerfile.directives.escape;
    let find = |word| dockerfile.source.find(place, escape, word);
    let at = dockerfile.source.spot(source.word().and_then(find).unwrap_or(place));
    BuildError::Step { at, instruction: shorten(text), source: Box::new(source) }
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

fn find_stage(stages: &[Stage], name: &str) -> Option<usize> {
    let numbered = || name.parse().ok().filter(|index: &usize| *index < stages.len());
    earlier_stage(stages, name).or_else(numbered)
}

fn find_target(stages: &[Stage], name: &str) -> Result<usize, BuildError> {
    find_stage(stages, name).ok_or_else(|| {
        let names = stages.iter().filter_map(|stage| stage.from.name.as_deref());
        let near = did_you_mean(&name.to_ascii_lowercase(), names).map(str::to_owned);
        BuildError::Target { name: name.to_owned(), near }
    })
}

type Planned = Result<PlannedStage, BuildError>;

fn plan_stage(
    dockerfile: &Dockerfile,
    index: usize,
    scope: Scope<'_>,
    triggers: &mut Triggers<'_>,
) -> Result<Planned, StepError> {
    let stage = &dockerfile.stages[index];
    let name = stage.from.name.clone();
    let expanded = |word: &String| {
        expand(word, scope.globals, dockerfile.directives.escape, Quotes::Remove)
            .map(|expanded| expanded.text)
            .map_err(|message| StepError::Expansion { word: word.clone(), message })
    };
    let platform = stage.from.platform.as_ref().map(expanded).transpose()?;
    let platform = platform.filter(|text| !text.is_empty());
    let platform = platform.map(|text| text.parse::<Platform>()).transpose();
    let platform = platform.map_err(|error| StepError::Value(error.to_string()))?;
    // A context in the place of a stage is all that there is of the stage.
    if let Some(name) = &name
        && let Some(base) = scope.context(&dockerfile.stages, name)?
    {
        let (instructions, origins) = (Vec::new(), BTreeMap::new());
        let name = Some(name.clone());
        return Ok(Ok(PlannedStage { index, name, base, platform, instructions, origins }));
    }
    let base = expanded(&stage.from.base)?;
    let written = &stage.from.base;
    if base.is_empty() {
        return Err(StepError::Value(format!("base name ({written}) should not be blank")));
    }
    let before = &dockerfile.stages[..index];
    let base = match (scope.context(&dockerfile.stages, &base)?, earlier_stage(before, &base)) {
        (Some(context), _) => context,
        (None, Some(found)) => Origin::Stage(found),
        (None, None) if base == SCRATCH => Origin::Scratch,
        (None, None) => Origin::Image(base),
    };
    let texts = match &base {
        Origin::Scratch | Origin::Context(_) => Vec::new(),
        Origin::Stage(found) => own_triggers(&dockerfile.stages[*found]),
        Origin::Image(name) => triggers(name, platform.as_ref())?,
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
            match origin(&dockerfile.stages, index, name, scope) {
                Ok(origin) => origins.insert(name.to_owned(), origin),
                Err(source) => {
                    let place = instruction.place;
                    return Ok(Err(step_error(dockerfile, place, &instruction.text, source)));
                }
            };
        }
    }
    Ok(Ok(PlannedStage { index, name, base, platform, instructions, origins }))
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
pub(super) fn from_names(command: &Command) -> Vec<&str> {
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

fn origin(
    stages: &[Stage],
    index: usize,
    name: &str,
    scope: Scope<'_>,
) -> Result<Origin, StepError> {
    let before = &stages[..index];
    if let Some(context) = scope.context(stages, name)? {
        return Ok(context);
    }
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
        SCRATCH => Ok(Origin::Scratch),
        _ => Ok(Origin::Image(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::parse;
    use super::{BuildError, NamedContext, Origin, Plan, Scope, plan};

    fn build(text: &str, target: Option<&str>) -> Result<Plan, BuildError> {
        let dockerfile = parse("Dockerfile", text).unwrap();
        let globals = [("V".to_owned(), "1".to_owned())].into();
        let contexts = [
            ("given".to_owned(), NamedContext::Directory("/d".into())),
            ("debian".to_owned(), NamedContext::Image("other:2".to_owned())),
        ];
        let scope = Scope { globals: &globals, contexts: &contexts.into() };
        plan(&dockerfile, target, scope, &mut |name, _| {
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
    fn named_contexts_win() {
        let found = build("FROM docker.io/library/debian:latest\nCOPY --from=given a b\n", None);
        let stages = found.unwrap().stages;
        assert_eq!(stages[0].base, Origin::Image("other:2".into()));
        assert_eq!(stages[0].origins["given"], Origin::Context("given".into()));
        let found = build("FROM x AS debian\nRUN x\nFROM debian\n", None).unwrap();
        assert_eq!(found.stages.len(), 1, "the stage of that name is not built");
        let found = build("FROM given\n", None).unwrap();
        assert_eq!(found.stages[0].base, Origin::Context("given".into()));
        assert_eq!(found.stages[0].steps(), 1);
    }

    #[test]
    fn refuses_what_is_not_there() {
        let error = build(STAGES, Some("d")).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean a?"));
        let error = build("FROM $N\n", None).unwrap_err();
        assert_eq!(error.to_string(), "Dockerfile:1:1: FROM $N");
        let error = build("FROM x\nCOPY --from=0 a b\n", None).unwrap_err();
        assert_eq!(error.to_string(), "Dockerfile:2:1: COPY --from=0 a b");
    }
}
