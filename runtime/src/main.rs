//! The command `keel`: everything it does is in the library, see [`keel::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    keel::cli::main()
}
