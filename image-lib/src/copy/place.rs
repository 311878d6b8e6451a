//! What people write for a place: `oci:DIR:NAME`, `docker-archive:FILE`, or the name of an image in
//! the store.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Why a text is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nothing stands behind the colon.
    #[error("{text:?} names no file")]
    Empty {
        /// The refused text.
        text: String,
    },
    /// Places of this kind need a daemon that does not exist here.
    #[error("{scheme}: is not supported (known: {})", Place::SCHEMES.join(" "))]
    Unsupported {
        /// What stands before the colon.
        scheme: String,
    },
}

/// Where an image is, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An image of the store: `store:NAME`, or the name alone.
    Store(String),
    /// An OCI image layout, and a name in it: `oci:DIR[:NAME]`.
    Layout(PathBuf, Option<String>),
    /// The same in a tar: `oci-archive:FILE[:NAME]`.
    LayoutArchive(PathBuf, Option<String>),
    /// What `docker save` writes: `docker-archive:FILE[:REFERENCE]`.
    DockerArchive(PathBuf, Option<String>),
    /// One image as loose files: `dir:DIR`.
    Directory(PathBuf),
    /// A repository of a registry: `docker://REFERENCE`. Who copies opens it.
    Registry(String),
}

impl Place {
    /// What may stand before the colon.
    pub const SCHEMES: [&str; 6] =
        ["store:", "oci:", "oci-archive:", "docker-archive:", "dir:", "docker://"];
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Ok(Self::Store(text.to_owned()));
        };
        // The first colon behind the path, as skopeo has it: names have colons, too.
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name.to_owned()).filter(|name| !name.is_empty())),
            None => (rest, None),
        };
        let place = match scheme {
            "store" => return Ok(Self::Store(rest.to_owned())),
            "docker" if rest.starts_with("//") => return Ok(Self::Registry(rest[2..].to_owned())),
            "oci" => Self::Layout(path.into(), name),
            "oci-archive" => Self::LayoutArchive(path.into(), name),
            "docker-archive" => Self::DockerArchive(path.into(), name),
            "dir" => {
                if rest.is_empty() {
                    return Err(PlaceError::Empty { text: text.to_owned() });
                }
                return Ok(Self::Directory(rest.into()));
            }
            "docker-daemon" | "containers-storage" | "ostree" | "sif" | "tarball" => {
                return Err(PlaceError::Unsupported { scheme: scheme.to_owned() });
            }
            _ => return Ok(Self::Store(text.to_owned())),
        };
        if path.is_empty() { Err(PlaceError::Empty { text: text.to_owned() }) } else { Ok(place) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path, name) = match self {
            Self::Store(name) => return f.write_str(name),
            Self::Registry(name) => return write!(f, "docker://{name}"),
            Self::Directory(path) => ("dir", path, &None),
            Self::Layout(path, name) => ("oci", path, name),
            Self::LayoutArchive(path, name) => ("oci-archive", path, name),
            Self::DockerArchive(path, name) => ("docker-archive", path, name),
        };
        write!(f, "{scheme}:{}", path.display())?;
        name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_skopeo_reads() {
        let name = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("oci:/a/b", Place::Layout("/a/b".into(), None)),
            ("oci:a:x:1", Place::Layout("a".into(), name("x:1"))),
            ("oci-archive:a.tar:t", Place::LayoutArchive("a.tar".into(), name("t"))),
            ("docker-archive:a.tar:x:1", Place::DockerArchive("a.tar".into(), name("x:1"))),
            ("dir:a:b", Place::Directory("a:b".into())),
            ("docker://localhost:5000/a:1", Place::Registry("localhost:5000/a:1".into())),
            ("box:1", Place::Store("box:1".into())),
            ("localhost:5000/a", Place::Store("localhost:5000/a".into())),
            ("sha256:0123", Place::Store("sha256:0123".into())),
            ("store:oci:1", Place::Store("oci:1".into())),
            ("box", Place::Store("box".into())),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place, expected, "{text}");
            let again = place.to_string().parse::<Place>().unwrap();
            assert!(again == expected || text.starts_with("store:"), "{text}");
        }
        for text in ["oci:", "oci::x", "dir:", "docker-daemon:a:1", "containers-storage:a"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
