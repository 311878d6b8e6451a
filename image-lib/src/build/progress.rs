//! What a build tells while it runs. The library prints nothing: the one who calls it decides what
//! becomes of an [`Event`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::explain::Story;

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
    /// A command wrote a line, or a piece of one: nothing of what it writes is left out or altered.
    Output {
        /// The step.
        step: usize,
        /// The bytes without the line's end; commands may write what is no text.
        bytes: &'a [u8],
        /// Whether the line ends here; otherwise the step's next output goes on with it, if there is any.
        is_ended: bool,
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
    /// Why a step went as it did; asked for by [`super::BuildOptions::explain`].
    Explained {
        /// The step; none for a stage that starts from another or from nothing.
        step: Option<usize>,
        /// What there is to tell.
        story: &'a Story,
    },
    /// The author of the Dockerfile should know this.
    Warning {
        /// Place and text.
        text: &'a str,
    },
}

/// What a build tells of its steps, from whichever thread.
pub trait Report: Sync {
    /// A step begins.
    fn begin(&self, name: &str) -> Step;
    /// The command of a step has written a piece of a line, which may end with it.
    fn output(&self, step: Step, bytes: &[u8], is_ended: bool);
    /// Something worth knowing of a step.
    fn note(&self, step: Step, text: &str);
    /// The step's result was there already.
    fn cached(&self, step: Step);
    /// A step has ended well.
    fn done(&self, step: Step);
    /// A step has failed.
    fn failed(&self, step: Step, reason: &str);
    /// Why a step went as it did.
    fn explained(&self, step: Option<Step>, story: &Story);
    /// Something that the author of the Dockerfile should know.
    fn warning(&self, text: &str);
}

/// Numbers steps and hands events on, whichever thread they come from.
pub struct Reporter<'a> {
    inner: Mutex<Inner<'a>>,
}

impl std::fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

struct Inner<'a> {
    progress: &'a mut dyn Progress,
    steps: usize,
}

/// A step that began.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    number: usize,
    began: Instant,
}

impl<'a> Reporter<'a> {
    /// A reporter that tells `progress`.
    #[must_use]
    pub fn new(progress: &'a mut dyn Progress) -> Self {
        Self { inner: Mutex::new(Inner { progress, steps: 0 }) }
    }

    fn with(&self, act: impl FnOnce(&mut Inner<'a>)) {
        // A panic in another stage's report says nothing about this one.
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self, event: Event<'_>) {
        self.with(|inner| inner.progress.report(event));
    }
}

impl Report for Reporter<'_> {
    fn begin(&self, name: &str) -> Step {
        let mut number = 0;
        self.with(|inner| {
            inner.steps += 1;
            number = inner.steps;
            inner.progress.report(Event::Started { step: number, name });
        });
        Step { number, began: Instant::now() }
    }

    fn output(&self, step: Step, bytes: &[u8], is_ended: bool) {
        let after = step.began.elapsed();
        self.tell(Event::Output { step: step.number, bytes, is_ended, after });
    }

    fn note(&self, step: Step, text: &str) {
        self.tell(Event::Note { step: step.number, text });
    }

    fn cached(&self, step: Step) {
        self.tell(Event::Cached { step: step.number });
    }

    fn done(&self, step: Step) {
        self.tell(Event::Done { step: step.number, after: step.began.elapsed() });
    }

    fn failed(&self, step: Step, reason: &str) {
        self.tell(Event::Failed { step: step.number, reason });
    }

    fn explained(&self, step: Option<Step>, story: &Story) {
        self.tell(Event::Explained { step: step.map(|step| step.number), story });
    }

    fn warning(&self, text: &str) {
        self.tell(Event::Warning { text });
    }
}
