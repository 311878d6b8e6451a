//! Variables in words: `word NUL value of a NUL value of b`, with both escapes and both kinds of
//! quotes. Expanding ends, and the words are the text without the white space between them.
#![no_main]

use std::collections::BTreeMap;

use keel_image::build::dockerfile::expand::{Quotes, expand};
use keel_image::build::dockerfile::pattern::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\0');
    let word = parts.next().unwrap_or_default();
    let mut variables = BTreeMap::new();
    for (name, value) in ["a", "b"].into_iter().zip(parts) {
        if let Ok(pattern) = Pattern::compile(word) {
            check_pattern(&pattern, value);
        }
        variables.insert(name.to_owned(), value.to_owned());
    }
    for escape in ['\\', '`'] {
        for quotes in [Quotes::Remove, Quotes::Plain] {
            let Ok(expanded) = expand(word, &variables, escape, quotes) else { continue };
            let mut rest = expanded.text.as_str();
            for word in &expanded.words {
                let at = rest.find(word.as_str()).expect("a word is part of the text");
                rest = &rest[at + word.len()..];
            }
            assert!(expanded.unset.iter().all(|name| !variables.contains_key(name)));
        }
    }
});

fn check_pattern(pattern: &Pattern, text: &str) {
    for greedy in [false, true] {
        assert!(text.ends_with(pattern.without_prefix(text, greedy)));
        assert!(text.starts_with(pattern.without_suffix(text, greedy)));
    }
    let shorter = |one: &str, other: &str| one.len() <= other.len();
    assert!(shorter(pattern.without_prefix(text, true), pattern.without_prefix(text, false)));
    assert!(shorter(pattern.without_suffix(text, true), pattern.without_suffix(text, false)));
    for all in [false, true] {
        assert!(pattern.replace(text, "", all).len() <= text.len());
    }
}
