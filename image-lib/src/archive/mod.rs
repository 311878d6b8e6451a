//! Images as single files and streams: a flat rootfs ([`import`]), what `docker save` writes in its
//! old and its new form, archives and directories of an OCI image layout ([`load`], [`save`]).
//!
//! A stream is read in one pass, whatever the order of its entries: blobs are spooled into the
//! store's own disk by content, and understood when all are there. Nothing becomes visible before
//! every digest of an image has matched.

mod contents;
mod docker;
mod error;
mod import;
mod layout;
mod load;
mod opened;
mod save;
mod spool;

pub use error::ArchiveError;
pub use import::{ImportOptions, import};
pub use load::{Loaded, load, load_directory, load_for};
pub use opened::Archive;
pub(crate) use save::docker_documents;
pub use save::save;
