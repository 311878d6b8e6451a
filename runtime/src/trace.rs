//! What an operation does, step by step, told to whoever listens in the thread that does it: `--debug`
//! of the command line. Where nobody listens, nothing is put into words.

use std::cell::RefCell;
use std::fmt;

/// Takes a line without its newline.
pub type Listener = Box<dyn FnMut(&str)>;

thread_local! {
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
}

/// Has the steps of this thread's operations told to `listener` from now on, or to nobody.
pub fn listen(listener: Option<Listener>) {
    LISTENER.with(|cell| *cell.borrow_mut() = listener);
}

/// Tells a step. Not for the child, which may not allocate.
pub fn step(text: fmt::Arguments<'_>) {
    LISTENER.with(|cell| {
        // A listener that itself takes traced steps is not told of them.
        if let Ok(mut listener) = cell.try_borrow_mut()
            && let Some(listener) = listener.as_mut()
        {
            listener(&text.to_string());
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
        step(format_args!("before"));
        listen(Some(Box::new(move |line| sink.borrow_mut().push(line.to_owned()))));
        step(format_args!("step {}", 1));
        std::thread::spawn(|| step(format_args!("elsewhere"))).join().unwrap_or_default();
        listen(None);
        step(format_args!("after"));
        assert_eq!(*heard.borrow(), ["step 1"]);
    }
}
