//! Progress on the standard error: a bar per layer on a terminal, otherwise nothing but warnings.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use keel_image::identity::Digest;
use keel_image::store::{Event, Progress};

use crate::output;

/// Shows how far the layers are.
#[derive(Debug)]
pub(crate) struct Bars {
    all: Option<MultiProgress>,
    by_blob: Mutex<HashMap<(Stage, Digest), ProgressBar>>,
}

/// What is done with a blob; both may be at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Fetch,
    Unpack,
    Push,
}

fn bar(all: &MultiProgress, verb: &str, blob: &Digest, bytes: u64) -> ProgressBar {
    let bar = all.add(ProgressBar::new(bytes));
    let style = format!("{{prefix}}: {verb:9} [{{bar:30}}] {{bytes}}/{{total_bytes}}");
    if let Ok(style) = ProgressStyle::with_template(&style) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(blob.short().to_owned());
    bar
}

impl Bars {
    /// Bars on the standard error, if it is a terminal and `quiet` is not asked for.
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = !quiet && io::stderr().is_terminal();
        Self { all: shown.then(MultiProgress::new), by_blob: Mutex::default() }
    }

    /// Does something that prints, with the bars out of its way.
    pub(crate) fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.all {
            Some(all) => all.suspend(print),
            None => print(),
        }
    }
}

impl Progress for Bars {
    fn note(&self, event: Event<'_>) {
        if let Event::Warning(text) = event {
            match &self.all {
                Some(all) => drop(all.println(format!("warning: {text}"))),
                None => output::error_line(&format!("warning: {text}")),
            }
        }
        let Some(all) = &self.all else { return };
        let mut bars = self.by_blob.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::BeginFetch { blob, bytes, present } => {
                let bar = bar(all, "fetching", blob, bytes);
                bar.set_position(present);
                bars.insert((Stage::Fetch, blob.clone()), bar);
            }
            Event::Begin { blob, bytes } => {
                let bar = bar(all, "unpacking", blob, bytes);
                bars.insert((Stage::Unpack, blob.clone()), bar);
            }
            Event::AdvanceFetch { blob, bytes } => {
                if let Some(bar) = bars.get(&(Stage::Fetch, blob.clone())) {
                    bar.inc(bytes);
                }
            }
            Event::Advance { blob, bytes } => {
                if let Some(bar) = bars.get(&(Stage::Unpack, blob.clone())) {
                    bar.inc(bytes);
                }
            }
            Event::EndFetch { blob } => {
                if let Some(bar) = bars.remove(&(Stage::Fetch, blob.clone())) {
                    bar.finish_and_clear();
                }
            }
            Event::End { blob } => {
                if let Some(bar) = bars.remove(&(Stage::Unpack, blob.clone())) {
                    bar.finish_and_clear();
                }
            }
            Event::BeginPush { blob, bytes } => {
                let bar = bar(all, "pushing", blob, bytes);
                bars.insert((Stage::Push, blob.clone()), bar);
            }
            Event::AdvancePush { blob, bytes } => {
                if let Some(bar) = bars.get(&(Stage::Push, blob.clone())) {
                    bar.inc(bytes);
                }
            }
            Event::EndPush { blob, .. } => {
                if let Some(bar) = bars.remove(&(Stage::Push, blob.clone())) {
                    bar.finish_and_clear();
                }
            }
            Event::Present { .. } | Event::Warning(_) => {}
        }
    }
}
