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
//! [`solve`](solve()) is the build without the end: its [`Built`] can go into a store, a directory or an archive.
//! A form of the language that is not carried out is refused by name.

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
pub mod remote;
pub mod source_tree;
pub mod stat_cache;
pub mod transfer;

// Steps and their results.
pub mod attest;
mod base;
pub mod cache;
pub mod cache_key;
pub mod cache_mount;
pub mod cache_usage;
mod copy;
pub mod device;
pub mod execute;
pub mod explain;
mod failed;
mod fetch;
pub mod form;
mod key_parts;
pub mod network;
mod orphan;
pub mod reads;
mod run;
mod run_mount;
mod run_secret;
mod share;
pub mod shared_cache;
mod stage;
pub mod stub;
mod tail;
pub mod workspace;

// The whole.
pub mod error;
pub mod options;
pub mod outline;
pub mod output;
pub mod progress;
pub mod solve;
pub mod verify;

pub use attest::{Attestations, Material};
pub use context::DockerfileSource;
pub use dockerfile::instruction::Network;
pub use error::{BuildError, StepError};
pub use execute::{Execution, Executor, RuntimeExecutor};
pub use explain::{Fate, Story};
pub use failed::{FailedRun, KeepFailed};
pub use key_parts::Reason;
pub use network::{Attachment, HostAddress, NetworkError, Rights, StepNetworks, Undo};
pub use options::{BuildOptions, NamedContext, SecretSource};
pub use orphan::end_orphans;
pub use output::{BuildOutcome, Built, build_image};
pub use progress::{Event, Progress, Report, Reporter};
pub use solve::solve;
