//! Where the programs and fixtures are: beside the test's own binary, unless the environment says else.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A release binary of the workspace (`keel`, `keel-image`, `keel-probe`, `greeter`).
///
/// `KEEL` and `KEEL_IMAGE` name another `keel` and `keel-image`. Release binaries are tested because they
/// are what is shipped, and because a debug build of the child would allocate differently.
pub fn program(name: &str) -> PathBuf {
    let chosen = match name {
        "keel" => env::var_os("KEEL"),
        "keel-image" => env::var_os("KEEL_IMAGE"),
        _ => None,
    };
    let path = chosen.map_or_else(|| build_folder().join("release").join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: `tests/run` builds it (or `cargo build --release --workspace`)",
        path.display()
    );
    path
}

/// An example of the image library, which cargo builds beside the tests of its package.
pub fn example(name: &str) -> PathBuf {
    let path = build_folder().join("debug/examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing: `tests/run examples` builds it (or `cargo build -p keel-image -p keel-image-cli --examples`)",
        path.display()
    );
    path
}

/// A file that `tests/setup` makes: `debian.tar`, `busybox.tar`, `busybox`.
pub fn fixture(name: &str) -> PathBuf {
    made_by_setup(&format!("fixtures/{name}"))
}

/// What `tests/setup` unpacks of newer programs: `criu/bin` for a PATH, `engine` for the labs.
pub fn tool(name: &str) -> PathBuf {
    made_by_setup(&format!("tools/{name}"))
}

fn made_by_setup(name: &str) -> PathBuf {
    let build = build_folder();
    [Some(build.as_path()), build.parent()]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing: `tests/setup` makes it"))
}

/// The folder of the criu that `tests/setup` unpacks, for a PATH.
pub fn criu_folder() -> PathBuf {
    tool("criu/bin")
}

/// The folder with `debug/` and `release/` in it: the target folder, or the host tuple's below it.
fn build_folder() -> PathBuf {
    let own = env::current_exe().expect("a test binary has a path");
    own.ancestors()
        .find(|path| path.ends_with("debug") || path.ends_with("release"))
        .and_then(Path::parent)
        .unwrap_or_else(|| panic!("{} is not in a cargo target folder", own.display()))
        .to_owned()
}
