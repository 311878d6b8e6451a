//! Checkpoint and restore are criu's work. This room asks for it over criu's own protocol: `criu swrk`,
//! one socket, one request and its answers (criu, images/rpc.proto).
//!
//! ```text
//! Spec, facts ──plan──▶ Options ──message──▶ bytes ──worker──▶ criu swrk ──▶ images, a log
//!               pure             pure (wire)            │
//!                     notices ◀──────────────────────────┘  each is answered before criu goes on
//! ```

mod error;
/// criu's log after a failure.
mod log;
/// Requests and responses.
pub mod message;
/// What of a container is not its own: mounts and namespaces from outside.
pub mod plan;
/// The encoding of messages.
pub mod wire;
/// The process that does the work.
mod worker;

pub use error::CriuError;
pub use worker::{Criu, Notice};
