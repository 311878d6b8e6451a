//! What an operation does, step by step, told to whoever listens in the thread that does it: `--debug`
//! of the command line. Where nobody listens, nothing is put into words.

use std::cell::RefCell;
use std::fmt;

/// Where in the program a line of the log comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The path of the function.
    pub function: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
}

impl Place {
    /// `closure` is the type's name of a closure that stands in the function, since only that tells
    /// the function's.
    #[must_use]
    pub fn new(closure: &'static str, file: &'static str, line: u32) -> Self {
        Self { function: closure.trim_end_matches("::{{closure}}"), file, line }
    }
}

impl fmt::Display for Place {
    /// As `FILE:LINE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The place where this stands.
macro_rules! place {
    () => {
        $crate::trace::Place::new(std::any::type_name_of_val(&|| ()), file!(), line!())
    };
}
pub(crate) use place;

/// Takes a line without its newline, and where it comes from.
pub type Listener = Box<dyn FnMut(Place, &str)>;

thread_local! {
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// Has the steps of this thread's operations told to `listener` from now on, or to nobody.
pub fn listen(listener: Option<Listener>) {
    LISTENER.with(|cell| *cell.borrow_mut() = listener);
}

/// Tells a step. Not for the child, which may not allocate.
pub fn step(place: Place, text: fmt::Arguments<'_>) {
    LISTENER.with(|cell| {
        // A listener that itself takes traced steps is not told of them.
        if let Ok(mut listener) = cell.try_borrow_mut()
            && let Some(listener) = listener.as_mut()
        {
            listener(place, &text.to_string());
        }
    });
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn tells_the_thread_that_listens_and_no_other() {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&heard);
        step(place!(), format_args!("before"));
        listen(Some(Box::new(move |place, line| sink.borrow_mut().push((place, line.to_owned())))));
        step(place!(), format_args!("step {}", 1));
        std::thread::spawn(|| step(place!(), format_args!("elsewhere"))).join().unwrap_or_default();
        listen(None);
        step(place!(), format_args!("after"));
        let heard = heard.borrow();
        let [(place, line)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(line, "step 1");
        assert!(
            place.function.ends_with("::tells_the_thread_that_listens_and_no_other"),
            "{place:?}"
        );
        assert!(place.file.ends_with("trace.rs") && place.line > 0, "{place:?}");
    }
}
