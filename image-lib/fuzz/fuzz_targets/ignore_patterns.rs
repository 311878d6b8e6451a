//! `.dockerignore` and a path: `patterns NUL path`. A folder that is left out and may not be entered
//! has nothing in it that is let in, because it is then not looked into.
#![no_main]

use keel_image::build::glob::{Glob, Stars};
use keel_image::build::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (patterns, path) = text.split_once('\0').unwrap_or((text, "a/b/c"));
    for stars in [Stars::Any, Stars::Component] {
        if let Ok(glob) = Glob::compile(patterns, stars) {
            let _ = glob.matches(path);
        }
    }
    let ignore = match Ignore::parse(patterns) {
        Ok(ignore) => ignore,
        Err(error) => return assert!((1..=patterns.lines().count()).contains(&error.line)),
    };
    // Paths of a context are clean.
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return;
    }
    let ignored = ignore.judge_path(path).ignored;
    for (at, _) in path.match_indices('/') {
        let folder = &path[..at];
        if ignore.judge_path(folder).ignored && !ignore.may_admit_below(folder) {
            assert!(ignored, "{folder:?} is not entered, but {path:?} is let in");
        }
    }
});
