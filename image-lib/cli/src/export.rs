//! `keel-image export`: the files of an image as one flat tar.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use keel_image::export::export;
use keel_image::store::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::interrupt::Undo;
use crate::output;
use crate::progress::Bars;

/// How much is written at once.
pub(crate) const BUFFER: usize = 128 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A name or an id
    image: String,
    /// Write to a file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let _hold = store.hold()?;
    let image = store.resolve(&arguments.image)?;
    let target = arguments.output.as_deref().filter(|path| path.as_os_str() != "-");
    if target.is_none() && io::stdout().is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    if target.is_none() && arguments.json {
        return Err(Failure::new("--json needs --output: the tar goes to the standard output"));
    }
    let layers = store.unpack(image.layers(), &Bars::new(true))?;
    match target {
        None => {
            let stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
            export(&layers, stdout)?.flush().map_err(|error| Failure::of(&error))
        }
        Some(path) => {
            to_file(path, |file| Ok(export(&layers, file).map(drop)?))?;
            if arguments.json {
                let id = image.id().to_string();
                return output::json(&json!({ "Id": id, "Output": path.to_string_lossy() }));
            }
            Ok(())
        }
    }
}

/// A file appears when it is complete; a device or a pipe is written as it is. `write` flushes.
pub(crate) fn to_file(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::at("write", path, &error);
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(path).map_err(failed)?;
        return write(BufWriter::with_capacity(BUFFER, file));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.partial", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // Never through a link that somebody has put there.
    let file = File::create_new(&temporary).map_err(failed)?;
    let own = temporary.clone();
    // Not there any more if the rename succeeded.
    let _undo = Undo::with(move || drop(fs::remove_file(own)));
    write(BufWriter::with_capacity(BUFFER, file))?;
    fs::rename(&temporary, path).map_err(failed)
}
