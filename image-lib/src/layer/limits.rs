//! How much a layer may cost.

use crate::tar;

/// The bounds of one layer, against archives that are made to exhaust the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The bounds of the archive.
    pub archive: tar::Limits,
    /// Bytes of the uncompressed archive.
    pub expanded_bytes_max: u64,
    /// How many times larger than the compressed the uncompressed archive may be, once it is
    /// larger than `ratio_from_bytes`. Gzip itself reaches no more than 1032.
    pub ratio_max: u64,
    /// Below this size the ratio is not looked at: small layers of zeros are common.
    pub ratio_from_bytes: u64,
    /// The most layers of one image: overlayfs stacks no more than 500.
    pub layers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            archive: tar::Limits::default(),
            expanded_bytes_max: 256 << 30,
            ratio_max: 1000,
            ratio_from_bytes: 256 << 20,
            layers_max: 500,
        }
    }
}
