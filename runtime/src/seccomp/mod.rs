//! A seccomp profile → a classic BPF program for the kernel, without libseccomp.
//!
//! ```text
//! config::Seccomp ──profile──▶ Section per machine ABI ──program──▶ Vec<SockFilter>
//!                  names → numbers,      number ranges →     binary search,
//!                  rules → ranges        decisions           argument checks
//! ```
//!
//! What a program decides is what runc and libseccomp would decide; `filter.rs` lists the rules of
//! that. Everything here is pure: loading the program is the init's work.

/// Which ABIs a machine has, and how each numbers and passes things.
mod arch;
/// Which rule answers for a call.
pub mod explain;
/// The door: [`compile`] and the [`Filter`] it gives.
mod filter;
/// The numbers of the system calls.
mod numbers;
/// Rules → decisions per number.
mod profile;
/// Decisions → instructions.
mod program;
/// What a filter answers to a given call, for tests and for explanations.
pub mod simulate;

pub use explain::kills;
pub use filter::{Filter, Listener, SeccompError, action_value, compile, native, number};
pub use program::SockFilter;
