//! `build --explain` and `build --dry-run`: why each step went, or would go, as it did.

use std::sync::PoisonError;

use keel_image::build::{Fate, Story};
use serde_json::{Value, json};

use super::display::Stories;
use crate::failure::Failure;
use crate::output;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints what there is to tell, by stages in the order of the Dockerfile.
pub(super) fn print(form: Form, stories: &Stories) -> Result<(), Failure> {
    let mut stories = stories.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Stages are built at the same time; several platforms come one after the other.
    stories.sort_by_key(|story| (story.stage, story.number));
    match form {
        Form::Json => {
            let steps: Vec<Value> = stories.iter().map(row).collect();
            output::json(&json!({ "steps": steps }))
        }
        Form::Text => {
            for story in &stories {
                output::line(&text(story))?;
            }
            let count = |fate| stories.iter().filter(|s| s.number > 0 && s.fate == fate).count();
            let fates = [Fate::Hit, Fate::Ran, Fate::WouldRun, Fate::Unknown];
            let counts = fates.iter().filter(|fate| count(**fate) > 0);
            let counts: Vec<String> =
                counts.map(|fate| format!("{} {}", count(*fate), fate.word())).collect();
            output::line(&if counts.is_empty() {
                "no steps".to_owned()
            } else {
                format!("steps: {}", counts.join(", "))
            })
        }
    }
}

fn stage(story: &Story) -> String {
    story.stage_name.clone().unwrap_or_else(|| story.stage.to_string())
}

fn text(story: &Story) -> String {
    let fate = if story.number == 0 && story.fate == Fate::Hit { "" } else { story.fate.word() };
    let head = format!("{fate:9}  [{} {}] {}", stage(story), story.number, story.text);
    let reasons = story.reasons.iter().map(|reason| format!("\n           - {reason}"));
    head + &reasons.collect::<String>()
}

fn row(story: &Story) -> Value {
    let reason = |reason: &keel_image::build::Reason| json!({ "component": reason.component, "name": reason.name, "change": reason.change });
    json!({
        "stage": stage(story), "step": story.number, "line": story.line, "instruction": story.text,
        "status": story.fate.word(), "inputs": story.inputs,
        "reasons": story.reasons.iter().map(reason).collect::<Vec<_>>(),
    })
}
