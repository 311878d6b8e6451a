//! Bytes on their way: measured, verified, compressed and decompressed. Nothing here knows what the
//! bytes mean.

mod compression;
mod gzip;
mod meter;
mod verified_reader;
mod window;

pub use compression::{Compression, DecodeError, Decoder, Encoder, Peeked, peek};
pub use meter::{Meter, Tee};
pub use verified_reader::{Mismatch, VerifiedReader};
pub(crate) use window::Held;
