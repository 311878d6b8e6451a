//! Compressed streams: what they are is read from their first bytes, decoding ends, and what is
//! compressed comes back. Bytes that are not compressed come through as they are.
#![no_main]

use std::io::{Read, Write};

use keel_image::blob::{Compression, Decoder, Encoder};
use libfuzzer_sys::fuzz_target;

/// A few bytes may be a bomb; the reader's caller bounds it, here as in the store.
const DECODED_BYTES_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    match Decoder::new(bytes) {
        Ok(mut decoder) => {
            let compression = decoder.compression();
            let mut decoded = Vec::new();
            let result = decoder.by_ref().take(DECODED_BYTES_MAX).read_to_end(&mut decoded);
            if compression == Compression::None {
                assert!(result.is_ok() && decoded == bytes);
            }
        }
        Err(error) => panic!("memory can be read: {error}"),
    }
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut encoder = Encoder::new(Vec::new(), compression).expect("an encoder");
        encoder.write_all(bytes).expect("memory takes all");
        let encoded = encoder.finish().expect("memory takes all");
        let mut decoder = Decoder::new(encoded.as_slice()).expect("a known compression");
        assert_eq!(decoder.compression(), compression);
        let mut decoded = Vec::new();
        decoder.read_to_end(&mut decoded).expect("what was encoded is decoded");
        assert_eq!(decoded, bytes);
    }
});
