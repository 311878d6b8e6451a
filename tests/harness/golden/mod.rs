//! Golden cases of builds: Dockerfiles with what must come of them, many to a text file, each built by
//! keel-image and, where it can, by buildah.
//!
//! ```text
//! === what the case shows
//! FROM scratch
//! COPY a /b
//! --- context
//! echo text > a
//! --- graph
//! 0:1 < scratch; 2 COPY < context
//! --- files
//! /b "text\n"
//! --- config
//! Cmd ["x"]
//! ```
//!
//! [`case`] reads this form, [`built`] looks at an image, [`graph`] at what was done for it, [`builder`] makes one with
//! either program, and [`check`] compares. What each section means stands in `tests/build/cases/README.md`. [`whole`]
//! compares all of an image.

mod builder;
mod built;
mod case;
mod check;
mod graph;
mod whole;

pub use check::check_cases;
pub use whole::differences_from_buildah;
