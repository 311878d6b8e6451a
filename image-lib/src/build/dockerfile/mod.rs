//! The Dockerfile language: text in, instructions with their places out.
//!
//! ```text
//! bytes ──lexer──▶ logical lines ──parser──▶ Dockerfile { arguments, stages, instructions }
//!        directives, heredocs          flags, words, mounts, healthcheck
//! ```
//!
//! Everything here is pure: nothing is read, resolved or run. [`expand`] is the variable expander,
//! which the build calls once it knows the values.

// What the user sees.
pub mod place;

// Text to lines.
pub mod directive;
pub mod heredoc;
pub mod lexer;

// Lines to instructions.
pub mod device;
pub mod flag;
pub mod healthcheck;
pub mod instruction;
pub mod mount;
pub mod parser;
pub mod word;

// What is allowed and most likely not meant.
pub mod checks;
pub mod lint;

// Values.
pub mod expand;
pub mod pattern;

pub use parser::{Dockerfile, Stage, parse};
pub use place::{DockerfileError, Place, Source, Spot};
