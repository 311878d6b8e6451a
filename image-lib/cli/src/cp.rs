//! `keel-image cp`: files of an image to this host, with docker's rules for where they go.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use keel_image::export::export_path;
use keel_image::flatten::{Ownership, copy_out};
use keel_image::store::Store;
use serde_json::json;

use crate::diff::tree_of;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep owners, as far as this user may
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that SOURCE ends in
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// An image and a path in it; a path that ends in /. means what is in the directory
    #[arg(value_name = "IMAGE:PATH")]
    source: String,
    /// A file or directory of this host; - writes a tar to the standard output
    #[arg(value_name = "DESTINATION|-")]
    destination: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let _hold = store.hold()?;
    let (name, path) = split(store, &arguments.source)?;
    let image = store.resolve(name)?;
    let empty = store.scratch()?;
    let tree = tree_of(store, &image, &empty)?;
    let relative = Path::new(path.trim_start_matches('/'));
    let missing = || Failure::new(format!("{path}: no such file or directory in {name}"));
    let failed = |error| Failure::of(&error);
    let found = if arguments.follow_link {
        tree.real_path(relative).map_err(failed)?
    } else {
        relative.to_owned()
    };
    let metadata = tree.symlink_metadata(&found).map_err(failed)?.ok_or_else(missing)?;
    if arguments.destination.as_os_str() == "-" {
        if arguments.json {
            return Err(Failure::new(
                "--json needs a DESTINATION: the tar goes to the standard output",
            ));
        }
        let mut stdout = io::stdout().lock();
        export_path(&tree, &found, &mut stdout)?;
        return stdout.flush().map_err(|error| Failure::of(&error));
    }
    let owner = if arguments.archive { Ownership::Kept } else { Ownership::Own };
    let contents_only = path.ends_with("/.") || path == ".";
    let target = target(&arguments.destination, &found, contents_only, metadata.kind)?;
    copy_out(&tree, &found, &target, owner)?;
    if arguments.json {
        let (id, target) = (image.id().to_string(), target.to_string_lossy());
        return output::json(&json!({ "Id": id, "Path": path, "Destination": target }));
    }
    Ok(())
}

/// `IMAGE:PATH`, where the image's name may have colons, too: the path begins with a slash, or stands
/// behind the last colon.
fn split<'a>(store: &Store, text: &'a str) -> Result<(&'a str, &'a str), Failure> {
    let at = text.find(":/").or_else(|| text.rfind(':'));
    let (name, path) = at
        .map(|at| (&text[..at], &text[at + 1..]))
        .filter(|(name, path)| !name.is_empty() && !path.is_empty())
        .ok_or_else(|| Failure::new(format!("{text:?} is not of the form IMAGE:PATH")))?;
    // A port is followed by a path, too: localhost:5000/a.
    store.resolve(name)?;
    Ok((name, path))
}

/// Where the file goes: into a directory that is there, otherwise under the name itself.
fn target(
    destination: &Path,
    source: &Path,
    contents_only: bool,
    kind: keel_image::fsroot::FileKind,
) -> Result<PathBuf, Failure> {
    let is_directory = kind == keel_image::fsroot::FileKind::Directory;
    let names_directory = destination.as_os_str().to_string_lossy().ends_with('/');
    if destination.is_dir() {
        if contents_only && is_directory {
            return Ok(destination.to_owned());
        }
        return Ok(match source.file_name() {
            Some(name) => destination.join(name),
            None => destination.to_owned(),
        });
    }
    if destination.exists() && is_directory {
        return Err(Failure::new(format!("cannot copy a directory over the file {destination:?}")));
    }
    if names_directory && !is_directory {
        return Err(Failure::new(format!("the directory {destination:?} does not exist")));
    }
    Ok(destination.to_owned())
}
