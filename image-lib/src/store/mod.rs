//! The store: an OCI image layout on disk, with the unpacked layers beside it. There is no daemon;
//! any number of processes use it at once.
//!
//! ```text
//! oci-layout, index.json, blobs/<algorithm>/<hex>   image-spec image-layout.md; other tools read it
//! layers/<diff id>/fs                               a layer unpacked in overlayfs form
//! layers/chain-<chain id>/fs                        one that depends on the layers below it
//! retained/<name>                                   leases: digests that something else needs
//! cache/                                            what a build remembers; its own affair
//! partial/<algorithm>-<hex>                       what has come of a blob; kept when a pull is killed
//! tmp/<random>/                                     work in progress, locked by its process
//! locks/content, locks/index, locks/tmp             what the flocks are taken on
//! ```
//!
//! **Visibility.** A blob gets its name by rename when its bytes have been digested, a layer when
//! blob digest, size and diff id have all matched. An image is in the index only after all of its
//! parts.
//!
//! **Locks.** `content` is held shared while something is made that no image names yet, and
//! exclusively while garbage is collected; `index` exclusively while `index.json` is rewritten;
//! `tmp` while a directory of work in progress is made or the ones of dead processes are removed.
//! A directory of work in progress is itself locked by its process for as long as it lives.
//!
//! **Durability.** Blobs and `index.json` are written out before they are renamed. Layers are not:
//! one that has not surely reached the disk before the machine went down is unpacked again from
//! its blob (see `Store::unpack`).

mod blobs;
mod collect;
mod commit;
mod error;
mod fsck;
mod image;
mod index;
mod known;
mod layers;
mod layout;
mod lock;
mod partial;
mod progress;
mod recompress;
mod retain;
mod scratch;
mod select;
mod unpack;
mod workers;

pub use blobs::Ingest;
pub(crate) use blobs::check;
pub use collect::{Collected, Garbage};
pub use commit::CommitOptions;
pub(crate) use commit::layer_media_type;
pub use error::StoreError;
pub use fsck::{Damage, Finding, FsckOptions, Report};
pub use image::{Image, Layer};
pub(crate) use image::{other_layers, read_image};
pub use index::Record;
pub(crate) use index::{CONTAINERD_NAME, REF_NAME, reference_of};
pub(crate) use known::KnownLayers;
pub(crate) use layers::ROOT_ENTRY_MARK;
pub use layout::Store;
pub use lock::Hold;
pub(crate) use partial::{Arriving, Partial};
pub use progress::{Event, Progress, Sent, Silent};
pub use retain::Lease;
pub use scratch::Scratch;
pub(crate) use select::{Documents, Wanted};
pub(crate) use unpack::{Staged, StagedBlob};
