//! ttrpc: frames do not depend on how the bytes come, and a request that is understood can be written and read again.
#![no_main]

use keel_shim::ttrpc::{Frame, Inbox, encode_request, request};
use libfuzzer_sys::fuzz_target;

fn frames<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut inbox = Inbox::default();
    let mut frames = Vec::new();
    for part in parts {
        inbox.push(part);
        frames.extend(std::iter::from_fn(|| inbox.take()));
    }
    frames
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let at_once = frames(std::iter::once(bytes));
    assert_eq!(frames(bytes.chunks(usize::from(step) + 1)), at_once);
    for frame in at_once {
        let stream = frame.stream;
        let Ok(call) = request(frame) else { continue };
        let again = frames(std::iter::once(encode_request(stream, &call).as_slice()));
        let [frame] = again.try_into().expect("one frame");
        assert_eq!(request(frame).ok(), Some(call));
    }
});
