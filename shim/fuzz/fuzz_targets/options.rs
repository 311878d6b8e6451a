//! Options of a container, in the three forms in which they come.
#![no_main]

use keel_shim::messages::Any;
use keel_shim::options::Options;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let any = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: bytes.to_vec() };
    let _ = Options::parse(&any);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Options::of_text(text);
    }
});
