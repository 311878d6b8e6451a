//! Work inside a directory tree that is not trusted. Every path is resolved by
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` from the tree's own descriptor, so that
//! neither `..` nor a link leads out of it, and is then used as a descriptor and one name.
//!
//! [`Root`] takes paths; [`Directory`] takes single names. No path is ever joined as a string.

mod directory;
mod error;
mod metadata;
mod root;
mod walk;

pub use directory::Directory;
pub(crate) use directory::owner;
pub use error::FsError;
pub use metadata::{FileKind, Metadata, Times, Xattr};
pub use root::Root;
pub(crate) use root::{components_reversed, with_path};
pub use walk::{Walk, WalkEntry};
