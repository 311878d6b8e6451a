//! `-v` and `-info`: what the shim is, for people and for containerd.

use std::io::{self, IsTerminal as _, Write as _};

use crate::bootstrap::read_input;
use crate::engine;
use crate::limits;
use crate::log::warn;
use crate::messages::Any;
use crate::options::Options;
use crate::protobuf::Writer;

/// The name under which containerd knows the runtime.
const NAME: &str = "io.containerd.keel.v2";

/// Prints the version as other shims do.
pub fn version() -> Result<(), String> {
    print(
        format!("containerd-shim-keel-v2:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes(),
    )
}

/// Prints a `containerd.types.RuntimeInfo` with what `features` of the runtime says. containerd hands its options over on
/// standard input; somebody at a terminal has none.
pub fn info() -> Result<(), String> {
    let input = if io::stdin().is_terminal() { Vec::new() } else { read_input()? };
    let any = Any::parse(&input).map_err(|error| format!("standard input: {error}"))?;
    let options = Options::parse(&any).map_err(|error| error.message)?;
    let version = Writer::new().text(1, env!("CARGO_PKG_VERSION"));
    let mut info = Writer::new().text(1, NAME).message(2, version);
    if !input.is_empty() {
        info = info.message(3, any.encode());
    }
    // A runtime without that command has no features to tell of; containerd takes it so.
    match engine::features(&options).and_then(|it| it.wait(limits::FEATURES)) {
        Ok(value) => {
            let type_url =
                "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned();
            info = info.message(4, Any { type_url, value }.encode());
        }
        Err(error) => warn(&error.message),
    }
    print(&info.done())
}

fn print(bytes: &[u8]) -> Result<(), String> {
    io::stdout().write_all(bytes).map_err(|error| format!("standard output: {error}"))
}
