//! `keel-image bundle`: a directory that an OCI runtime starts. It is complete in itself: the rootfs
//! is a copy, so that it needs no mount and outlives the image.

use std::fs;
use std::path::{Path, PathBuf};

use keel_image::bundle::Spec;
use keel_image::flatten::flatten;
use keel_image::fsroot::Root;
use keel_image::store::Store;

use crate::commit;
use crate::container_flags::ContainerFlags;
use crate::failure::Failure;
use crate::namespace;
use crate::output;
use crate::progress::Bars;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    container: ContainerFlags,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// A name or an id
    image: String,
    /// Where the bundle is made; it must be empty or not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A command in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let failed = |error: std::io::Error| Failure::at("create", directory, &error);
    let mut options = arguments.container.options(&arguments.args)?;
    options.privilege = namespace::privilege_outside();
    let image = store.resolve(&arguments.image)?;
    let existed = directory.exists();
    if existed && fs::read_dir(directory).map_err(failed)?.next().is_some() {
        return Err(Failure::new(format!("{directory:?} is not empty")));
    }
    // The copy is made from layers that must stay until it is complete.
    let _hold = store.hold()?;
    let layers = store.unpack(image.layers(), &Bars::new(arguments.json))?;
    let rootfs = directory.join("rootfs");
    fs::create_dir_all(&rootfs).map_err(failed)?;
    let make = || -> Result<(), Failure> {
        flatten(&layers, &rootfs)?;
        let config = image.config().value();
        let root = Root::open(&rootfs).map_err(|error| Failure::of(&error))?;
        let spec = Spec::new(&config.execution(), &root, &options)?.annotated(config);
        let path = directory.join("config.json");
        fs::write(&path, spec.to_json()).map_err(|error| Failure::at("write", &path, &error))?;
        commit::note_origin(directory, &image, None)
    };
    if let Err(failure) = make() {
        // Half a bundle is of no use.
        remove(directory, existed);
        return Err(failure);
    }
    if arguments.json {
        let id = image.id().to_string();
        return output::json(&serde_json::json!({ "Id": id, "Bundle": directory }));
    }
    Ok(())
}

fn remove(directory: &Path, keep_itself: bool) {
    let _ = fs::remove_dir_all(directory.join("rootfs"));
    let _ = fs::remove_file(directory.join("config.json"));
    let _ = fs::remove_file(directory.join(commit::ORIGIN));
    if !keep_itself {
        let _ = fs::remove_dir(directory);
    }
}
