//! Answers of rtnetlink: whatever the bytes say, reading ends, and holds no more than the bytes do.
#![no_main]

use keel::namespaces::rtnetlink::Answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut answer = Answer::default();
    let _ = answer.read(bytes, 1);
    assert!((answer.links.len() + answer.addresses.len()) * 16 <= bytes.len());
});
