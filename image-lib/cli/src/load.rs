//! `keel-image load`: images from an archive, a pipe or a layout directory.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;

use keel_image::archive::{load_directory, load_file};
use keel_image::spec::{Platform, Preferences};
use keel_image::store::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Read this archive or layout directory instead of the standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Of an image for several platforms only the one for this
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let progress = Bars::new(arguments.quiet || arguments.json);
    let platform = arguments.platform.as_ref().map(Preferences::of);
    let platform = platform.as_ref();
    let loaded = match arguments.input.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) if path.is_dir() => load_directory(store, path, platform, &progress)?,
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::at("open", path, &error))?;
            load_file(store, file, platform, &progress)?
        }
        None if io::stdin().is_terminal() => {
            return Err(Failure::new("requested load from stdin, but stdin is empty"));
        }
        None => {
            // Often it is a file, of which not all need be read.
            let input = io::stdin().as_fd().try_clone_to_owned();
            let input = input.map_err(|error| Failure::of(&error))?;
            load_file(store, File::from(input), platform, &progress)?
        }
    };
    if arguments.json {
        let list = loaded.iter().map(|image| {
            let tags: Vec<String> = image.references.iter().map(|r| r.familiar()).collect();
            json!({ "Id": image.id.to_string(), "RepoTags": tags })
        });
        return output::json(&list.collect());
    }
    for image in &loaded {
        if image.references.is_empty() {
            output::line(&format!("Loaded image ID: {}", image.id))?;
        }
        for reference in &image.references {
            output::line(&format!("Loaded image: {}", reference.familiar()))?;
        }
    }
    Ok(())
}
