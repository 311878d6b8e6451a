//! `-v` and `-info`: what the shim is, for people and for containerd.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::messages::Any;
use crate::protobuf::Writer;

/// The name under which containerd knows the runtime.
const NAME: &str = "io.containerd.keel.v2";

/// Prints the version as other shims do.
pub fn version() -> Result<(), String> {
    print(
        format!("containerd-shim-keel-v2:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes(),
    )
}

/// Prints a `containerd.types.RuntimeInfo` with what `keel features` says.
pub fn info() -> Result<(), String> {
    let version = Writer::new().text(1, env!("CARGO_PKG_VERSION"));
    let mut info = Writer::new().text(1, NAME).message(2, version);
    // containerd has a bound of its own for this call; a runtime that hangs is ended with the shim by it.
    let features =
        Command::new("keel").arg("features").stdin(Stdio::null()).stderr(Stdio::null()).output();
    if let Ok(output) = features
        && output.status.success()
    {
        let type_url =
            "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned();
        info = info.message(4, Any { type_url, value: output.stdout }.encode());
    }
    print(&info.done())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    io::stdout().write_all(bytes).map_err(|error| format!("standard output: {error}"))
}
