//! The command `keel`: everything it does is in the library, see [`keel::cli`].

#![no_main]

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[path = "sys/early.rs"]
mod early;
#[path = "sys/entry.rs"]
mod entry;
