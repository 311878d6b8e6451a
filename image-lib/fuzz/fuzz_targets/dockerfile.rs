//! Dockerfiles: text that is accepted has places inside it, plans, and changes a configuration; text
//! that is not is refused at a place inside it.
#![no_main]

use std::collections::BTreeMap;

use keel_image::build::arguments::BuildArguments;
use keel_image::build::dockerfile::instruction::Command;
use keel_image::build::dockerfile::{Dockerfile, parse};
use keel_image::build::plan::{Scope, plan};
use keel_image::build::state::StageState;
use keel_image::build::{error::BuildError, metadata};
use keel_image::spec::{ImageConfig, Platform};
use libfuzzer_sys::fuzz_target;

/// What a value may grow to by being repeated; beyond, a build is only slow.
const VALUE_BYTES_MAX: usize = 1 << 16;

fuzz_target!(|text: &str| {
    match parse("Dockerfile", text) {
        Ok(dockerfile) => carry_out(&dockerfile, text),
        Err(error) => assert!(!error.to_string().is_empty() && !error.message.is_empty()),
    }
});

fn carry_out(dockerfile: &Dockerfile, text: &str) {
    let lines = text.split('\n').count();
    for stage in &dockerfile.stages {
        let places = stage.instructions.iter().map(|instruction| instruction.place);
        for place in places.chain([stage.place]) {
            assert!((1..=lines).contains(&place.line) && place.column >= 1, "{place:?}");
        }
    }
    for warning in &dockerfile.warnings {
        assert!(!warning.to_string().is_empty());
    }
    let given = BTreeMap::from([("GIVEN".to_owned(), "a b'\"".to_owned())]);
    let platform = Platform::host();
    let Ok(arguments) = BuildArguments::new(&given, dockerfile, &platform, None) else { return };
    // Its own words as a trigger: what an image may bring along.
    let mut triggers = |_: &str, _: Option<&Platform>| {
        Ok(vec![text.lines().last().unwrap_or_default().to_owned()])
    };
    let contexts = BTreeMap::new();
    let scope = Scope { globals: arguments.globals(), contexts: &contexts };
    let plan = match plan(dockerfile, None, scope, &mut triggers) {
        Ok(plan) => plan,
        Err(error) => return assert_tells_its_line(&error, lines),
    };
    assert_eq!(plan.stages.last().map(|stage| stage.index), Some(dockerfile.stages.len() - 1));
    for (at, stage) in plan.stages.iter().enumerate() {
        let before: Vec<usize> = plan.stages[..at].iter().map(|stage| stage.index).collect();
        assert!(stage.needs().iter().all(|index| before.contains(index)), "{stage:?}");
        let mut state = StageState::scratch(&platform);
        for instruction in &stage.instructions {
            let escape = dockerfile.directives.escape;
            if metadata::apply(&mut state, &instruction.command, &arguments, escape).is_err() {
                break;
            }
            if let Command::Workdir(word) | Command::User(word) = &instruction.command {
                let _ = state.expand(word, escape);
            }
            if state.environment.entries().iter().any(|entry| entry.len() > VALUE_BYTES_MAX) {
                break;
            }
        }
        let written = serde_json::to_vec(&state.image).expect("a configuration can be written");
        let again: ImageConfig = serde_json::from_slice(&written).expect("and be read again");
        assert_eq!(again, state.image);
    }
}

fn assert_tells_its_line(error: &BuildError, lines: usize) {
    if let BuildError::Step { at, .. } = error {
        assert!((1..=lines).contains(&at.place.line), "{error:?}");
    }
    let _ = error.quote();
    let _ = error.hint();
}
