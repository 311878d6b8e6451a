//! The example of the README as a build context of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{program, project_root};

/// A copy of `examples/hello` with the program that its Dockerfile copies, in a new folder.
pub fn example_context(folder: &Path) -> PathBuf {
    let example = project_root().join("examples/hello");
    let context = folder.join("hello");
    fs::create_dir_all(context.join("bin")).expect("a folder");
    for entry in fs::read_dir(&example).expect("the example").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), context.join(entry.file_name())).expect("a copy");
        }
    }
    // Another process copies: see `fill_rootfs`.
    let greeter = context.join("bin/greeter");
    let status = Command::new("cp").arg(program("greeter")).arg(&greeter).status().expect("cp");
    assert!(status.success(), "cp to {}", greeter.display());
    context
}
