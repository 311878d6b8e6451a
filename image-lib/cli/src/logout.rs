//! `keel-image logout`: credentials are forgotten.

use std::path::PathBuf;

use keel_image::auth::AuthFile;

use crate::failure::Failure;
use crate::login::registry_name;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The registry; without it, docker.io
    registry: Option<String>,
    /// Forget all registries
    #[arg(short, long)]
    all: bool,
    /// Forget what is in this file
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let path = match &arguments.authfile {
        Some(path) => path.clone(),
        None => AuthFile::default_path()?,
    };
    if arguments.all {
        AuthFile::logout_all(&path)?;
        return output::line("Removed login credentials for all registries");
    }
    let registry = registry_name(arguments.registry.as_deref())?;
    if AuthFile::logout(&path, &registry)? {
        output::line(&format!("Removing login credentials for {registry}"))
    } else {
        output::line(&format!("Not logged in to {registry}"))
    }
}
