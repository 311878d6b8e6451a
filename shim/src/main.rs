//! `containerd-shim-keel-v2`: the words of the shim contract, and nothing else.

use std::io::Write as _;
use std::process::ExitCode;

use keel_shim::args::{self, Word};
use keel_shim::{bootstrap, cleanup, info, pause, serve};

fn main() -> ExitCode {
    let done = args::parse(std::env::args_os().skip(1)).and_then(|(word, args)| match word {
        Word::Start => bootstrap::start(&args),
        Word::Delete => cleanup::delete(&args),
        Word::Serve => serve::serve(&args),
        Word::Version => info::version(),
        Word::Info => info::info(),
        Word::Pause => pause::pause(),
    });
    let Err(error) = done else { return ExitCode::SUCCESS };
    // containerd shows these words to whoever asked for the container.
    let _ = writeln!(std::io::stderr(), "containerd-shim-keel-v2: {error}");
    ExitCode::FAILURE
}
