//! The documents of the image-spec as values. Only this room knows their JSON. What is loaded from
//! elsewhere is kept as its raw bytes beside the value ([`Raw`]), because the bytes are the identity.

mod config;
mod descriptor;
mod manifest;
pub mod media_type;
mod platform;
mod preferences;
mod raw;
mod timestamp;

pub use config::{Config, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use manifest::{Annotations, Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use preferences::{Candidate, Preferences, is_image};
pub(crate) use raw::object;
pub use raw::{CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX, Raw, SpecError};
pub use timestamp::{Timestamp, TimestampError};
