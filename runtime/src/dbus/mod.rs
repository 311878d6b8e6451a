//! A client of D-Bus: just what it takes to ask systemd for a unit and to hear that it is there
//! (D-Bus Specification, "Message Protocol", "Authentication Protocol").
//!
//! ```text
//! Value ──write──▶ bytes ──connection──▶ bus, or systemd's own socket
//! Value ◀──read─── bytes ◀─connection──
//! ```
//!
//! Values, messages and addresses are pure; only `connection` talks, and every talk has a deadline.
//! Descriptors are not passed: systemd takes processes by their pids.

pub mod address;
pub mod connection;
pub mod message;
mod read;
pub mod signature;
pub mod value;
mod write;

pub use read::read;
pub use write::write;
