//! A response of criu: it is read or refused, and reading it leaves no text longer than the bytes.
#![no_main]

use keel::criu::message::Response;
use keel::criu::wire::Fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Each field takes two bytes at least, and nothing follows one that cannot be read.
    let fields: Vec<_> = Fields::of(bytes).collect();
    assert!(fields.len() <= bytes.len());
    assert!(fields.iter().rev().skip(1).all(Result::is_ok));
    let Ok(response) = Response::decode(bytes) else { return };
    assert!(fields.iter().all(Result::is_ok));
    // A byte that is no text is shown by a sign of three bytes.
    let texts = [response.message.as_ref(), response.notice.as_ref().map(|(point, _)| point)];
    assert!(texts.into_iter().flatten().all(|text| text.len() <= 3 * bytes.len()));
});
