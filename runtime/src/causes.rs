//! An error in words, with everything that led to it.

use std::error::Error;
use std::io;

use crate::sys::error::errno_text;

/// An error and its causes from the outermost in, each told once, joined by colons.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let told: Vec<String> = causes.map(told).collect();
    told.join(": ")
}

fn told(error: &(dyn Error + 'static)) -> String {
    error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), io_text)
}

/// The kernel's words, without the number that the standard library adds.
#[must_use]
pub fn io_text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), errno_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot mount \"/etc\"")]
    struct Outer(#[source] io::Error);

    #[test]
    fn tells_every_cause_once() {
        assert_eq!(
            with_causes(&Outer(io::Error::other("no room"))),
            "cannot mount \"/etc\": no room"
        );
    }

    #[test]
    fn leaves_out_the_number_of_an_errno() {
        let error = Outer(io::Error::from_raw_os_error(libc::ENOTDIR));
        assert_eq!(with_causes(&error), "cannot mount \"/etc\": not a directory");
    }
}
