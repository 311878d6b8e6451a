//! What a registry says in headers: challenges, links, times, ranges, places. Whatever it is, the client's
//! idea of it is bounded and consistent.
#![no_main]

use keel_image::registry::{
    Challenge, Scopes, Url, content_range, media_type, next_link, retry_after, upload_range,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let challenges = Challenge::parse(text);
    assert!(challenges.len() <= 64);
    for challenge in &challenges {
        assert!(!challenge.scheme.is_empty());
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        let scopes = Scopes::parse(challenge.parameter("scope").unwrap_or_default());
        assert_eq!(scopes.clone().union(&scopes), scopes);
    }
    if let Some(link) = next_link(text) {
        assert!(text.contains(link));
    }
    let _ = retry_after(text, 0);
    if let Some(range) = content_range(text) {
        assert!(range.first <= range.last && range.total.is_none_or(|total| range.last < total));
    }
    let _ = upload_range(text);
    assert!(text.contains(media_type(text)));
    let base = Url::parse("https://registry.example:5000/v2/a/b?c=d").expect("a URL");
    for url in Url::parse(text).into_iter().chain(base.resolve(text)) {
        let written = url.to_string();
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(Url::parse(&written).as_ref(), Some(&url));
        assert!(url.is_same_origin(&url));
        assert!(url.port() > 0 && !url.host().is_empty() && url.target().starts_with('/'));
        // What the client is to connect to is what was looked at.
        assert!(!url.authority().contains('@'));
    }
});
