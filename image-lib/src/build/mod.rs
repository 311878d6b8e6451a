//! Builds of Dockerfiles: text to an image in the store.
//!
//! ```text
//! Dockerfile ──parse──▶ AST ──plan──▶ stages ──solve──▶ layers + configuration ──▶ store
//!             (pure, places)  (pure graph)   each step: key ─▶ cache │ workspace ─▶ commit
//! ```
//!
//! [`build_image`] is the door. What runs commands is an [`Executor`]; what is told while it runs
//! goes to a [`Progress`]. Nothing here prints, and no process is started but by the executor.
//!
//! ```no_run
//! use keel_image::build::{BuildOptions, Event, Progress, RuntimeExecutor, build_image};
//! use keel_image::store::Store;
//!
//! struct Titles(Vec<String>);
//!
//! impl Progress for Titles {
//!     fn report(&mut self, event: Event<'_>) {
//!         if let Event::Started { name, .. } = event {
//!             self.0.push(name.to_owned());
//!         }
//!     }
//! }
//!
//! let store = Store::open(&Store::default_root())?;
//! let options = BuildOptions::new("examples/hello");
//! let mut titles = Titles(Vec::new());
//! let outcome = build_image(&store, &options, &RuntimeExecutor::find(), &mut titles)?;
//! assert!(outcome.cached <= outcome.steps);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it does not do: it pulls no images, fetches no URLs, and builds for the host's platform
//! only; a form of the language that it does not carry out is refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::identity::ImageId;
use crate::reference::Reference;

// The language.
pub mod dockerfile;

// What a Dockerfile means, as data.
pub mod arguments;
pub mod environment;
pub mod metadata;
pub mod plan;
pub mod state;

// Files that take part.
pub mod archive;
pub mod context;
pub mod file_mode;
pub mod glob;
pub mod ignore;
pub mod owner;
pub mod source_tree;
pub mod stat_cache;
pub mod transfer;

// Steps and their results.
pub mod cache;
pub mod cache_key;
mod copy;
pub mod execute;
mod run;
mod run_mount;
mod stage;
pub mod stub;
pub mod workspace;

// The whole.
pub mod error;
pub mod progress;
pub mod solve;

pub use context::DockerfileSource;
pub use dockerfile::instruction::Network;
pub use error::{BuildError, StepError};
pub use execute::{Execution, Executor, RuntimeExecutor};
pub use progress::{Event, Progress};
pub use solve::build_image;

/// What is built, and how.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The directory whose files `COPY` takes; without one there are none.
    pub context: Option<PathBuf>,
    /// Where the instructions are.
    pub dockerfile: DockerfileSource,
    /// The stage to build; the last one if not given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// The names that the image gets.
    pub tags: Vec<Reference>,
    /// Labels that win over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Whether every step is done anew.
    pub no_cache: bool,
    /// The network of `RUN` where the instruction says nothing else.
    pub network: Network,
    /// Set it, from any thread, to end the build: what runs is killed, and nothing is left behind.
    pub cancelled: Arc<AtomicBool>,
}

impl BuildOptions {
    /// A build of the `Dockerfile` in `context` with nothing special about it.
    #[must_use]
    pub fn new(context: impl Into<PathBuf>) -> Self {
        Self {
            context: Some(context.into()),
            dockerfile: DockerfileSource::Default,
            target: None,
            arguments: BTreeMap::new(),
            tags: Vec::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            network: Network::Default,
            cancelled: Arc::default(),
        }
    }
}

/// What came of a build.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// The image.
    pub image_id: ImageId,
    /// How many steps it took, those from the cache included.
    pub steps: usize,
    /// How many of them came from the cache.
    pub cached: usize,
}
