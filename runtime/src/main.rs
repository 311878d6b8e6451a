//! The command `keel`: everything it does is in the library, see [`keel::cli`].

#![no_main]

#[path = "sys/entry.rs"]
mod entry;
