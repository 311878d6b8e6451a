//! Tar archives, read and written as streams: v7, ustar, star, GNU and PAX (POSIX 1003.1 `pax`,
//! "pax Interchange Format"; GNU tar's manual for the formats that POSIX lacks).
//!
//! The reader refuses what readers disagree about instead of guessing, since a layer that two
//! tools read differently is an attack.

mod entry;
mod error;
mod header;
mod limits;
mod pax;
mod reader;
mod sparse;
mod writer;

#[cfg(test)]
mod tests;

pub use entry::{Entry, EntryKind};
pub use error::{Problem, TarError};
pub use limits::Limits;
pub(crate) use pax::base64_decoded;
pub use reader::Reader;
pub use writer::Writer;
