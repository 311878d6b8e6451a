//! One stage from its base to its last instruction.
//!
//! An instruction that can change the rootfs is a step: its key is looked up, and only where there
//! is no result a workspace is made, filled and committed. The others change the configuration.

use std::path::PathBuf;

use super::cache::StepRecord;
use super::cache_key::{CacheKey, KeyMaker};
use super::dockerfile::instruction::{Command, Instruction};
use super::error::{BuildError, StepError};
use super::explain::{Fate, Position};
use super::ignore::Ignore;
use super::key_parts::Reason;
use super::metadata;
use super::owner;
use super::plan::{Origin, PlannedStage, makes_layer, shorten, step_error};
use super::progress::Step;
use super::reads::Compared;
use super::share::Turn;
use super::solve::Build;
use super::source_tree::{Selected, SourceTree};
use super::state::StageState;
use super::transfer::{Changes, Copier, Destination, absolute_path};
use super::workspace::Workspace;
use crate::spec::{Platform, Timestamp};
use crate::store::Layer;

/// A stage while it is built.
pub(super) struct StageBuilder<'a, 'b> {
    pub(super) build: &'a Build<'b>,
    pub(super) plan: &'a PlannedStage,
    pub(super) state: StageState,
    /// The platform of the stage.
    pub(super) platform: Platform,
    /// The platform that its base image says it is for.
    base_platform: Option<Platform>,
    steps_begun: usize,
    /// Whether every step is done anew.
    pub(super) is_uncached: bool,
    pub(super) position: Position,
}

/// Builds a stage whose needs are met.
pub(super) fn build_stage(
    build: &Build<'_>,
    plan: &PlannedStage,
) -> Result<StageState, BuildError> {
    let from = &build.dockerfile.stages[plan.index];
    let platform = plan.platform.clone().unwrap_or_else(|| build.platform.clone());
    let state = StageState::scratch(&platform);
    let is_uncached = build.is_uncached(plan);
    let mut builder = StageBuilder {
        build,
        plan,
        state,
        platform,
        base_platform: None,
        steps_begun: 0,
        is_uncached,
        position: Position::default(),
    };
    builder
        .start(&from.text)
        .map_err(|source| step_error(build.dockerfile, from.place, &from.text, source))?;
    builder.check_base_platform()?;
    let built = builder.instructions();
    builder.remember_instructions();
    built?;
    Ok(builder.state)
}

impl StageBuilder<'_, '_> {
    /// Carries out the instructions.
    fn instructions(&mut self) -> Result<(), BuildError> {
        let (build, plan) = (self.build, self.plan);
        for (index, instruction) in plan.instructions.iter().enumerate() {
            self.position.index.set(index);
            let begun = self.steps_begun;
            self.instruction(instruction).map_err(|source| {
                // What fails before its step begins is shown as a step, too.
                if makes_layer(&instruction.command) && self.steps_begun == begun {
                    let step = self.begin(&instruction.text);
                    build.fail_step(step, &source);
                }
                step_error(build.dockerfile, instruction.place, &instruction.text, source)
            })?;
            for (name, near) in self.state.take_unset() {
                let near = near.map_or(String::new(), |near| format!(" (did you mean ${near}?)"));
                let text = format!("Usage of undefined variable '${name}'{near}");
                build.find(instruction.place, "UndefinedVar", &text)?;
            }
        }
        Ok(())
    }

    fn start(&mut self, text: &str) -> Result<(), StepError> {
        match &self.plan.base {
            Origin::Scratch => self.explain_base(None, Fate::Hit, Vec::new()),
            Origin::Context(name) => self.start_from_context(name, text)?,
            Origin::Stage(index) => {
                self.state = self.build.finished(*index)?.continued();
                self.platform = self.state.image.platform();
                self.explain_base(None, Fate::Hit, Vec::new());
            }
            Origin::Image(name) => {
                // It is shown and not counted: an image of the store is there, and no result of a step.
                let step = self.build.reporter.begin(&self.title(text));
                if self.build.is_to_be_fetched(name, &self.platform) {
                    self.state.lineage.pending = Some(format!("FROM {name}"));
                    let change = "is not in the store and would be fetched";
                    let reason = Reason::new("base image", "", change);
                    self.explain_base(Some(step), Fate::Unknown, vec![reason]);
                    self.build.reporter.done(step);
                    return Ok(());
                }
                let image = self.build.image(name, &self.platform)?;
                let layers = image.layers().to_vec();
                self.base_platform = Some(image.config().value().platform());
                self.state = StageState::start(image.config().value().clone(), layers);
                self.state.lineage.base.clone_from(name);
                self.state.lineage.digest = image.descriptor().digest.to_string();
                self.explain_base(Some(step), Fate::Hit, Vec::new());
                self.build.reporter.done(step);
            }
        }
        Ok(())
    }

    /// Starts from the files of a named context, which become a layer; there is no configuration.
    fn start_from_context(&mut self, name: &str, text: &str) -> Result<(), StepError> {
        let tree = self.build.tree(Some(name))?;
        let selected = tree.select("/", &Ignore::default())?;
        let key = self.key("context").contents(&selected).finish();
        let step = self.begin(text);
        name.clone_into(&mut self.state.lineage.base);
        self.state.lineage.digest = key.to_string();
        let record = if let Some(record) = self.cached(&key) {
            self.explain_base(Some(step), Fate::Hit, Vec::new());
            self.build.cached_step(step);
            record
        } else if self.build.options.dry_run {
            let reason = Reason::new("context", name, "its files have not been built from before");
            self.explain_base(Some(step), Fate::WouldRun, vec![reason]);
            self.build.reporter.done(step);
            self.state.lineage.pending = Some(shorten(text));
            return Ok(());
        } else {
            let reason = Reason::new("context", name, "its files are others, or new");
            self.explain_base(Some(step), Fate::Ran, vec![reason]);
            let record = self.copy_context(tree, &selected, &key);
            match &record {
                Ok(_) => self.build.reporter.done(step),
                Err(error) => self.build.fail_step(step, error),
            }
            record?
        };
        let created = record.created;
        if let Some(layer) = record.layer {
            self.build.rely_on(&layer);
            self.state.push_layer(layer, created);
            self.state.lineage.makers.push(Some(shorten(text)));
            // BuildKit's words.
            self.state.record(format!("local source for {name}"), Some(created));
        }
        Ok(())
    }

    fn copy_context(
        &self,
        tree: &SourceTree,
        selected: &[Selected],
        key: &CacheKey,
    ) -> Result<StepRecord, StepError> {
        let workspace = Workspace::new(self.build.store, &[])?;
        let changes = Changes { owner: None, mode: None, epoch: self.build.epoch };
        let mut copier = Copier::new(workspace.root(), &changes);
        for source in selected {
            copier.copy(tree, source, &Destination::read("/", "/"))?;
        }
        copier.settle()?;
        let layer = workspace.commit(self.build.store, self.build.epoch)?;
        let record = StepRecord { created: self.build.now(), layer, twin: None };
        // Without the record the files are copied again the next time, and no worse.
        let _ = self.build.cache.put(key, &record);
        self.build.keep_step(key, &record);
        Ok(record)
    }

    fn check_base_platform(&self) -> Result<(), BuildError> {
        let (Some(found), Origin::Image(name)) = (&self.base_platform, &self.plan.base) else {
            return Ok(());
        };
        let wanted = &self.platform;
        if found.os == wanted.os && found.architecture == wanted.architecture {
            return Ok(());
        }
        let text = format!(
            "Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build"
        );
        let place = self.build.dockerfile.stages[self.plan.index].place;
        self.build.find(place, "InvalidBaseImagePlatform", &text)
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), StepError> {
        if self.build.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        if let Some(reason) = self.open_source(&instruction.command) {
            let step = self.begin(&instruction.text);
            self.leave_open(step, Fate::Unknown, vec![reason], instruction.text.clone());
            return Ok(());
        }
        let escape = self.build.escape();
        match &instruction.command {
            Command::Run(run) => self.run(run, &instruction.text),
            Command::Transfer(transfer) => self.transfer(transfer, &instruction.text),
            Command::Workdir(path) => self.workdir(path, &instruction.text),
            command => {
                let arguments = self.build.arguments;
                metadata::apply(&mut self.state, command, arguments, escape).map(|_| ())
            }
        }
    }

    /// Begins a step.
    pub(super) fn begin(&mut self, text: &str) -> Step {
        let title = self.title(text);
        self.build.begin(&title)
    }

    /// The next step, named as progress shows it.
    fn title(&mut self, text: &str) -> String {
        self.steps_begun += 1;
        let total = self.plan.steps();
        let several = self.build.stage_count > 1;
        let name = match &self.plan.name {
            Some(name) => format!("{name} "),
            None if several => format!("stage-{} ", self.plan.index),
            None => String::new(),
        };
        let width = total.to_string().len();
        format!("[{name}{:>width$}/{total}] {}", self.steps_begun, shorten(text))
    }

    /// The beginning of a key: what the step starts from.
    pub(super) fn key(&self, kind: &str) -> KeyMaker {
        let epoch = self.build.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
        KeyMaker::new(kind).part("epoch", epoch)
    }

    /// The diff ids so far, which stand for the whole rootfs.
    pub(super) fn layer_parts(&self) -> Vec<String> {
        let ids = self.state.layers.iter().map(|layer| layer.diff_id.to_string());
        let pending = self.state.lineage.pending.iter().map(|step| format!("pending {step}"));
        ids.chain(pending).collect()
    }

    /// The result of an earlier build, if its layer is still there.
    pub(super) fn cached(&self, key: &CacheKey) -> Option<StepRecord> {
        if self.is_uncached {
            return None;
        }
        let record = self.own(key).or_else(|| self.build.imported(key))?;
        self.build.keep_step(key, &record);
        Some(record)
    }

    /// The right to do a step alone, where its result is shared at all.
    fn turn(&self, key: &CacheKey) -> Option<Turn> {
        if self.is_uncached || self.build.options.dry_run {
            return None;
        }
        self.build.cache.turn(key, &|| self.build.is_cancelled())
    }

    /// What this store's cache has.
    pub(super) fn own(&self, key: &CacheKey) -> Option<StepRecord> {
        let record = self.build.cache.get(key)?;
        let present = |layer: &Layer| {
            let blob = &layer.descriptor;
            self.build.store.has_blob(&blob.digest, blob.size)
        };
        record.layer.as_ref().is_none_or(present).then_some(record)
    }

    /// Takes a result over, cached or new.
    pub(super) fn take(&mut self, record: StepRecord, created_by: String) {
        let created = record.created;
        let has_layer = record.layer.is_some();
        if let Some(layer) = record.layer {
            self.build.rely_on(&layer);
            self.state.push_layer(layer, created);
            let text = self.plan.instructions.get(self.position.index.get());
            self.state.lineage.makers.push(text.map(|instruction| shorten(&instruction.text)));
        }
        self.state.record(created_by, has_layer.then_some(created));
    }

    /// A step whose key is known: takes it from the cache, or does `work` and keeps the workspace
    /// that comes of it. `reads` is the key by which is known what its command reads.
    pub(super) fn step(
        &mut self,
        text: &str,
        (key, reads): (&CacheKey, Option<&CacheKey>),
        created_by: String,
        work: impl FnOnce(&Self, Step) -> Result<Workspace, StepError>,
    ) -> Result<(), StepError> {
        let step = self.begin(text);
        if let Some(record) = self.cached(key) {
            self.explain_hit(step, Some(key));
            self.build.cached_step(step);
            self.take(record, created_by);
            return Ok(());
        }
        let compared = reads.map_or(Ok(Compared::Unknown), |reads| self.compare_reads(reads));
        let change = match compared {
            Ok(Compared::Same { record, paths }) => {
                self.explain_hit_by_reads(step, key, paths);
                self.build.cached_step(step);
                self.adopt(key, &record);
                self.take(*record, created_by);
                return Ok(());
            }
            Ok(Compared::Changed(reason)) => Some(reason),
            Ok(Compared::Unknown) => None,
            Err(error) => {
                self.build.fail_step(step, &error);
                return Err(error);
            }
        };
        if self.build.options.dry_run {
            self.would_run(step, key, change, created_by);
            return Ok(());
        }
        // Somebody else may be at it; then the result is there when it is this build's turn.
        let turn = self.turn(key);
        if turn.is_some()
            && let Some(record) = self.own(key)
        {
            self.build.keep_step(key, &record);
            self.explain_hit(step, Some(key));
            self.build.cached_step(step);
            self.take(record, created_by);
            return Ok(());
        }
        self.explain_miss(step, key, change);
        let record = work(self, step).and_then(|workspace| self.commit(workspace, &[key]));
        match record {
            Ok(record) => {
                self.build.reporter.done(step);
                self.take(record, created_by);
                Ok(())
            }
            Err(error) => {
                self.build.fail_step(step, &error);
                Err(error)
            }
        }
    }

    /// Keeps a result that was found by what was read under the key of the step, too.
    fn adopt(&self, key: &CacheKey, record: &StepRecord) {
        if self.build.options.dry_run {
            return;
        }
        // Without the record it is found as it was now.
        let _ = self.build.cache.put(key, record);
        self.build.keep_step(key, record);
    }

    /// Makes what was done a layer and keeps it under `keys`.
    pub(super) fn commit(
        &self,
        workspace: Workspace,
        keys: &[&CacheKey],
    ) -> Result<StepRecord, StepError> {
        let layer = workspace.commit(self.build.store, self.build.epoch)?;
        let twin = keys.get(1).map(|key| (*key).clone());
        let record = StepRecord { created: self.build.now(), layer, twin };
        for key in keys {
            // Without the record the step is done again the next time, and no worse.
            let _ = self.build.cache.put(key, &record);
            self.build.keep_step(key, &record);
        }
        // The last one is made of contents, where there are several.
        if let Some(key) = keys.last() {
            self.remember(key);
        }
        Ok(record)
    }

    fn workdir(&mut self, path: &str, text: &str) -> Result<(), StepError> {
        let path = self.state.expand(path, self.build.escape())?.text;
        let path = absolute_path(self.state.working_directory(), &path);
        self.state.config().working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        let user = self.state.config().user.clone();
        let key = self
            .key("workdir")
            .parts("layers", self.layer_parts())
            .part("path", &path)
            .part("user", &user)
            .finish();
        self.step(text, (&key, None), created_by, |stage, _| {
            let workspace = Workspace::new(stage.build.store, &stage.state.layers)?;
            let owner = match user.as_str() {
                "" => None,
                user => Some(owner::resolve(workspace.root(), user)?),
            };
            let changes = Changes { owner, mode: None, epoch: stage.build.epoch };
            let mut copier = Copier::new(workspace.root(), &changes);
            copier.make_directories(&PathBuf::from(&path), stage.build.now())?;
            copier.settle()?;
            Ok(workspace)
        })
    }
}

impl Build<'_> {
    /// Whether the steps of a stage are done anew: all of them, or those of stages that were named.
    fn is_uncached(&self, plan: &PlannedStage) -> bool {
        let name = plan.name.clone().unwrap_or_else(|| plan.index.to_string());
        let named = &self.options.no_cache_stages;
        self.options.no_cache || named.iter().any(|other| other.eq_ignore_ascii_case(&name))
    }

    /// The time that new things get.
    pub(super) fn now(&self) -> Timestamp {
        self.epoch.unwrap_or_else(Timestamp::now)
    }
}
