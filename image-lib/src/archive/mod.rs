//! Images as single files and streams: a flat rootfs ([`import`]), what `docker save` writes in its
//! old and its new form, archives and directories of an OCI image layout ([`load`], [`save`]).
//!
//! A stream is read in one pass, whatever the order of its entries: blobs are spooled into the
//! store's own disk by content, and understood when all are there. Of a plain archive in a file, and of
//! a directory, only that is read which the store does not have. Nothing becomes visible before
//! every digest of an image has matched.

mod contents;
mod docker;
mod error;
mod import;
mod layout;
mod load;
mod opened;
mod piece;
mod save;
mod spool;

pub use error::ArchiveError;
pub use import::{ImportOptions, import};
pub use load::{Loaded, load, load_directory, load_file, load_for};
pub use opened::Archive;
pub(crate) use save::{docker_documents, entries};
pub use save::{save, save_file};
