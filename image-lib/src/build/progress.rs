//! What a build tells while it runs. The library prints nothing: the one who calls it decides what
//! becomes of an [`Event`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Receives events. They come from several threads, one at a time, and may interleave where stages
/// are built at the same time; each carries the number of its step.
pub trait Progress: Send {
    /// Takes one event. It must not block for long: the build waits.
    fn report(&mut self, event: Event<'_>);
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step began.
    Started {
        /// The number of the step; numbers count from 1 in order of beginning.
        step: usize,
        /// What is done, such as `[2/8] RUN make`.
        name: &'a str,
    },
    /// A command wrote a line.
    Output {
        /// The step.
        step: usize,
        /// The line without its end.
        line: &'a str,
        /// Since the step began.
        after: Duration,
    },
    /// Something worth knowing.
    Note {
        /// The step.
        step: usize,
        /// A sentence.
        text: &'a str,
    },
    /// The step's result was taken from the cache.
    Cached {
        /// The step.
        step: usize,
    },
    /// The step ended well.
    Done {
        /// The step.
        step: usize,
        /// Since it began.
        after: Duration,
    },
    /// The step failed.
    Failed {
        /// The step.
        step: usize,
        /// Why, in one line.
        reason: &'a str,
    },
    /// The author of the Dockerfile should know this.
    Warning {
        /// Place and text.
        text: &'a str,
    },
}

/// Numbers steps and hands events on, whichever thread they come from.
pub(super) struct Reporter<'a> {
    inner: Mutex<Inner<'a>>,
}

struct Inner<'a> {
    progress: &'a mut dyn Progress,
    steps: usize,
}

/// A step that began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    number: usize,
    began: Instant,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(progress: &'a mut dyn Progress) -> Self {
        Self { inner: Mutex::new(Inner { progress, steps: 0 }) }
    }

    fn with(&self, act: impl FnOnce(&mut Inner<'a>)) {
        // A panic in another stage's report says nothing about this one.
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn begin(&self, name: &str) -> Step {
        let mut number = 0;
        self.with(|inner| {
            inner.steps += 1;
            number = inner.steps;
            inner.progress.report(Event::Started { step: number, name });
        });
        Step { number, began: Instant::now() }
    }

    pub(super) fn output(&self, step: Step, line: &str) {
        let event = Event::Output { step: step.number, line, after: step.began.elapsed() };
        self.with(|inner| inner.progress.report(event));
    }

    pub(super) fn note(&self, step: Step, text: &str) {
        self.with(|inner| inner.progress.report(Event::Note { step: step.number, text }));
    }

    pub(super) fn cached(&self, step: Step) {
        self.with(|inner| inner.progress.report(Event::Cached { step: step.number }));
    }

    pub(super) fn done(&self, step: Step) {
        let event = Event::Done { step: step.number, after: step.began.elapsed() };
        self.with(|inner| inner.progress.report(event));
    }

    pub(super) fn failed(&self, step: Step, reason: &str) {
        let event = Event::Failed { step: step.number, reason };
        self.with(|inner| inner.progress.report(event));
    }

    pub(super) fn warning(&self, text: &str) {
        self.with(|inner| inner.progress.report(Event::Warning { text }));
    }
}
