//! What a program says about who runs it. A path of a script is one of its first line, without blanks.
#![no_main]

use keel_image::build::reads::program::{Named, interpreter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(Named::Path(path)) = interpreter(bytes) {
        assert!(bytes.starts_with(b"#!") && !path.is_empty());
        assert!(!path.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0)));
    }
});
