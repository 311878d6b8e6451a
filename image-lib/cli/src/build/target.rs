//! Where a result goes and in which form: the values of `--output`.

use std::path::PathBuf;
use std::str::FromStr;

use keel_image::blob::Compression;
use keel_image::build::form::Form;
use keel_image::reference::Reference;

use super::fields::{self, truth};

/// What is said of an output.
const KNOWN: &str = "type, dest, name, push, push-by-digest, name-canonical, tar, platform-split, compression, \
                     compression-level, force-compression, oci-mediatypes, rewrite-timestamp, store, unpack, \
                     annotation.KEY, annotation-index.KEY, annotation-manifest-descriptor.KEY";

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
    /// The image, into the store and perhaps to its registry.
    Image {
        /// Whether it is pushed.
        push: bool,
    },
    /// The image to its registry, where it has no name but its digest.
    ByDigest,
    /// Nowhere: only the cache is filled.
    Nothing,
}

/// One value of `--output`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    pub(super) target: Target,
    /// Names that take the place of --tag.
    pub(super) names: Vec<Reference>,
    pub(super) form: Form,
    /// Whether the files of each platform have a directory of their own; without, where there are several.
    pub(super) split: Option<bool>,
}

impl From<Target> for Output {
    fn from(target: Target) -> Self {
        Self { target, names: Vec::new(), form: Form::default(), split: None }
    }
}

/// What one value says, before it is known to make sense.
#[derive(Default)]
struct Said {
    destination: Option<String>,
    names: Vec<Reference>,
    push: bool,
    by_digest: bool,
    is_canonical: bool,
    store: Option<bool>,
    is_tar: Option<bool>,
    split: Option<bool>,
    form: Form,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return Ok(match text {
                "-" => Target::Tar(Stream::Standard).into(),
                "" => return Err("it names no place".to_owned()),
                path => Target::Directory(path.into()).into(),
            });
        }
        let wrong = |error: String| format!("{text}: {error}");
        let (mut kind, mut said) = (String::new(), Said::default());
        for (key, value) in fields::read(text)? {
            match key.as_str() {
                "type" => kind = value.ok_or("invalid value type")?,
                _ => said.set(&key, value.as_deref()).map_err(wrong)?,
            }
        }
        said.check(&kind).map_err(wrong)?;
        said.output(&kind, text)
    }
}

fn names(text: &str) -> Result<Vec<Reference>, String> {
    let read = |name: &str| name.parse::<Reference>().map_err(|error| format!("{name}: {error}"));
    text.split(',').map(|name| read(name.trim())).collect()
}

impl Said {
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        let given = || value.ok_or_else(|| format!("invalid value {key}"));
        match key {
            "dest" => self.destination = Some(given()?.to_owned()),
            "name" => self.names = names(given()?)?,
            "push" => self.push = truth(key, value)?,
            "push-by-digest" => self.by_digest = truth(key, value)?,
            "name-canonical" => self.is_canonical = truth(key, value)?,
            "store" => self.store = Some(truth(key, value)?),
            "tar" => self.is_tar = Some(truth(key, value)?),
            "platform-split" => self.split = Some(truth(key, value)?),
            "compression" => self.form.compression = Some(compression(given()?)?),
            "compression-level" => {
                let refused =
                    |_| format!("compression-level={}: it is no number", given().unwrap_or(""));
                self.form.level = Some(given()?.parse().map_err(refused)?);
            }
            "force-compression" => self.form.is_forced = truth(key, value)?,
            "oci-mediatypes" => self.form.is_docker = !truth(key, value)?,
            // Layers are unpacked anyway, and with a fixed time no time of a new layer is later.
            "unpack" | "rewrite-timestamp" => drop(truth(key, value)?),
            "buildinfo" if !truth(key, value)? => {}
            _ => return self.annotate(key, given()?),
        }
        Ok(())
    }

    fn annotate(&mut self, key: &str, value: &str) -> Result<(), String> {
        let unknown = || format!("{key} is not supported by this builder (known: {KNOWN})");
        let (level, name) = key.split_once('.').ok_or_else(unknown)?;
        let annotations = &mut self.form.annotations;
        let bearer = match level {
            "annotation" | "annotation-manifest" => &mut annotations.manifest,
            "annotation-index" => &mut annotations.index,
            "annotation-manifest-descriptor" => &mut annotations.manifest_descriptor,
            _ => return Err(unknown()),
        };
        bearer.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// What contradicts itself.
    fn check(&self, kind: &str) -> Result<(), String> {
        let form = &self.form;
        let is_image = matches!(kind, "image" | "registry" | "oci" | "docker");
        if !is_image && *form != Form::default() {
            return Err(format!(
                "compression, media types and annotations are of images, and type={kind} writes none"
            ));
        }
        let most = match form.compression.unwrap_or_default() {
            Compression::Zstd => 22,
            Compression::Gzip => 9,
            _ => 0,
        };
        if let Some(level) = form.level.filter(|level| *level > most) {
            return Err(format!("compression-level={level}: the most is {most}"));
        }
        if form.is_docker && form.compression == Some(Compression::Zstd) {
            return Err(
                "Docker's media types know no zstd: leave oci-mediatypes=false out".to_owned()
            );
        }
        if form.is_docker && !form.annotations.is_empty() {
            return Err(
                "Docker's documents have no annotations: leave oci-mediatypes=false out".to_owned()
            );
        }
        if form.is_docker && kind == "oci" {
            return Err("type=oci has OCI's media types: leave oci-mediatypes=false out".to_owned());
        }
        if self.split.is_some() && kind != "local" {
            return Err("platform-split is of type=local".to_owned());
        }
        if self.by_digest {
            if !(kind == "registry" || (kind == "image" && self.push)) {
                return Err("push-by-digest needs push=true".to_owned());
            }
            if let Some(name) = self.names.iter().find(|name| name.tag().is_some()) {
                return Err(format!("can't push tagged ref {name} by digest: leave the tag out"));
            }
            if self.names.is_empty() {
                return Err("push-by-digest needs name=".to_owned());
            }
        } else if self.is_canonical {
            return Err("name-canonical=true is supported with push-by-digest=true only".to_owned());
        }
        Ok(())
    }

    fn output(self, kind: &str, text: &str) -> Result<Output, String> {
        let needs = || format!("{text}: dest is required");
        let stream = |place: &str| match place {
            "-" => Stream::Standard,
            path => Stream::File(path.into()),
        };
        let destination = self.destination;
        let target = match kind {
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
                None => Target::Image { push: false },
            },
            "image" | "registry" if self.by_digest => Target::ByDigest,
            "image" if self.store == Some(false) && !self.push => Target::Nothing,
            "image" => Target::Image { push: self.push },
            "registry" => Target::Image { push: true },
            "cacheonly" => Target::Nothing,
            "" => return Err(format!("{text}: type is required for output")),
            other => return Err(format!("invalid output type: {other}")),
        };
        let tagged = |name: Reference| if self.by_digest { name } else { name.or_latest() };
        let names = self.names.into_iter().map(tagged).collect();
        Ok(Output { target, names, form: self.form, split: self.split })
    }
}

fn compression(name: &str) -> Result<Compression, String> {
    match name {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "uncompressed" => Ok(Compression::None),
        other => Err(format!("compression={other}: it is none of gzip, zstd, uncompressed")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Output, Stream, Target};

    #[test]
    fn reads_what_buildx_reads() {
        let read = |text: &str| text.parse::<Output>();
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
            ("type=docker", Target::Image { push: false }),
            (
                "type=image,name=a,push=true,push-by-digest=true,name-canonical=true",
                Target::ByDigest,
            ),
        ] {
            assert_eq!(read(text).unwrap().target, expected, "{text}");
        }
        let named = read("type=image,\"name=a,b:1\",push=true").unwrap();
        assert_eq!(named.target, Target::Image { push: true });
        let names: Vec<String> = named.names.iter().map(|name| name.familiar()).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        let form =
            read("type=image,compression=zstd,compression-level=19,annotation.a.b=c").unwrap().form;
        assert_eq!((form.compression, form.level), (Some(Compression::Zstd), Some(19)));
        assert_eq!(form.annotations.manifest["a.b"], "c");
        for text in [
            "",
            "type=local",
            "dest=x",
            "type=no,dest=x",
            "type=image,push=maybe",
            "type=oci,dest=x,compression=estargz",
            "type=oci,dest=x,compression-level=10",
            "type=local,dest=x,compression=gzip",
            "type=image,compression=zstd,oci-mediatypes=false",
            "type=image,name=a:1,push=true,push-by-digest=true",
            "type=image,name=a,push-by-digest=true",
            "type=image,name-canonical=true",
            "type=image,annotation-layer.a=b",
            "type=local,dest=-",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
