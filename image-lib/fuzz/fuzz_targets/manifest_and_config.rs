//! Manifests, indexes, configurations and descriptors: what is read can be written and read again as
//! the same value.
#![no_main]

use keel_image::spec::{Descriptor, ImageConfig, Index, Manifest, Preferences, Raw};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

macro_rules! same_after_writing {
    ($kind:ty, $bytes:expr) => {
        if let Ok(read) = Raw::<$kind>::parse("document", $bytes.to_vec()) {
            assert_eq!(read.bytes(), $bytes);
            let written = serde_json::to_vec(read.value()).expect("a document can be written");
            let again = Raw::<$kind>::parse("document", written).expect("and be read again");
            assert_eq!(read.value(), again.value());
        }
    };
}

fuzz_target!(|bytes: &[u8]| {
    // Floats lose digits in JSON, and what is not understood is kept as it is.
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    if has_float(&value) {
        return;
    }
    same_after_writing!(Manifest, bytes);
    same_after_writing!(Index, bytes);
    same_after_writing!(Descriptor, bytes);
    same_after_writing!(ImageConfig, bytes);
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let platform = config.platform();
        assert_eq!(platform.clone().normalized(), platform);
        let _ = Preferences::of(&platform).rank(&platform);
        let _ = config.execution();
    }
});

fn has_float(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_float),
        Value::Object(members) => members.values().any(has_float),
        _ => false,
    }
}
