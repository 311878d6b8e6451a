//! `--change` of `import` and `commit`: Dockerfile instructions that change only a configuration.

use std::collections::BTreeMap;

use keel_image::build::arguments::BuildArguments;
use keel_image::build::dockerfile;
use keel_image::build::dockerfile::instruction::Command;
use keel_image::build::metadata;
use keel_image::build::state::StageState;
use keel_image::spec::{ImageConfig, Platform};

use crate::failure::Failure;

/// Carries out `changes` on `image`. Its history stays as it is: docker notes them in one step.
pub(crate) fn apply(image: &mut ImageConfig, changes: &[String]) -> Result<(), Failure> {
    let platform = Platform::host();
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let parsed = dockerfile::parse("--change", &text).map_err(|error| Failure::of(&error))?;
    let arguments = BuildArguments::new(&BTreeMap::new(), &parsed, &platform, None)
        .map_err(|error| Failure::of(&error))?;
    let mut state = StageState::scratch(&platform);
    if let Some(config) = &image.config {
        state.image.config = Some(config.clone());
    }
    for instruction in parsed.stages.iter().flat_map(|stage| &stage.instructions) {
        let failed =
            |reason: &str| Failure::new(format!("--change {:?}: {reason}", instruction.text));
        if let Command::Workdir(path) = &instruction.command {
            if !path.starts_with('/') {
                return Err(failed("the path must be absolute"));
            }
            state.config().working_dir.clone_from(path);
            continue;
        }
        match metadata::apply(&mut state, &instruction.command, &arguments, '\\') {
            Ok(true) => {}
            Ok(false) => return Err(failed("the instruction changes more than the configuration")),
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
    image.config = state.image.config;
    Ok(())
}
