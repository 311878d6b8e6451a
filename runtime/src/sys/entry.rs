//! The first function of the program. The standard library's own start would prepare a handler for
//! stack overflows, read the memory map and ignore SIGPIPE: some twenty system calls that a runtime,
//! which is started for each operation, does not need.
//!
//! This file belongs to the binary, not to the library: a program that embeds keel has its own start.

#![allow(unsafe_code)]

use std::os::raw::{c_char, c_int};

/// Called by the C library. The arguments reach `std::env::args` by another way.
#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    c_int::from(keel::cli::main())
}
