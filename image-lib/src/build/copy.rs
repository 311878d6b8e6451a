//! The steps of `COPY` and `ADD`: what they select, what their key is, and the copying itself.

use super::archive;
use super::cache::StepRecord;
use super::cache_key::{CacheKey, KeyMaker};
use super::dockerfile::expand::{Quotes, expand};
use super::dockerfile::instruction::{Transfer, Verb};
use super::error::StepError;
use super::explain::Fate;
use super::fetch::{check_checksum, has_commit_times, is_remote, url_checksum};
use super::file_mode::FileMode;
use super::ignore::Ignore;
use super::key_parts::Reason;
use super::owner;
use super::plan::Origin;
use super::progress::Step;
use super::source_tree::{Kept, Selected, SourceTree};
use super::stage::StageBuilder;
use super::transfer::{Changes, Copier, Destination};
use super::workspace::Workspace;
use crate::fsroot::FileKind;
use crate::store::Layer;

/// A copy with every word expanded.
struct Copy {
    verb: Verb,
    sources: Vec<String>,
    documents: Vec<(String, String)>,
    destination: Destination,
    destination_text: String,
    chown: Option<String>,
    chmod: Option<String>,
    mode: Option<FileMode>,
    exclude: Ignore,
    exclude_texts: Vec<String>,
    link: bool,
    /// Whether archives are extracted.
    unpack: bool,
    /// Whether the paths of sources are kept.
    parents: bool,
    checksum: Option<String>,
}

/// A part of what is copied: a selection, and where its files are.
struct Part<'p> {
    tree: &'p SourceTree,
    selected: &'p Selection,
    unpack: bool,
}

/// What the sources of a copy select.
enum Selection {
    Plain(Vec<Selected>),
    WithParents(Vec<Kept>),
}

impl Selection {
    fn len(&self) -> usize {
        match self {
            Self::Plain(selected) => selected.len(),
            Self::WithParents(kept) => kept.len(),
        }
    }

    fn add_to(&self, key: KeyMaker) -> KeyMaker {
        match self {
            Self::Plain(selected) => key.contents(selected),
            Self::WithParents(kept) => key.kept(kept),
        }
    }
}

/// What there is of a copy's result.
enum Found {
    /// An earlier one.
    Hit(StepRecord),
    /// A new one.
    Made(StepRecord),
    /// None, in a dry run.
    Open(CacheKey),
}

/// Where a copy takes its files from.
enum Files<'a> {
    Context(&'a SourceTree),
    Rootfs { layers: Vec<Layer> },
}

impl<'a> StageBuilder<'a, '_> {
    pub(super) fn transfer(&mut self, transfer: &Transfer, text: &str) -> Result<(), StepError> {
        let copy = self.expand_transfer(transfer)?;
        let created_by = copy.history();
        if transfer.verb == Verb::Add && copy.sources.iter().any(|source| is_remote(source)) {
            return self.add_remote(transfer, &copy, text, created_by);
        }
        match self.files(transfer)? {
            Files::Context(tree) => {
                let selected = copy.select(tree)?;
                let key = selected.add_to(self.copy_key("copy", &copy)).finish();
                self.step(text, (&key, None), created_by, |stage, _| {
                    let target = stage.target(&copy)?;
                    let part = Part { tree, selected: &selected, unpack: copy.unpack };
                    stage.carry_out(&copy, &target, &[part])?;
                    Ok(target)
                })
            }
            Files::Rootfs { layers } => self.copy_from_rootfs(&copy, &layers, text, created_by),
        }
    }

    /// A copy from a stage or an image. Its first key needs only what the source was made of; where
    /// that changed, the contents decide, for which the source has to be looked into.
    fn copy_from_rootfs(
        &mut self,
        copy: &Copy,
        layers: &[Layer],
        text: &str,
        created_by: String,
    ) -> Result<(), StepError> {
        let ids = layers.iter().map(|layer| layer.diff_id.to_string());
        let quick = self
            .copy_key("copy-from", copy)
            .parts("from", ids)
            .parts("sources", &copy.sources)
            .finish();
        let step = self.begin(text);
        if let Some(record) = self.cached(&quick) {
            self.explain_hit(step, None);
            self.build.cached_step(step);
            self.take(record, created_by);
            return Ok(());
        }
        let record = (|| {
            let source = Workspace::new(self.build.store, layers)?;
            let tree = SourceTree::rootfs(source.try_root()?);
            let selected = copy.select(&tree)?;
            let slow = selected.add_to(self.copy_key("copy", copy)).finish();
            if let Some(mut record) = self.cached(&slow) {
                record.twin = Some(slow);
                // The next build need not look into the source.
                if !self.build.options.dry_run {
                    let _ = self.build.cache.put(&quick, &record);
                }
                self.build.keep_step(&quick, &record);
                self.explain_hit(step, record.twin.as_ref());
                return Ok(Found::Hit(record));
            }
            if self.build.options.dry_run {
                return Ok(Found::Open(slow));
            }
            self.explain_miss(step, &slow, None);
            let target = self.target(copy)?;
            let part = Part { tree: &tree, selected: &selected, unpack: copy.unpack };
            self.carry_out(copy, &target, &[part])?;
            Ok(Found::Made(self.commit(target, &[&quick, &slow])?))
        })();
        self.finish_copy(step, record, created_by)
    }

    /// An `ADD` with sources that are elsewhere. With a checksum its result is known without them; without
    /// one they are fetched, and their contents decide.
    fn add_remote(
        &mut self,
        transfer: &Transfer,
        copy: &Copy,
        text: &str,
        created_by: String,
    ) -> Result<(), StepError> {
        let of_url = match copy.sources.as_slice() {
            [source] => url_checksum(source),
            _ => None,
        };
        let checksum = copy.checksum.as_deref().or(of_url.as_deref());
        if let Some(checksum) = checksum {
            let [source] = copy.sources.as_slice() else {
                let text = "--checksum requires a single source that is a URL or a repository";
                return Err(StepError::Value(text.to_owned()));
            };
            check_checksum(checksum, source)?;
        }
        let flags = [
            u8::from(transfer.unpack.unwrap_or(false)),
            u8::from(transfer.keep_git_dir.unwrap_or(false)),
        ];
        let remote_key = |kind| self.copy_key(kind, copy).part("remote", flags);
        let quick = checksum.map(|checksum| {
            let key = remote_key("add-remote").parts("sources", &copy.sources);
            key.part("checksum", checksum).finish()
        });
        let key = remote_key("add");
        let step = self.begin(text);
        if let Some(record) = quick.as_ref().and_then(|key| self.cached(key)) {
            if let (Some(checksum), [source]) = (checksum, &copy.sources[..]) {
                self.build.note_known(source, checksum);
            }
            self.explain_hit(step, None);
            return self.finish_copy(step, Ok(Found::Hit(record)), created_by);
        }
        if self.build.options.dry_run {
            let reason = Reason::new("source", "", "has to be fetched to be known");
            self.leave_open(step, Fate::Unknown, vec![reason], created_by);
            return Ok(());
        }
        let record = (|| {
            let mut fetched = Vec::new();
            for source in &copy.sources {
                let here = is_remote(source);
                let here =
                    here.then(|| self.build.fetch(source, transfer, checksum)).transpose()?;
                fetched.push(here);
            }
            let context = self.build.tree(None)?;
            let mut selections = Vec::new();
            for (source, here) in copy.sources.iter().zip(&fetched) {
                let (tree, path) =
                    here.as_ref().map_or((context, source), |here| (&here.tree, &here.path));
                let selected = Selection::Plain(tree.select(path, &copy.exclude)?);
                let unpack = if here.is_some() { transfer.unpack } else { Some(copy.unpack) };
                selections.push((tree, selected, unpack.unwrap_or(false)));
            }
            let by_commit = copy.sources.iter().any(|source| has_commit_times(source));
            let key = if by_commit { key.part("mtime", "commit") } else { key };
            let slow = selections.iter().fold(key, |key, (_, part, _)| part.add_to(key)).finish();
            let keys: Vec<&CacheKey> = quick.iter().chain([&slow]).collect();
            if let Some(record) = self.cached(&slow) {
                if let Some(quick) = &quick {
                    // The next build need not fetch it.
                    let record = StepRecord { twin: Some(slow.clone()), ..record.clone() };
                    let _ = self.build.cache.put(quick, &record);
                    self.build.keep_step(quick, &record);
                }
                self.explain_hit(step, Some(&slow));
                return Ok(Found::Hit(record));
            }
            self.explain_miss(step, &slow, None);
            let parts: Vec<Part<'_>> = selections
                .iter()
                .map(|(tree, selected, unpack)| Part { tree, selected, unpack: *unpack })
                .collect();
            let target = self.target(copy)?;
            self.carry_out(copy, &target, &parts)?;
            Ok(Found::Made(self.commit(target, &keys)?))
        })();
        self.finish_copy(step, record, created_by)
    }

    /// Ends a step whose result was found or made.
    fn finish_copy(
        &mut self,
        step: Step,
        found: Result<Found, StepError>,
        created_by: String,
    ) -> Result<(), StepError> {
        match found {
            Ok(Found::Hit(record)) => {
                self.build.cached_step(step);
                self.take(record, created_by);
                Ok(())
            }
            Ok(Found::Made(record)) => {
                self.build.reporter.done(step);
                self.take(record, created_by);
                Ok(())
            }
            Ok(Found::Open(key)) => {
                self.would_run(step, &key, None, created_by);
                Ok(())
            }
            Err(error) => {
                self.build.fail_step(step, &error);
                Err(error)
            }
        }
    }

    /// What a copy is made into: with `--link` an empty rootfs, so that its layer depends on
    /// nothing below.
    fn target(&self, copy: &Copy) -> Result<Workspace, StepError> {
        let layers: &[Layer] = if copy.link { &[] } else { &self.state.layers };
        Workspace::new(self.build.store, layers)
    }

    fn files(&self, transfer: &Transfer) -> Result<Files<'a>, StepError> {
        let Some(name) = &transfer.from else {
            return Ok(Files::Context(self.build.tree(None)?));
        };
        let layers = match self.plan.origins.get(name) {
            Some(Origin::Stage(index)) => self.build.finished(*index)?.layers.clone(),
            Some(Origin::Image(name)) => {
                self.build.image(name, &self.build.platform)?.layers().to_vec()
            }
            Some(Origin::Context(name)) => return Ok(Files::Context(self.build.tree(Some(name))?)),
            Some(Origin::Scratch) | None => Vec::new(),
        };
        Ok(Files::Rootfs { layers })
    }

    fn expand_transfer(&self, transfer: &Transfer) -> Result<Copy, StepError> {
        let escape = self.build.escape();
        let word = |word: &String| Ok::<_, StepError>(self.state.expand(word, escape)?.text);
        let optional = |text: &Option<String>| text.as_ref().map(word).transpose();
        let sources = transfer.sources.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let checksum = optional(&transfer.checksum)?;
        let is_local = |source: &String| !is_remote(source);
        if checksum.is_some() && sources.iter().all(is_local) {
            let text = "--checksum can only be given for a URL or a repository";
            return Err(StepError::Value(text.to_owned()));
        }
        let destination_text = word(&transfer.destination)?;
        let mut documents = Vec::new();
        for document in &transfer.documents {
            let mut content = document.content();
            if document.expand {
                content = expand(&content, &self.state.environment, '\\', Quotes::Plain)
                    .map_err(|message| {
                        let word = format!("<<{}", document.name);
                        StepError::Expansion { word, message }
                    })?
                    .text;
            }
            documents.push((document.name.clone(), content));
        }
        let chmod = optional(&transfer.chmod)?;
        let mode = chmod.as_deref().map(FileMode::parse).transpose().map_err(StepError::Value)?;
        let exclude = Ignore::from_patterns(&transfer.exclude)
            .map_err(|error| StepError::Value(format!("--exclude: {error}")))?;
        Ok(Copy {
            verb: transfer.verb,
            sources,
            documents,
            destination: Destination::read(&destination_text, self.state.working_directory()),
            destination_text,
            chown: optional(&transfer.chown)?,
            chmod,
            mode,
            exclude,
            exclude_texts: transfer.exclude.clone(),
            link: transfer.link,
            parents: transfer.parents,
            checksum,
            unpack: transfer.verb == Verb::Add && transfer.unpack.unwrap_or(true),
        })
    }

    fn copy_key(&self, kind: &str, copy: &Copy) -> KeyMaker {
        let key = self.key(kind);
        // The layer of a linked copy depends on what lies below only through names of owners.
        let names = copy.chown.as_ref().is_some_and(|text| text.contains(char::is_alphabetic));
        let key = if copy.link && !names {
            key.part("link", "")
        } else {
            key.parts("layers", self.layer_parts()).part("link", [u8::from(copy.link)])
        };
        key.part("flags", [u8::from(copy.unpack), u8::from(copy.parents)])
            .part("destination", copy.destination.path.to_string_lossy().as_bytes())
            .part("directory", [u8::from(copy.destination.is_directory)])
            .part("chown", copy.chown.as_deref().unwrap_or_default())
            .part("chmod", copy.chmod.as_deref().unwrap_or_default())
            .parts("exclude", &copy.exclude_texts)
            .parts("document", copy.documents.iter().map(|(name, _)| name))
            .parts("content", copy.documents.iter().map(|(_, content)| content))
    }

    /// Copies everything into the rootfs of `target`.
    fn carry_out(
        &self,
        copy: &Copy,
        target: &Workspace,
        parts: &[Part<'_>],
    ) -> Result<(), StepError> {
        let root = target.root();
        let owner = match &copy.chown {
            None => None,
            Some(text) => Some(self.owner(copy, target, text)?),
        };
        let count: usize = parts.iter().map(|part| part.selected.len()).sum();
        let several = count + copy.documents.len() > 1 && !copy.parents;
        if several && !copy.destination.is_directory {
            let found = root.metadata(&copy.destination.path)?;
            if found.is_none_or(|found| found.kind != FileKind::Directory) {
                let word = copy.verb.word();
                return Err(StepError::Destination(format!(
                    "when using {word} with more than one source file, the destination must be a \
                     directory and end with a /"
                )));
            }
        }
        let changes = Changes { owner, mode: copy.mode.clone(), epoch: self.build.epoch };
        let mut copier = Copier::new(root, &changes);
        for Part { tree, selected, unpack } in parts {
            match selected {
                Selection::Plain(selected) => {
                    for source in selected {
                        if *unpack && archive::is_archive(tree, source)? {
                            archive::extract(&mut copier, tree, source, &copy.destination)?;
                        } else {
                            copier.copy(tree, source, &copy.destination)?;
                        }
                    }
                }
                Selection::WithParents(kept) => {
                    for source in kept {
                        copier.copy_with_parents(tree, source, &copy.destination)?;
                    }
                }
            }
        }
        for (name, content) in &copy.documents {
            copier.document(name, content.as_bytes(), self.build.now(), &copy.destination)?;
        }
        copier.settle()
    }

    /// Owners are looked up in the image that is copied into, also where the copy itself goes into
    /// an empty rootfs.
    fn owner(&self, copy: &Copy, target: &Workspace, text: &str) -> Result<(u32, u32), StepError> {
        if !copy.link || !text.contains(char::is_alphabetic) {
            return owner::resolve(target.root(), text);
        }
        let image = Workspace::new(self.build.store, &self.state.layers)?;
        owner::resolve(image.root(), text)
    }
}

impl Copy {
    /// What the sources select, in order.
    fn select(&self, tree: &SourceTree) -> Result<Selection, StepError> {
        if self.parents {
            let mut kept = Vec::new();
            for source in &self.sources {
                kept.extend(tree.select_with_parents(source, &self.exclude)?);
            }
            return Ok(Selection::WithParents(kept));
        }
        let mut selected = Vec::new();
        for source in &self.sources {
            selected.extend(tree.select(source, &self.exclude)?);
        }
        Ok(Selection::Plain(selected))
    }

    fn history(&self) -> String {
        let mut text = self.verb.word().to_owned();
        let flags = [("chown", &self.chown), ("chmod", &self.chmod), ("checksum", &self.checksum)];
        for (flag, value) in flags {
            if let Some(value) = value {
                text.push_str(&format!(" --{flag}={value}"));
            }
        }
        for source in &self.sources {
            text.push_str(&format!(" {source}"));
        }
        for (name, _) in &self.documents {
            text.push_str(&format!(" <<{name}"));
        }
        format!("{text} {} # buildkit", self.destination_text)
    }
}
