//! Where a result goes: the values of `--output`.

use std::path::PathBuf;
use std::str::FromStr;

use keel_image::reference::Reference;

use super::fields::{self, truth};

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stream {
    /// To the standard output.
    Standard,
    /// To a file.
    File(PathBuf),
}

/// One place of `--output`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// The files, into a directory.
    Directory(PathBuf),
    /// The files, as one tar.
    Tar(Stream),
    /// An image layout in a tar.
    LayoutArchive(Stream),
    /// An image layout in a directory.
    Layout(PathBuf),
    /// What `docker save` writes.
    DockerArchive(Stream),
    /// The image, into the store and perhaps to its registry. Names here take the place of --tag.
    Image { names: Vec<Reference>, push: bool },
    /// Nowhere: only the cache is filled.
    Nothing,
}

/// What one value says, before it is known to make sense.
#[derive(Default)]
struct Said {
    destination: Option<String>,
    names: Vec<Reference>,
    push: bool,
    store: Option<bool>,
    is_tar: Option<bool>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return Ok(match text {
                "-" => Self::Tar(Stream::Standard),
                "" => return Err("it names no place".to_owned()),
                path => Self::Directory(path.into()),
            });
        }
        let (mut kind, mut said) = (String::new(), Said::default());
        for (key, value) in fields::read(text)? {
            let given = || value.clone().ok_or_else(|| format!("invalid value {key}"));
            match key.as_str() {
                "type" => kind = given()?,
                "dest" => said.destination = Some(given()?),
                "name" => said.names = names(&given()?)?,
                "push" => said.push = truth(&key, value.as_deref())?,
                "store" => said.store = Some(truth(&key, value.as_deref())?),
                "tar" => said.is_tar = Some(truth(&key, value.as_deref())?),
                "oci-mediatypes" | "unpack" | "name-canonical" | "force-compression"
                | "buildinfo" | "rewrite-timestamp" => said.accept(&key, value.as_deref())?,
                "compression" if value.as_deref() == Some("gzip") => {}
                _ => return Err(format!("{text}: {key} is not supported by this builder")),
            }
        }
        said.target(&kind, text)
    }
}

fn names(text: &str) -> Result<Vec<Reference>, String> {
    let read = |name: &str| name.parse::<Reference>().map_err(|error| format!("{name}: {error}"));
    text.split(',').map(|name| read(name.trim()).map(Reference::or_latest)).collect()
}

impl Said {
    /// Settings that say what is so anyway: the documents are OCI's, layers are unpacked, and with a fixed
    /// time no time of a layer is later.
    fn accept(&self, key: &str, value: Option<&str>) -> Result<(), String> {
        let is_so = matches!(key, "oci-mediatypes" | "unpack" | "rewrite-timestamp");
        if is_so || !truth(key, value)? {
            if key == "oci-mediatypes" && !truth(key, value)? {
                return Err("oci-mediatypes=false is not supported by this builder".to_owned());
            }
            return Ok(());
        }
        Err(format!("{key}=true is not supported by this builder"))
    }

    fn target(self, kind: &str, text: &str) -> Result<Target, String> {
        let needs = || format!("{text}: dest is required");
        let stream = |place: &str| match place {
            "-" => Stream::Standard,
            path => Stream::File(path.into()),
        };
        let destination = self.destination;
        Ok(match kind {
            "local" => match destination.ok_or_else(needs)?.as_str() {
                "-" => return Err("local exporter does not support standard output".to_owned()),
                path => Target::Directory(path.into()),
            },
            "tar" => Target::Tar(destination.as_deref().map_or(Stream::Standard, stream)),
            "oci" if self.is_tar == Some(false) => {
                Target::Layout(destination.ok_or_else(needs)?.into())
            }
            "oci" => Target::LayoutArchive(destination.as_deref().map_or(Stream::Standard, stream)),
            "docker" => match destination {
                Some(place) if self.is_tar != Some(false) => Target::DockerArchive(stream(&place)),
                Some(_) => return Err(format!("{text}: tar=false is of type=oci")),
                None => Target::Image { names: self.names, push: false },
            },
            "image" if self.store == Some(false) && !self.push => Target::Nothing,
            "image" => Target::Image { names: self.names, push: self.push },
            "registry" => Target::Image { names: self.names, push: true },
            "cacheonly" => Target::Nothing,
            "" => return Err(format!("{text}: type is required for output")),
            other => return Err(format!("invalid output type: {other}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Stream, Target};

    #[test]
    fn reads_what_buildx_reads() {
        let target = |text: &str| text.parse::<Target>();
        let file = || Stream::File("f".into());
        for (text, expected) in [
            ("out", Target::Directory("out".into())),
            ("-", Target::Tar(Stream::Standard)),
            ("type=local,dest=out", Target::Directory("out".into())),
            ("type=tar,dest=f", Target::Tar(file())),
            ("type=tar", Target::Tar(Stream::Standard)),
            ("type=oci,dest=f", Target::LayoutArchive(file())),
            ("type=oci,dest=out,tar=false", Target::Layout("out".into())),
            ("type=docker,dest=-", Target::DockerArchive(Stream::Standard)),
            ("type=cacheonly", Target::Nothing),
            ("type=docker", Target::Image { names: vec![], push: false }),
            (
                "type=image,\"name=a,b:1\",push=true",
                Target::Image {
                    names: vec!["a:latest".parse().unwrap(), "b:1".parse().unwrap()],
                    push: true,
                },
            ),
        ] {
            assert_eq!(target(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "type=local",
            "dest=x",
            "type=no,dest=x",
            "type=image,push=maybe",
            "type=oci,dest=x,compression=estargz",
            "type=local,dest=-",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
