//! The only door to the kernel, and the only place with `unsafe`.
//!
//! One typed wrapper per system call, named as its man page; every descriptor is born close-on-exec;
//! paths are `&CStr`, so that nothing here allocates and all of it may be called between clone and
//! exec. nix and rustix make the call where they have it; raw libc only where neither does.
//! This layer knows no word of OCI.

#![allow(unsafe_code)]

pub mod bpf;
pub mod copy;
pub mod credentials;
pub mod error;
pub mod event;
pub mod mount;
pub mod namespace;
pub mod open;
pub mod probe;
pub mod process;
pub mod signal;
pub mod socket;
pub mod support;
pub mod terminal;
pub mod text;
