//! `--cache-from` and `--cache-to`: caches that go from one store to another.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use keel_image::build::shared_cache::{self, CacheSource, Mode};
use keel_image::build::{BuildOptions, Built, Report, output};
use keel_image::copy::{
    LayoutDestination, LayoutSource, RegistryDestination, RegistrySource, Source,
};
use keel_image::reference::Reference;
use keel_image::registry::SendOptions;
use keel_image::store::Store;

use super::fields::{self, truth};
use super::usage;
use crate::failure::Failure;

/// The tag of a cache in a layout, if nothing else is said.
const TAG: &str = "latest";

/// Where a cache is, or is to be.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// A layout, and a tag in it.
    Local(PathBuf, String),
    /// A registry.
    Registry(Reference),
    /// The image itself.
    Inline,
}

/// One value of `--cache-from`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CacheFrom(Place);

/// One value of `--cache-to`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CacheTo {
    place: Place,
    mode: Mode,
    /// A failure is told and is none of the build.
    ignores_errors: bool,
}

/// What one value says.
#[derive(Default)]
struct Said {
    kind: String,
    directory: Option<String>,
    reference: Option<String>,
    tag: Option<String>,
    mode: Option<String>,
    ignores_errors: bool,
}

impl Said {
    /// Reads a value whose directory is called `directory`.
    fn read(text: &str, directory: &str) -> Result<Self, String> {
        let mut said = Self::default();
        // A name alone is an image of a registry.
        if !text.contains('=') {
            said.kind = "registry".to_owned();
            said.reference = Some(text.to_owned());
            return Ok(said);
        }
        for (key, value) in fields::read(text)? {
            let given = || value.clone().ok_or_else(|| format!("{text}: {key} has no value"));
            match key.as_str() {
                "type" => said.kind = given()?,
                "ref" => said.reference = Some(given()?),
                "tag" => said.tag = Some(given()?),
                "mode" => said.mode = Some(given()?),
                "ignore-error" => said.ignores_errors = truth(&key, value.as_deref())?,
                "oci-mediatypes" | "image-manifest" if truth(&key, value.as_deref())? => {}
                other if other == directory => said.directory = Some(given()?),
                other => return Err(format!("{text}: {other} is not supported by this builder")),
            }
        }
        Ok(said)
    }

    fn place(&self, text: &str, directory: &str) -> Result<Place, String> {
        Ok(match self.kind.as_str() {
            "local" => {
                let path = self
                    .directory
                    .as_ref()
                    .ok_or_else(|| format!("{text}: {directory} is required"))?;
                Place::Local(path.into(), self.tag.clone().unwrap_or_else(|| TAG.to_owned()))
            }
            "registry" => {
                let name =
                    self.reference.as_ref().ok_or_else(|| format!("{text}: ref is required"))?;
                let name: Reference = name.parse().map_err(|error| format!("{name}: {error}"))?;
                Place::Registry(name.or_latest())
            }
            "inline" => Place::Inline,
            "" => return Err(format!("{text}: type is required")),
            other => {
                return Err(format!(
                    "{text}: a cache of type {other} is not supported by this builder"
                ));
            }
        })
    }
}

impl FromStr for CacheFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Said::read(text, "src")?.place(text, "src")? {
            Place::Inline => Err(format!("{text}: an inline cache is read with type=registry")),
            place => Ok(Self(place)),
        }
    }
}

impl FromStr for CacheTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "inline" {
            return "type=inline".parse();
        }
        let said = Said::read(text, "dest")?;
        let mode = match said.mode.as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") if said.kind == "inline" => {
                return Err(
                    "an inline cache has mode=min only: the image has no other layers".to_owned()
                );
            }
            Some("max") => Mode::Max,
            Some(other) => return Err(format!("{text}: mode={other} is neither min nor max")),
        };
        let place = said.place(text, "dest")?;
        Ok(Self { place, mode, ignores_errors: said.ignores_errors })
    }
}

/// Reads what the caches of others know. One that is not there is told and not used: the first build of all
/// has none.
pub(super) fn import(from: &[CacheFrom], options: &mut BuildOptions, report: &dyn Report) {
    for CacheFrom(place) in from {
        let name = name(place);
        let step = report.begin(&format!("importing cache manifest from {name}"));
        let source = match place {
            Place::Local(path, tag) => {
                Ok(Box::new(LayoutSource::new(path, Some(tag))) as Box<dyn Source + Send>)
            }
            Place::Registry(reference) => match &options.registry {
                Some(client) => RegistrySource::new(client, reference)
                    .map(|source| Box::new(source) as Box<dyn Source + Send>),
                None => continue,
            },
            Place::Inline => continue,
        };
        match source.and_then(|source| CacheSource::open(&name, source)) {
            Ok(source) => {
                report.note(step, &format!("{} steps", source.len()));
                report.done(step);
                options.cache_sources.push(Arc::new(source));
            }
            Err(error) => report.failed(step, Failure::of(&error).message()),
        }
    }
}

fn name(place: &Place) -> String {
    match place {
        Place::Local(path, tag) => format!("{}:{tag}", path.display()),
        Place::Registry(reference) => reference.to_string(),
        Place::Inline => "the image".to_owned(),
    }
}

/// Puts inline caches into the images, before these are written.
pub(super) fn inline(to: &[CacheTo], built: &mut [Built]) {
    if to.iter().any(|to| to.place == Place::Inline) {
        built.iter_mut().for_each(shared_cache::write_inline);
    }
}

/// Writes the caches that stand apart.
pub(super) fn export(
    to: &[CacheTo],
    store: &Store,
    built: &[Built],
    options: &BuildOptions,
    report: &dyn Report,
) -> Result<(), Failure> {
    for to in to.iter().filter(|to| to.place != Place::Inline) {
        let step = report.begin(&format!("exporting cache to {}", name(&to.place)));
        match to.write(store, built, options) {
            Ok(()) => report.done(step),
            Err(failure) => {
                report.failed(step, failure.message());
                if !to.ignores_errors {
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

impl CacheTo {
    fn write(&self, store: &Store, built: &[Built], options: &BuildOptions) -> Result<(), Failure> {
        let root = shared_cache::write_cache(store, built, self.mode)?;
        match &self.place {
            Place::Inline => Ok(()),
            Place::Local(path, tag) => {
                let mut destination = LayoutDestination::new(path, Some(tag))?;
                Ok(output::copy_to(store, &root, &[], &mut destination)?)
            }
            Place::Registry(reference) => {
                let client =
                    options.registry.as_ref().ok_or_else(|| usage("there is no registry"))?;
                let send = SendOptions::default();
                let mut destination = RegistryDestination::new(client, reference, send)?;
                Ok(output::copy_to(store, &root, &[], &mut destination)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CacheFrom, CacheTo, Mode, Place};

    #[test]
    fn reads_what_buildx_reads() {
        let from = |text: &str| text.parse::<CacheFrom>().map(|from| from.0);
        let to = |text: &str| text.parse::<CacheTo>().map(|to| (to.place, to.mode));
        let local = || Place::Local("d".into(), "latest".to_owned());
        let registry = || Place::Registry("r.io/a:latest".parse().unwrap());
        assert_eq!(from("type=local,src=d"), Ok(local()));
        assert_eq!(from("r.io/a"), Ok(registry()));
        assert_eq!(from("type=registry,ref=r.io/a"), Ok(registry()));
        assert_eq!(to("type=local,dest=d,mode=max"), Ok((local(), Mode::Max)));
        assert_eq!(to("type=inline"), Ok((Place::Inline, Mode::Min)));
        assert_eq!(to("inline"), Ok((Place::Inline, Mode::Min)));
        assert_eq!(to("type=registry,ref=r.io/a,image-manifest=true"), Ok((registry(), Mode::Min)));
        for text in [
            "type=gha",
            "type=local",
            "type=local,dest=d,mode=all",
            "dest=d",
            "type=inline,mode=max",
        ] {
            assert!(to(text).is_err(), "{text}");
        }
        assert!(from("type=inline").is_err() && from("type=s3,bucket=b").is_err());
    }
}
