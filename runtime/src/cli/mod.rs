//! The command line: what runc's callers type, and what they are answered.
//!
//! ```text
//! argv ─parse─▶ flags and arguments ─invocation─▶ Command ─dispatch─▶ lifecycle, spec, features …
//!        ▲                                                      │
//!      flags (the table) ──▶ help                               ▼
//!                                                  Output: stdout, stderr, the log
//! ```
//!
//! Nothing below this layer prints, reads flags or knows an exit code.

// From the words of the command line to a command.
pub mod command;
pub mod duration;
pub mod flags;
mod invocation;
mod parse;
mod program;
mod root;
pub mod signal;
pub mod size;
pub mod user;

// From a command to its answer: one file per command, and `dispatch` before them.
mod checkpoint;
mod completion;
mod create;
mod dispatch;
mod doctor;
mod events;
mod exec;
mod explain;
mod features;
mod gc;
pub mod list;
pub mod owner;
mod plan;
mod ps;
mod restore;
mod run;
mod seal;
mod spec;
pub mod state;
mod update;
pub mod version;

// How answers are written.
pub mod error;
mod help;
mod json;
mod log;
pub mod output;
mod quote;

pub use dispatch::{main, read, run};
pub use program::{Name, Program};

#[cfg(test)]
mod dispatch_tests;
#[cfg(test)]
mod invocation_tests;
#[cfg(test)]
mod manual;
