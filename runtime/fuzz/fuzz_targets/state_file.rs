//! state.json: what is read can be written and read again, and hooks get JSON.
#![no_main]

use keel::container::state_file::State;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(state) = State::from_json(bytes) else { return };
    let again = State::from_json(state.to_json().as_bytes());
    assert_eq!(again.expect("what was written is read"), state);
    let told = state.for_hooks("running", 7);
    let told: Value = serde_json::from_str(&told).expect("JSON for hooks");
    assert_eq!(told["id"], state.id);
});
