//! Messages of the task API: whatever comes is one or is refused, and what has been read can be written and read again.
#![no_main]

use keel_shim::messages::{Any, Call, CheckpointOptions, Create, Exec};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(any) = Any::parse(bytes) {
        assert_eq!(Any::parse(&any.encode().done()).ok(), Some(any));
    }
    let _ = Create::parse(bytes);
    let _ = Exec::parse(bytes);
    let _ = Call::of_process(bytes);
    let _ = Call::of_container(bytes);
    let _ = Call::of_checkpoint(bytes);
    let _ = Call::of_update(bytes);
    let _ = CheckpointOptions::parse(bytes);
});
