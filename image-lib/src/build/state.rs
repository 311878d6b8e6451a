//! What a stage has come to so far: a configuration, layers, and the variables that instructions
//! see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::dockerfile::expand::{Expanded, Quotes, Variables, expand};
use super::dockerfile::word::did_you_mean;
use super::environment::{DEFAULT_PATH, Environment};
use super::error::StepError;
use super::explain::Lineage;
use crate::spec::{Config, History, ImageConfig, Platform, Timestamp, media_type};
use crate::store::Layer;

/// What BuildKit writes into the history of its steps; tools know the builder's conventions by it.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// A stage while it is built, and what it came to.
#[derive(Debug, Clone)]
pub struct StageState {
    /// The configuration of the image so far; its history grows with every instruction.
    pub image: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The environment of instructions: the image's variables and the declared arguments that have
    /// a value, the later of the two winning.
    pub environment: Environment,
    /// The declared arguments, in order, as `RUN` shows them in the history.
    pub arguments: Vec<(String, Option<String>)>,
    /// Whether this stage has given a `CMD`, which an `ENTRYPOINT` must then leave alone.
    pub cmd_given: bool,
    /// When the newest layer was made.
    pub created: Option<Timestamp>,
    /// Whose work the layers are.
    pub lineage: Lineage,
    /// Variables that were expanded and have no value, since they were last asked for.
    unset: Arc<Mutex<BTreeSet<String>>>,
}

impl StageState {
    /// Starts from nothing.
    #[must_use]
    pub fn scratch(platform: &Platform) -> Self {
        Self::start(ImageConfig::new(platform), Vec::new())
    }

    /// Starts from an image. Its triggers are taken out: they are carried out now.
    #[must_use]
    pub fn start(mut image: ImageConfig, layers: Vec<Layer>) -> Self {
        let created = image.created.take();
        // What other builders noted about their own work is not true of the new image.
        image.extra.clear();
        let layers: Vec<Layer> = layers.into_iter().map(in_oci_terms).collect();
        let config = image.config.get_or_insert_default();
        config.extra.clear();
        config.on_build = None;
        if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let environment = Environment::read(&config.env);
        let arguments = Vec::new();
        let unset = Arc::default();
        let makers = vec![None; layers.len()];
        let lineage = Lineage { makers, ..Lineage::default() };
        Self { image, layers, environment, arguments, cmd_given: false, created, lineage, unset }
    }

    /// Starts from an earlier stage: its arguments come along, its triggers do not.
    #[must_use]
    pub fn continued(&self) -> Self {
        let mut state = self.clone();
        // The stages may be built at the same time, and each tells its own.
        state.unset = Arc::default();
        state.config().on_build = None;
        state.cmd_given = false;
        state
    }

    /// The execution part of the configuration.
    pub fn config(&mut self) -> &mut Config {
        self.image.config.get_or_insert_default()
    }

    /// The working directory; `/` where none is set.
    #[must_use]
    pub fn working_directory(&self) -> &str {
        match &self.image.config {
            Some(config) if !config.working_dir.is_empty() => &config.working_dir,
            _ => "/",
        }
    }

    /// The shell of the shell form.
    #[must_use]
    pub fn shell(&self) -> Vec<String> {
        let own = self.image.config.as_ref().and_then(|config| config.shell.clone());
        own.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()])
    }

    /// The value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name)
    }

    /// Expands a word with the variables as they are now.
    ///
    /// # Errors
    /// The word cannot be expanded.
    pub fn expand(&self, word: &str, escape: char) -> Result<Expanded, StepError> {
        let expanded = expand(word, &self.environment, escape, Quotes::Remove)
            .map_err(|message| StepError::Expansion { word: word.to_owned(), message })?;
        let mut unset = self.unset.lock().unwrap_or_else(PoisonError::into_inner);
        unset.extend(expanded.unset.iter().cloned());
        drop(unset);
        Ok(expanded)
    }

    /// The variables that were expanded without a value since the last call, each with a known one
    /// of nearly that name.
    #[must_use]
    pub fn take_unset(&self) -> Vec<(String, Option<String>)> {
        let mut unset = self.unset.lock().unwrap_or_else(PoisonError::into_inner);
        let unset = std::mem::take(&mut *unset);
        let near = |name: &str| did_you_mean(name, self.environment.names()).map(str::to_owned);
        unset.into_iter().map(|name| (name.clone(), near(&name))).collect()
    }

    /// Adds a layer.
    pub fn push_layer(&mut self, layer: Layer, created: Timestamp) {
        self.image.rootfs.diff_ids.push(layer.diff_id.clone());
        self.layers.push(layer);
        self.created = Some(created);
    }

    /// Adds an entry to the history. The time of one without a layer is filled in at the end.
    pub fn record(&mut self, created_by: String, layer: Option<Timestamp>) {
        self.image.history.push(History {
            created: layer,
            created_by: Some(created_by),
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer: layer.is_none(),
            ..History::default()
        });
    }
}

/// The layer as an OCI manifest lists it: the media types of Docker's manifests mean the same and
/// do not belong into one.
fn in_oci_terms(mut layer: Layer) -> Layer {
    let oci = match layer.descriptor.media_type.as_str() {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        _ => return layer,
    };
    oci.clone_into(&mut layer.descriptor.media_type);
    layer
}

#[cfg(test)]
mod tests {
    use super::{ImageConfig, Layer, StageState};
    use crate::identity::{DiffId, Digest};
    use crate::spec::{Descriptor, media_type};

    #[test]
    fn starts_without_what_is_not_its_own() {
        let text = r#"{"created":"2020-01-01T00:00:00Z","container":"abc","os":"linux",
            "config":{"Hostname":"h","Env":["A=1"],"OnBuild":["RUN x"]},
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let image: ImageConfig = serde_json::from_str(text).unwrap();
        let layer = Layer {
            diff_id: DiffId::new(Digest::of(b"a")),
            descriptor: Descriptor::new(media_type::DOCKER_LAYER_GZIP, Digest::of(b"b"), 1),
        };
        let state = StageState::start(image, vec![layer]);
        let config = state.image.execution();
        assert!(state.image.extra.is_empty() && config.extra.is_empty());
        assert_eq!((state.image.created, config.on_build), (None, None));
        assert_eq!(config.env.len(), 2);
        assert_eq!(state.layers[0].descriptor.media_type, media_type::OCI_LAYER_GZIP);
    }
}
