//! The build itself: stages on threads, each beginning when those it needs are done, then the
//! image of the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::BuildOptions;
use super::arguments::{BuildArguments, SOURCE_DATE_EPOCH, parse_epoch};
use super::attest::Material;
use super::base::Images;
use super::cache::{BuildCache, StepRecord};
use super::cache_key::{CacheKey, KeyMaker};
use super::context::{Context, open_named};
use super::dockerfile::instruction::{Command, Verb};
use super::dockerfile::{self, Dockerfile, DockerfileError, Place};
use super::error::{BuildError, StepError};
use super::execute::Executor;
use super::options::NamedContext;
use super::output::{Built, DockerfileText};
use super::plan::{Origin, Plan, PlannedStage, Scope, plan};
use super::progress::{Report, Step};
use super::shared_cache::KeptStep;
use super::source_tree::SourceTree;
use super::stage::build_stage;
use super::state::StageState;
use crate::identity::Digest;
use crate::spec::{ImageConfig, Platform, Timestamp};
use crate::store::{Layer, Store};

/// What all stages of one build share.
pub(super) struct Build<'a> {
    pub(super) store: &'a Store,
    pub(super) cache: &'a BuildCache,
    pub(super) options: &'a BuildOptions,
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) arguments: &'a BuildArguments,
    pub(super) context: &'a Context,
    pub(super) executor: &'a dyn Executor,
    pub(super) reporter: &'a dyn Report,
    pub(super) platform: Platform,
    pub(super) epoch: Option<Timestamp>,
    pub(super) images: Images,
    named_trees: BTreeMap<String, SourceTree>,
    pub(super) stage_count: usize,
    /// Set when a stage fails: the others end at their next instruction.
    failed: AtomicBool,
    steps: AtomicUsize,
    cached: AtomicUsize,
    kept_steps: Mutex<Vec<KeptStep>>,
    relied: Mutex<BTreeSet<Digest>>,
    /// Sources of `ADD` that are elsewhere.
    materials: Mutex<BTreeSet<Material>>,
    results: Results,
}

#[derive(Default)]
struct Results {
    by_stage: Mutex<BTreeMap<usize, Result<Arc<StageState>, ()>>>,
    changed: Condvar,
}

/// Carries out the instructions. The caller holds a [`crate::store::Hold`] until the layers belong to an
/// image or are not needed any more.
///
/// # Errors
/// See [`BuildError`]. Nothing is left behind but cached results of steps that succeeded.
pub fn solve(
    store: &Store,
    options: &BuildOptions,
    executor: &dyn Executor,
    reporter: &dyn Report,
) -> Result<Built, BuildError> {
    let cache = BuildCache::new(cache_directory(store));
    let step = reporter.begin("[internal] load build definition from Dockerfile");
    let nothing = store.scratch().map_err(BuildError::Store)?;
    let directory = options.context.as_deref().unwrap_or(nothing.path());
    let kept = Some(&cache).filter(|_| options.context.is_some() && options.context_name.is_none());
    let opened = Context::open(directory, &options.dockerfile, kept).and_then(|context| {
        let dockerfile = parse_for(options, &context.dockerfile_name, &context.dockerfile_text)?;
        Ok((context, dockerfile))
    });
    let (context, dockerfile) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            reporter.failed(step, error.to_string().lines().next().unwrap_or_default());
            return Err(error);
        }
    };
    reporter.done(step);
    let mut findings = dockerfile.warnings.clone();
    findings.extend(ignored_sources(&dockerfile, &context.tree));
    for finding in &findings {
        reporter.warning(&finding.to_string());
    }
    if dockerfile.findings_are_errors() && !findings.is_empty() {
        return Err(binding(&findings));
    }
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let target = options.target.as_deref();
    let arguments = BuildArguments::new(&options.arguments, &dockerfile, &platform, target)?;
    let epoch = epoch(&arguments)?;
    let mut build = Build {
        store,
        cache: &cache,
        options,
        dockerfile: &dockerfile,
        arguments: &arguments,
        context: &context,
        executor,
        reporter,
        platform,
        epoch,
        images: Images::default(),
        named_trees: BTreeMap::new(),
        stage_count: 0,
        failed: AtomicBool::new(false),
        steps: AtomicUsize::new(0),
        cached: AtomicUsize::new(0),
        kept_steps: Mutex::default(),
        relied: Mutex::default(),
        materials: Mutex::default(),
        results: Results::default(),
    };
    let scope = Scope { globals: arguments.globals(), contexts: &options.contexts };
    let plan = plan(&dockerfile, target, scope, &mut |name, platform| {
        let platform = platform.unwrap_or(&build.platform);
        if build.is_to_be_fetched(name, platform) {
            return Ok(Vec::new());
        }
        let image = build.image(name, platform)?;
        Ok(image.config().value().execution().on_build.unwrap_or_default())
    })?;
    build.stage_count = plan.stages.len();
    build.named_trees = open_named_trees(&plan, options, &cache)?;
    let state = build.solve(&plan);
    if !options.dry_run {
        context.tree.save_stat_cache();
        build.named_trees.values().for_each(SourceTree::save_stat_cache);
        build.retain();
    }
    let state = state?;
    build.warn_of_unused_arguments(&plan);
    Ok(build.finish_image(&state))
}

/// Reads the Dockerfile of a build, whose arguments may say which checks hold.
pub(super) fn parse_for(
    options: &BuildOptions,
    name: &str,
    text: &str,
) -> Result<Dockerfile, BuildError> {
    const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";
    let mut dockerfile = dockerfile::parse(name, text)?;
    if let Some(text) = options.arguments.get(CHECK) {
        let refused = |reason| BuildError::Option { option: CHECK.to_owned(), reason };
        dockerfile.check_by(text).map_err(refused)?;
    }
    Ok(dockerfile)
}

/// The rules of findings that end the build.
fn binding(findings: &[DockerfileError]) -> BuildError {
    let names = findings.iter().filter_map(|finding| finding.message.split(':').next());
    let names: BTreeSet<&str> = names.collect();
    BuildError::Check { rules: names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// Sources of copies that `.dockerignore` leaves out.
fn ignored_sources(dockerfile: &Dockerfile, tree: &SourceTree) -> Vec<DockerfileError> {
    let instructions = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    let mut found = Vec::new();
    for instruction in instructions {
        let Command::Transfer(transfer) = &instruction.command else { continue };
        if transfer.from.is_some() {
            continue;
        }
        let word = if transfer.verb == Verb::Copy { "Copy" } else { "Add" };
        for source in transfer.sources.iter().filter(|source| tree.leaves_out(source)) {
            let text =
                format!("Attempting to {word} file {source:?} that is excluded by .dockerignore");
            found.extend(dockerfile.finding(instruction.place, "CopyIgnoredFile", &text));
        }
    }
    found
}

/// The directories that the plan takes files from by a name.
fn open_named_trees(
    plan: &Plan,
    options: &BuildOptions,
    cache: &BuildCache,
) -> Result<BTreeMap<String, SourceTree>, BuildError> {
    let mut trees = BTreeMap::new();
    for origin in plan.stages.iter().flat_map(|s| s.origins.values().chain([&s.base])) {
        let Origin::Context(name) = origin else { continue };
        if let Some(NamedContext::Directory(path)) = options.contexts.get(name)
            && !trees.contains_key(name)
        {
            trees.insert(name.clone(), open_named(path, cache)?);
        }
    }
    Ok(trees)
}

/// Where the build cache of a store is.
pub(super) fn cache_directory(store: &Store) -> std::path::PathBuf {
    store.path().join("cache")
}

/// The time that is fixed by an argument, or by the environment of the caller.
fn epoch(arguments: &BuildArguments) -> Result<Option<Timestamp>, BuildError> {
    if let Some(epoch) = arguments.epoch()? {
        return Ok(Some(epoch));
    }
    match std::env::var(SOURCE_DATE_EPOCH) {
        Ok(text) if !text.is_empty() => parse_epoch(&text).map(Some),
        _ => Ok(None),
    }
}

impl Build<'_> {
    pub(super) fn escape(&self) -> char {
        self.dockerfile.directives.escape
    }

    /// Whether the build is over: a stage failed, or the caller wants no more of it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.options.cancelled.load(Ordering::Relaxed)
    }

    /// Tells what a check found that needs values.
    pub(super) fn find(&self, place: Place, rule: &str, text: &str) -> Result<(), BuildError> {
        let Some(finding) = self.dockerfile.finding(place, rule, text) else { return Ok(()) };
        self.reporter.warning(&finding.to_string());
        if self.dockerfile.findings_are_errors() { Err(binding(&[finding])) } else { Ok(()) }
    }

    pub(super) fn begin(&self, title: &str) -> Step {
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.reporter.begin(title)
    }

    pub(super) fn cached_step(&self, step: Step) {
        self.cached.fetch_add(1, Ordering::Relaxed);
        self.reporter.cached(step);
    }

    /// Notes what a step came to, where an export wants it.
    pub(super) fn keep_step(&self, key: &CacheKey, record: &StepRecord) {
        if self.options.keep_steps {
            let mut kept = self.kept_steps.lock().unwrap_or_else(PoisonError::into_inner);
            for key in record.twin.iter().chain([key]) {
                kept.push(KeptStep { key: key.clone(), record: record.clone() });
            }
        }
    }

    pub(super) fn fail_step(&self, step: Step, error: &StepError) {
        let text = error.to_string();
        if matches!(error, StepError::Cancelled) {
            return self.reporter.failed(step, "CANCELED");
        }
        self.reporter.failed(step, text.lines().next().unwrap_or_default());
    }

    /// The files of a named context, or of the context itself.
    pub(super) fn tree(&self, name: Option<&str>) -> Result<&SourceTree, StepError> {
        let Some(name) = name else { return Ok(&self.context.tree) };
        let missing = || StepError::Value(format!("there is no context {name:?}"));
        self.named_trees.get(name).ok_or_else(missing)
    }

    /// The result of a stage that stands before in the plan, waited for.
    pub(super) fn finished(&self, index: usize) -> Result<Arc<StageState>, StepError> {
        let mut results = self.results.by_stage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match results.get(&index) {
                Some(Ok(state)) => return Ok(Arc::clone(state)),
                Some(Err(())) => return Err(StepError::Cancelled),
                None => {}
            }
            results = self.results.changed.wait(results).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, index: usize, result: Result<Arc<StageState>, ()>) {
        let mut results = self.results.by_stage.lock().unwrap_or_else(PoisonError::into_inner);
        results.insert(index, result);
        self.results.changed.notify_all();
    }

    /// Builds all stages and gives the last one. Stages wait for those they need only where they
    /// use them, so that what comes before is done at the same time.
    fn solve(&self, plan: &Plan) -> Result<Arc<StageState>, BuildError> {
        let run = |stage: &PlannedStage| {
            let result = build_stage(self, stage);
            if result.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            let (shared, error) = match result {
                Ok(state) => (Ok(Arc::new(state)), None),
                Err(error) => (Err(()), Some(error)),
            };
            self.finish(stage.index, shared.clone());
            (shared, error)
        };
        let outcomes: Vec<_> = match plan.stages.as_slice() {
            [only] => vec![run(only)],
            stages => std::thread::scope(|scope| {
                let threads: Vec<_> =
                    stages.iter().map(|stage| scope.spawn(|| run(stage))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or((Err(()), None))).collect()
            }),
        };
        let mut last = Err(());
        let mut errors = Vec::new();
        for (state, error) in outcomes {
            last = state;
            errors.extend(error);
        }
        // Where one stage fails others are cancelled; the one that failed says why.
        let cancelled = |error: &BuildError| matches!(error, BuildError::Step { source, .. } if matches!(**source, StepError::Cancelled));
        let cause = errors.iter().position(|error| !cancelled(error)).unwrap_or(0);
        if cause < errors.len() {
            return Err(errors.swap_remove(cause));
        }
        last.map_err(|()| BuildError::Option {
            option: "build".to_owned(),
            reason: "a stage ended without a result".to_owned(),
        })
    }

    /// Notes something that was taken from elsewhere.
    pub(super) fn note_material(&self, material: Material) {
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).insert(material);
    }

    /// Notes a layer that the build has come to.
    pub(super) fn rely_on(&self, layer: &Layer) {
        let mut relied = self.relied.lock().unwrap_or_else(PoisonError::into_inner);
        relied.extend([layer.descriptor.digest.clone(), layer.diff_id.digest().clone()]);
    }

    /// Protects the layers of all stages from garbage collection until this Dockerfile is built
    /// again: those of earlier stages belong to no image, and still are worth their time. Those of a build
    /// that failed or was interrupted are what the next one goes on from.
    fn retain(&self) {
        if self.steps.load(Ordering::Relaxed) == self.cached.load(Ordering::Relaxed) {
            return;
        }
        let digests = self.relied.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("build-{}", Digest::of(self.identity().as_bytes()).hex());
        // Without the protection a later build may have to do a step again, and no worse.
        let _ = self.store.retain(&name, &digests.iter().cloned().collect::<Vec<_>>());
    }

    fn warn_of_unused_arguments(&self, plan: &Plan) {
        let mut declared = BTreeSet::new();
        for stage in &plan.stages {
            for instruction in &stage.instructions {
                if let Command::Arg(arguments) = &instruction.command {
                    declared.extend(arguments.iter().map(|argument| argument.name.clone()));
                }
            }
        }
        for (name, near) in self.arguments.unused(&declared) {
            let near = near.map_or(String::new(), |near| format!(" (did you mean {near}?)"));
            self.reporter.warning(&format!("build argument {name} was not used{near}"));
        }
    }

    /// The image of the last stage.
    fn finish_image(&self, state: &StageState) -> Built {
        let mut config = state.image.clone();
        let labels = &mut config.config.get_or_insert_default().labels;
        labels.extend(self.options.labels.clone());
        self.date(&mut config, state.created);
        let mut materials = self.images.materials();
        materials
            .extend(self.materials.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        Built {
            materials,
            dockerfile: DockerfileText {
                name: self.context.dockerfile_name.clone(),
                text: self.context.dockerfile_text.clone(),
            },
            config,
            layers: state.layers.clone(),
            own_layers: state.lineage.makers.iter().map(Option::is_some).collect(),
            steps: self.steps.load(Ordering::Relaxed),
            cached: self.cached.load(Ordering::Relaxed),
            kept_steps: std::mem::take(
                &mut *self.kept_steps.lock().unwrap_or_else(PoisonError::into_inner),
            ),
        }
    }

    /// Dates the image: with the fixed time, or with the time when exactly this configuration was
    /// first built, so that a build from the cache gives the very same image. Entries of the
    /// history without a layer take the time of what comes before them.
    fn date(&self, config: &mut ImageConfig, newest: Option<Timestamp>) {
        let text = serde_json::to_vec(config).unwrap_or_default();
        let key = KeyMaker::new("image").part("config", text).finish();
        let known = || self.cache.get(&key).or_else(|| self.imported(&key));
        let created = match (self.epoch, known()) {
            (Some(epoch), _) => epoch,
            (None, Some(record)) => {
                self.keep_step(&key, &record);
                record.created
            }
            (None, None) => {
                let record = StepRecord { created: Timestamp::now(), layer: None, twin: None };
                if self.options.dry_run {
                    config.created = Some(record.created);
                    return;
                }
                // Without the record the next build gets another date, and no worse.
                let _ = self.cache.put(&key, &record);
                self.keep_step(&key, &record);
                record.created
            }
        };
        let mut before = config.history.iter().find_map(|entry| entry.created);
        for entry in &mut config.history {
            match entry.created {
                Some(own) => before = Some(own),
                None => entry.created = self.epoch.or(before).or(newest).or(Some(created)),
            }
        }
        config.created = Some(created);
    }
}
