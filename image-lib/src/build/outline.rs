//! What a Dockerfile offers whoever builds it: its stages, and the arguments, secrets and agents that a
//! stage takes. Nothing is resolved, so that it needs neither store nor network.

use std::collections::BTreeMap;

use super::arguments::BuildArguments;
use super::context::Context;
use super::dockerfile::instruction::Command;
use super::dockerfile::mount::{Mount, MountKind};
use super::dockerfile::{self, Dockerfile};
use super::error::BuildError;
use super::options::BuildOptions;
use super::plan::{Plan, Scope, plan};
use super::solve::parse_for;
use crate::spec::Platform;

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStage {
    /// Its name, or its number.
    pub name: String,
    /// What it starts from, as written.
    pub base: String,
    /// The line of its `FROM`.
    pub line: usize,
    /// Whether it is built when no stage is named.
    pub is_default: bool,
}

/// What a stage takes, itself and through the stages that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The stage.
    pub target: String,
    /// Build arguments with the values that they would have.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Secrets, and whether the build fails without them.
    pub secrets: BTreeMap<String, bool>,
    /// Agents, and whether the build fails without them.
    pub agents: BTreeMap<String, bool>,
}

/// Reads the Dockerfile of a build, and nothing else.
///
/// # Errors
/// The context or the Dockerfile cannot be read or understood.
pub fn read_dockerfile(options: &BuildOptions) -> Result<Dockerfile, BuildError> {
    let (name, text) = Context::dockerfile(options.context.as_deref(), &options.dockerfile)?;
    parse_for(options, &name, &text)
}

/// The stages of a Dockerfile.
#[must_use]
pub fn targets(dockerfile: &Dockerfile) -> Vec<TargetStage> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &dockerfile::Stage)| TargetStage {
        name: stage.from.name.clone().unwrap_or_else(|| index.to_string()),
        base: stage.from.base.clone(),
        line: stage.place.line,
        is_default: index == last,
    };
    dockerfile.stages.iter().enumerate().map(target).collect()
}

/// What the target of a build takes. Triggers of images are not known here.
///
/// # Errors
/// The target does not exist; a name cannot be expanded.
pub fn outline(dockerfile: &Dockerfile, options: &BuildOptions) -> Result<Outline, BuildError> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let target = options.target.as_deref();
    let arguments = BuildArguments::new(&options.arguments, dockerfile, &platform, target)?;
    let scope = Scope { globals: arguments.globals(), contexts: &options.contexts };
    let plan = plan(dockerfile, target, scope, &mut |_, _| Ok(Vec::new()))?;
    let mut outline = Outline::default();
    if let Some(last) = plan.stages.last() {
        outline.target = last.name.clone().unwrap_or_else(|| last.index.to_string());
    }
    for instruction in &dockerfile.global_arguments {
        outline.add_arguments(&instruction.command, options, &arguments);
    }
    outline.add_stages(&plan, options, &arguments);
    Ok(outline)
}

impl Outline {
    fn add_stages(&mut self, plan: &Plan, options: &BuildOptions, arguments: &BuildArguments) {
        for command in plan.stages.iter().flat_map(|s| &s.instructions).map(|i| &i.command) {
            self.add_arguments(command, options, arguments);
            if let Command::Run(run) = command {
                run.mounts.iter().for_each(|mount| self.add_mount(mount));
            }
        }
    }

    fn add_arguments(
        &mut self,
        command: &Command,
        options: &BuildOptions,
        arguments: &BuildArguments,
    ) {
        let Command::Arg(declared) = command else { return };
        for argument in declared {
            let global = arguments.globals().get(&argument.name);
            let value = options.arguments.get(&argument.name).or(global);
            let value = value.or(argument.default.as_ref()).cloned();
            let known = self.arguments.entry(argument.name.clone()).or_default();
            *known = value.or(known.take());
        }
    }

    fn add_mount(&mut self, mount: &Mount) {
        let (list, id) = match mount.kind {
            MountKind::Secret => {
                let target = mount.target.as_deref().and_then(|path| path.rsplit('/').next());
                (&mut self.secrets, mount.id.as_deref().or(target))
            }
            MountKind::Ssh => (&mut self.agents, Some(mount.id.as_deref().unwrap_or("default"))),
            _ => return,
        };
        let is_required = list.entry(id.unwrap_or_default().to_owned()).or_default();
        *is_required |= mount.required;
    }
}
