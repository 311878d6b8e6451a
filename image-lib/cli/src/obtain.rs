//! The flags by which a command that uses an image fetches it first, and what is told then, on the standard
//! error.

use std::fmt::Write as _;

use keel_image::reference::Reference;
use keel_image::registry::{Client, ObtainOptions, PullPolicy, obtain};
use keel_image::spec::Platform;
use keel_image::store::{Image, Store};

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use crate::pull;
use crate::registry_flags::AccessFlags;

#[derive(Debug, clap::Args)]
pub(crate) struct ObtainFlags {
    /// Fetch the image always, if it is missing, or never
    #[arg(long, value_name = "always|missing|never", default_value = "missing")]
    pull: PullPolicy,
    /// The platform, such as linux/arm64; without it, this machine's
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Show nothing of the fetching
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: AccessFlags,
}

impl ObtainFlags {
    /// The image that `name` means.
    pub(crate) fn image(&self, store: &Store, name: &str) -> Result<Image, Failure> {
        let reference = name.parse::<Reference>().ok().map(Reference::or_latest);
        let registry = self.registry.options(reference.as_ref().map_or("", Reference::domain))?;
        let client = || {
            // Docker's words, which come before it speaks to anybody.
            if let Some(reference) = reference.as_ref().filter(|_| !self.quiet) {
                let mut text = String::new();
                if self.pull == PullPolicy::Missing {
                    let _ =
                        writeln!(text, "Unable to find image '{}' locally", reference.familiar());
                }
                let digest = reference.digest().map(ToString::to_string);
                let word = digest.as_deref().or(reference.tag()).unwrap_or_default();
                let _ = write!(text, "{word}: Pulling from {}", reference.path());
                output::error_line(&text);
            }
            Client::new(registry)
        };
        let options = ObtainOptions { policy: self.pull, platform: self.platform.clone() };
        let obtained = obtain(store, name, &options, client, &Bars::new(self.quiet))?;
        if let Some(pulled) = obtained.pulled.filter(|_| !self.quiet) {
            output::error_line(&format!("Digest: {}", pulled.digest));
            output::error_line(&pull::status(&[&pulled], &pulled.reference));
        }
        Ok(obtained.image)
    }
}
