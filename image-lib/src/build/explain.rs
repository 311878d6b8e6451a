//! Why a step ran: what its key is made of is compared with what it was made of when the step ran last. And
//! the dry run, which looks keys up and does nothing.
//!
//! ```text
//! cache/explained/<digest of build, stage and instruction>  the last key, what the step started from, the key's parts
//! cache/explained/<digest of build and stage>               the stage's instructions, for one that was changed
//! ```
//!
//! A step is the same one as before if its text is, in a stage of that name of a build of that context and
//! Dockerfile; one whose text is new is compared with the one that stood in its place and is gone. A cached
//! step reads the 64 characters of its last key and no more.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cache::write_whole;
use super::cache_key::CacheKey;
use super::dockerfile::instruction::{Command, Transfer};
use super::error::StepError;
use super::fetch::is_remote;
use super::key_parts::{Reason, differences, layers};
use super::plan::{Origin, from_names, makes_layer, shorten};
use super::progress::Step;
use super::solve::Build;
use super::stage::StageBuilder;
use crate::identity::Digest;

/// More records than this are not kept; the oldest go.
const RECORDS_MAX: usize = 4096;
/// The characters of a key.
const KEY_CHARS: usize = 64;

/// What became of a step, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its result was there.
    Hit,
    /// It ran.
    Ran,
    /// It would run.
    WouldRun,
    /// It depends on what a step comes to that would run, or on what would have to be fetched.
    Unknown,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Ran => "ran",
            Self::WouldRun => "would run",
            Self::Unknown => "unknown",
        }
    }
}

/// One step, and why it went as it did.
#[derive(Debug, Clone)]
pub struct Story {
    /// The index of its stage in the Dockerfile.
    pub stage: usize,
    /// The name of the stage, if it has one.
    pub stage_name: Option<String>,
    /// Its number in the stage; 0 is what the stage starts from.
    pub number: usize,
    /// The line of the instruction.
    pub line: usize,
    /// The instruction, shortened to one line.
    pub text: String,
    /// What became of it.
    pub fate: Fate,
    /// Why, where it is no hit.
    pub reasons: Vec<Reason>,
    /// What it takes files from beside the step before it: `context`, `stage NAME`, `image NAME`.
    pub inputs: Vec<String>,
}

/// What a stage has come from: whose work each layer is, for whoever asks what changed.
#[derive(Debug, Clone, Default)]
pub struct Lineage {
    /// The image at its beginning.
    pub base: String,
    /// The digest of that image.
    pub digest: String,
    /// For each layer the instruction that made it; nothing for those of the base.
    pub makers: Vec<Option<String>>,
    /// In a dry run the first step whose result is not known.
    pub pending: Option<String>,
}

/// Where a stage is, for the names of its steps' records.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The index of the instruction in the plan.
    pub(super) index: Cell<usize>,
    /// Whether a step has run, so that the stage's instructions are noted anew.
    ran: Cell<bool>,
}

/// What was noted of a step when it ran last.
struct Record {
    key: String,
    text: String,
    base: String,
    digest: String,
    makers: Vec<Option<String>>,
    parts: Vec<u8>,
}

impl Record {
    fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (key, rest) = bytes.split_at_checked(KEY_CHARS)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let head: Value = serde_json::from_slice(&rest[..end]).ok()?;
        let word = |name: &str| head.get(name)?.as_str().map(str::to_owned);
        let makers = head.get("makers")?.as_array()?;
        Some(Self {
            key: String::from_utf8(key.to_vec()).ok()?,
            text: word("text")?,
            base: word("base")?,
            digest: word("digest")?,
            makers: makers.iter().map(|maker| maker.as_str().map(str::to_owned)).collect(),
            parts: rest[end + 1..].to_vec(),
        })
    }

    /// The key of the record, without the rest of it.
    fn key_of(path: &Path) -> io::Result<[u8; KEY_CHARS]> {
        let mut key = [0; KEY_CHARS];
        File::open(path)?.read_exact(&mut key)?;
        Ok(key)
    }
}

/// Writes a record; where there are too many, the oldest goes. Without a record the next explanation says
/// less, and no worse.
fn write_record(path: &Path, bytes: &[u8]) {
    if !path.exists()
        && let Some(folder) = path.parent()
        && let Ok(entries) = fs::read_dir(folder)
    {
        let all: Vec<_> = entries.flatten().collect();
        if all.len() >= RECORDS_MAX {
            let age = |entry: &&fs::DirEntry| entry.metadata().and_then(|m| m.modified()).ok();
            let _ = all.iter().min_by_key(age).map(|oldest| fs::remove_file(oldest.path()));
        }
    }
    let _ = write_whole(path, bytes);
}

impl StageBuilder<'_, '_> {
    /// The record of the instruction `text`, the `nth` of those of that text, or of the stage.
    fn record_file(&self, instruction: Option<(&str, usize)>) -> PathBuf {
        let last = self.build.dockerfile.stages.len() - 1;
        let stage = match &self.plan.name {
            Some(name) => name.clone(),
            None if self.plan.index == last => "last".to_owned(),
            None => self.plan.index.to_string(),
        };
        let name =
            format!("{}\n{}\n{stage}\n{instruction:?}", self.build.identity(), self.platform);
        self.build.cache.explained_file(&Digest::of(name.as_bytes()))
    }

    /// The current instruction: its text, and how many of that text stand before it in the stage.
    fn current(&self) -> (&str, usize) {
        let all = &self.plan.instructions;
        let index = self.position.index.get();
        let text = all.get(index).map_or("", |instruction| instruction.text.as_str());
        (text, all[..index.min(all.len())].iter().filter(|other| other.text == text).count())
    }

    fn own_file(&self) -> PathBuf {
        self.record_file(Some(self.current()))
    }

    /// The record to compare a step with, and whether its instruction was another one.
    fn last_record(&self) -> Option<Record> {
        if let Some(record) = Record::read(&self.own_file()) {
            return Some(record);
        }
        // The instruction that stood here, if it is gone.
        let listed = fs::read(self.record_file(None)).ok()?;
        let listed: Vec<String> = serde_json::from_slice(&listed).ok()?;
        let place = self.plan.instructions[..self.position.index.get()]
            .iter()
            .filter(|instruction| makes_layer(&instruction.command))
            .count();
        let text = listed.get(place)?;
        let is_here = self.plan.instructions.iter().any(|other| other.text == *text);
        let nth = listed[..place].iter().filter(|other| *other == text).count();
        if is_here { None } else { Record::read(&self.record_file(Some((text, nth)))) }
    }

    /// A step's result was there.
    ///
    /// `key` is the one that is recorded; nothing where the step has a further one that was not needed.
    pub(super) fn explain_hit(&self, step: Step, key: Option<&CacheKey>) {
        self.tell_fate(step, Fate::Hit, Vec::new());
        let Some(key) = key.filter(|_| !self.build.options.dry_run) else { return };
        // The record is of the last build, also where that took an older result.
        let path = self.own_file();
        if Record::key_of(&path).is_ok_and(|known| known != *key.to_string().as_bytes()) {
            self.write(&path, key);
        }
    }

    /// A step's result was found by what its command read.
    pub(super) fn explain_hit_by_reads(&self, step: Step, key: &CacheKey, paths: usize) {
        let change = format!("all {paths} paths that the command asked for are as they were");
        self.tell_fate(step, Fate::Hit, vec![Reason::new("read set", "", change)]);
        if !self.build.options.dry_run {
            self.write(&self.own_file(), key);
        }
    }

    /// A step runs; `more` is a reason beside its key.
    pub(super) fn explain_miss(&self, step: Step, key: &CacheKey, more: Option<Reason>) {
        self.position.ran.set(true);
        if self.build.options.explain {
            let mut reasons = self.reasons(key);
            reasons.extend(more);
            self.tell_fate(step, Fate::Ran, reasons);
        }
    }

    /// A step would run: what stands on it cannot be known.
    pub(super) fn would_run(
        &mut self,
        step: Step,
        key: &CacheKey,
        more: Option<Reason>,
        created_by: String,
    ) {
        let mut reasons = self.reasons(key);
        let only_parent = |reason: &Reason| reason.component == PARENT;
        let is_unknown = self.state.lineage.pending.is_some() && reasons.iter().all(only_parent);
        reasons.extend(more);
        let fate = if is_unknown { Fate::Unknown } else { Fate::WouldRun };
        self.leave_open(step, fate, reasons, created_by);
    }

    /// In a dry run, ends a step without a result.
    pub(super) fn leave_open(
        &mut self,
        step: Step,
        fate: Fate,
        reasons: Vec<Reason>,
        created_by: String,
    ) {
        self.tell_fate(step, fate, reasons);
        self.build.reporter.done(step);
        let text = shorten(self.current().0);
        self.state.lineage.pending.get_or_insert(text);
        self.state.record(created_by, None);
    }

    /// In a dry run, why the sources of an instruction are not there to be looked at.
    pub(super) fn open_source(&self, command: &Command) -> Option<Reason> {
        if !self.build.options.dry_run {
            return None;
        }
        from_names(command).into_iter().find_map(|name| match self.plan.origins.get(name)? {
            Origin::Stage(index) => {
                let pending = self.build.finished(*index).ok()?.lineage.pending.clone()?;
                let change = format!("depends on {pending:?}, which would run");
                Some(Reason::new("stage", name, change))
            }
            Origin::Image(image) => self
                .build
                .is_to_be_fetched(image, &self.build.platform)
                .then(|| Reason::new("image", image, "would be fetched")),
            _ => None,
        })
    }

    /// Keeps what a step that ran was made of.
    pub(super) fn remember(&self, key: &CacheKey) {
        self.write(&self.own_file(), key);
    }

    fn write(&self, path: &Path, key: &CacheKey) {
        let lineage = &self.state.lineage;
        let head = json!({
            "text": self.current().0, "base": lineage.base, "digest": lineage.digest,
            "makers": lineage.makers,
        });
        let mut bytes = format!("{key}{head}\n").into_bytes();
        bytes.extend(key.parts());
        write_record(path, &bytes);
    }

    /// Notes the instructions of the stage, if it did something.
    pub(super) fn remember_instructions(&self) {
        if !self.position.ran.get() || self.build.options.dry_run {
            return;
        }
        let steps = self.plan.instructions.iter().filter(|i| makes_layer(&i.command));
        let texts: Vec<&str> = steps.map(|instruction| instruction.text.as_str()).collect();
        write_record(&self.record_file(None), json!(texts).to_string().as_bytes());
    }

    fn reasons(&self, key: &CacheKey) -> Vec<Reason> {
        if self.is_uncached {
            let flag = if self.build.options.no_cache { "--no-cache" } else { "--no-cache-filter" };
            return vec![Reason::new(flag, "", "every step is done anew")];
        }
        let Some(last) = self.last_record() else {
            let mut reasons =
                vec![Reason::new("record", "", "this step has not been built before")];
            reasons.extend(self.pending());
            return reasons;
        };
        if last.key == key.to_string() {
            return vec![Reason::new("record", "", "its result was removed from the cache")];
        }
        let names: BTreeSet<String> =
            self.state.arguments.iter().map(|(name, _)| name.clone()).collect();
        let mut reasons = differences(&last.parts, key.parts(), &names);
        let text = self.current().0;
        let is_told = reasons.iter().any(|reason| reason.component == "command");
        if last.text != text && !is_told {
            let change = format!("{:?} -> {:?}", shorten(&last.text), shorten(text));
            reasons.insert(0, Reason::new("instruction", "", change));
        }
        reasons.extend(self.parent_reason(&last, key));
        if reasons.is_empty() {
            reasons.push(Reason::new("key", "", "changed in a part that is not recorded"));
        }
        reasons
    }

    fn pending(&self) -> Option<Reason> {
        let pending = self.state.lineage.pending.as_ref()?;
        Some(Reason::new(PARENT, "", format!("depends on {pending:?}, which would run")))
    }

    /// What is no more as it was of what a step starts from.
    fn parent_reason(&self, last: &Record, key: &CacheKey) -> Option<Reason> {
        let (before, after) = (layers(&last.parts), layers(key.parts()));
        if before == after {
            return None;
        }
        let lineage = &self.state.lineage;
        if (&last.base, &last.digest) != (&lineage.base, &lineage.digest) {
            let name = |base: &str, digest: &str| format!("{base} {}", short(digest));
            let change = format!(
                "{} -> {}",
                name(&last.base, &last.digest),
                name(&lineage.base, &lineage.digest)
            );
            return Some(Reason::new("base image", "", change));
        }
        if let Some(pending) = self.pending() {
            return Some(pending);
        }
        let at = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
        let maker = |makers: &[Option<String>]| makers.get(at).cloned().flatten();
        Some(match (maker(&last.makers), maker(&lineage.makers)) {
            (_, Some(maker)) => Reason::new(PARENT, "", format!("{maker:?} has another result")),
            (Some(maker), None) => Reason::new(PARENT, "", format!("{maker:?} is gone")),
            _ => Reason::new(PARENT, "", "the layers below are others"),
        })
    }

    /// What the stage starts from.
    pub(super) fn explain_base(&self, step: Option<Step>, fate: Fate, reasons: Vec<Reason>) {
        let stage = &self.build.dockerfile.stages[self.plan.index];
        self.build.tell_story(
            step,
            &Story {
                stage: self.plan.index,
                stage_name: self.plan.name.clone(),
                number: 0,
                line: stage.place.line,
                text: shorten(&stage.text),
                fate,
                reasons,
                inputs: vec![self.input(&self.plan.base)],
            },
        );
    }

    fn tell_fate(&self, step: Step, fate: Fate, reasons: Vec<Reason>) {
        if !self.build.options.explain {
            return;
        }
        let index = self.position.index.get();
        let Some(instruction) = self.plan.instructions.get(index) else { return };
        let before = self.plan.instructions[..index].iter().filter(|i| makes_layer(&i.command));
        self.build.tell_story(
            Some(step),
            &Story {
                stage: self.plan.index,
                stage_name: self.plan.name.clone(),
                number: before.count() + 1,
                line: instruction.place.line,
                text: shorten(&instruction.text),
                fate,
                reasons,
                inputs: self.inputs(&instruction.command),
            },
        );
    }

    fn inputs(&self, command: &Command) -> Vec<String> {
        let origins =
            from_names(command).into_iter().filter_map(|name| self.plan.origins.get(name));
        let mut inputs: BTreeSet<String> = origins.map(|origin| self.input(origin)).collect();
        match command {
            Command::Transfer(Transfer { from: None, sources, .. }) => {
                let remote = sources.iter().filter(|source| is_remote(source)).count();
                inputs.extend((remote > 0).then(|| "remote".to_owned()));
                inputs.extend((remote < sources.len()).then(|| "context".to_owned()));
            }
            Command::Run(run) if run.mounts.iter().any(takes_context) => {
                inputs.insert("context".to_owned());
            }
            _ => {}
        }
        inputs.into_iter().collect()
    }

    fn input(&self, origin: &Origin) -> String {
        match origin {
            Origin::Scratch => "scratch".to_owned(),
            Origin::Stage(index) => {
                let name = self.build.dockerfile.stages[*index].from.name.clone();
                format!("stage {}", name.unwrap_or_else(|| index.to_string()))
            }
            Origin::Image(name) => format!("image {name}"),
            Origin::Context(name) => format!("context {name}"),
        }
    }
}

fn takes_context(mount: &super::dockerfile::mount::Mount) -> bool {
    mount.kind == super::dockerfile::mount::MountKind::Bind && mount.from.is_none()
}

/// What a step starts from, as a component of its key.
const PARENT: &str = "parent step";

fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

impl Build<'_> {
    fn tell_story(&self, step: Option<Step>, story: &Story) {
        if self.options.explain {
            self.reporter.explained(step, story);
        }
    }

    /// In a dry run, whether an image is neither here nor fetched now.
    pub(super) fn is_to_be_fetched(&self, name: &str, platform: &crate::spec::Platform) -> bool {
        let is_absent = |error: &StepError| {
            matches!(error, StepError::NoSuchImage { .. } | StepError::Obtain { .. })
        };
        self.options.dry_run
            && self.options.registry.is_some()
            && self.image(name, platform).is_err_and(|error| is_absent(&error))
    }

    /// By what a build is known again: its context and its Dockerfile.
    pub(super) fn identity(&self) -> String {
        let path = self.options.context.as_deref().and_then(|path| fs::canonicalize(path).ok());
        match &self.options.context_name {
            Some(name) => name.clone(),
            None => format!("{:?} {:?}", path.unwrap_or_default(), self.options.dockerfile),
        }
    }
}
