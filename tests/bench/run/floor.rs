//! The floor: a program that does only what the kernel must do for such a container. It is in C, so that nothing but
//! its calls costs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keel_tests::Container;

/// Its name among those of runtimes.
pub(crate) const NAME: &str = "floor";

/// Builds it, beside this program.
pub(crate) fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    let (source, built) = (own.with_file_name("bench-floor.c"), own.with_file_name("bench-floor"));
    fs::write(&source, include_str!("floor.c")).expect("a folder for programs");
    let status = Command::new("cc").args(["-O2", "-static", "-o"]).args([&built, &source]).status();
    assert!(status.expect("cc is installed").success(), "the floor does not compile");
    built
}

/// One run, in the root file system of this container.
pub(crate) fn run(program: &PathBuf, mode: &str, container: &Container) -> Command {
    let mut command = Command::new(program);
    command.arg(mode).arg(container.rootfs()).arg(container.id());
    command
}
