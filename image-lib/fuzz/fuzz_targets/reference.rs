//! Names of images and digests: what is understood has one spelling, which is understood as the same.
#![no_main]

use keel_image::identity::Digest;
use keel_image::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex().len(), digest.algorithm().hex_length());
    }
    let Ok(reference) = text.parse::<Reference>() else { return };
    let parse = |text: String| text.parse::<Reference>().expect("its own spelling is understood");
    assert_eq!(parse(reference.to_string()), reference);
    assert_eq!(parse(reference.familiar()), reference);
    assert!(!reference.path().split('/').any(|name| matches!(name, "" | "." | "..")));
    let named = reference.clone().or_latest();
    assert!(named.tag().is_some() || named.digest().is_some());
    let tagged = reference.with_tag("a").expect("a tag");
    assert_eq!(tagged.name(), reference.name());
});
