//! One layer: its tar is applied alone, in overlayfs form, so that no layer waits for the ones
//! below it; and an upper directory of overlayfs is turned back into a tar.
//!
//! What a layer does not say by itself (the attributes of directories that it only passes through,
//! the content of files below that it links to) is filled in from the layers below afterwards, by
//! [`Extracted::inherit`].

mod apply;
mod attributes;
mod bounded;
mod diff;
mod error;
mod extract;
mod extracted;
mod form;
mod inherit;
mod limits;
mod pipeline;
mod whiteout;

pub use apply::{Applied, Threads, apply, verify};
pub(crate) use bounded::Bounded;
pub use diff::{Contents, DiffOptions, write_upper};
pub use error::{EntryError, LayerError};
pub use extract::Extractor;
pub use extracted::Extracted;
pub use form::Form;
pub use limits::Limits;
pub use whiteout::Whiteout;
pub(crate) use whiteout::archived_xattr;
