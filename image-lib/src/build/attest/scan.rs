//! Looks for installed packages in a root file system.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use super::packages::{self, Package};
use crate::fsroot::{Directory, FileKind, FsError, Root};

/// A database of every package of a distribution is smaller.
const DATABASE_BYTES_MAX: u64 = 256 << 20;
/// The fields of a Python distribution stand before its description.
const METADATA_BYTES_MAX: u64 = 64 << 10;
const RELEASE_BYTES_MAX: u64 = 64 << 10;
/// Where rpm keeps its database, which nobody reads here.
const RPM: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];

/// What a root file system has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The packages, in order, each once.
    pub packages: Vec<Package>,
    /// The distribution as `os-release` calls it: `ID` and `VERSION_ID`.
    pub distribution: Option<(String, Option<String>)>,
    /// Whether there is a database that was not read.
    pub has_rpm: bool,
}

/// Looks at the databases, and for `dist-info` everywhere.
///
/// # Errors
/// A file cannot be read, or a database is larger than 256 MiB.
pub fn scan(tree: &Root) -> Result<Found, FsError> {
    let mut found = Found::default();
    if let Some(bytes) = file(tree, Path::new("var/lib/dpkg/status"), DATABASE_BYTES_MAX)? {
        found.packages.extend(packages::dpkg(&bytes));
    }
    let folder = Path::new("var/lib/dpkg/status.d");
    if is_kind(tree, folder, FileKind::Directory)? {
        for (name, _) in tree.entries(folder)? {
            // Beside each paragraph stand the digests of the files.
            if Path::new(&name).extension() == Some(OsStr::new("md5sums")) {
                continue;
            }
            if let Some(bytes) = file(tree, &folder.join(name), METADATA_BYTES_MAX)? {
                found.packages.extend(packages::dpkg(&bytes));
            }
        }
    }
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(bytes) = file(tree, Path::new(path), DATABASE_BYTES_MAX)? {
            found.packages.extend(packages::apk(&bytes));
        }
    }
    for entry in tree.walk(Path::new(""))? {
        let entry = entry?;
        let is_information = Path::new(&entry.name).extension() == Some(OsStr::new("dist-info"));
        if entry.metadata.kind == FileKind::Directory && is_information {
            let directory = entry.parent.open_directory(&entry.name)?;
            found.packages.extend(distribution(&directory)?);
        }
    }
    found.packages.sort();
    found.packages.dedup();
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if let Some(bytes) = file(tree, Path::new(path), RELEASE_BYTES_MAX)? {
            found.distribution = release(&String::from_utf8_lossy(&bytes));
            break;
        }
    }
    for path in RPM {
        found.has_rpm |= is_kind(tree, Path::new(path), FileKind::Directory)?;
    }
    Ok(found)
}

fn is_kind(tree: &Root, path: &Path, kind: FileKind) -> Result<bool, FsError> {
    Ok(tree.metadata(path)?.is_some_and(|found| found.kind == kind))
}

/// A regular file; anything else is none.
fn file(tree: &Root, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, FsError> {
    if is_kind(tree, path, FileKind::File)? { tree.read_file(path, bytes_max) } else { Ok(None) }
}

fn distribution(directory: &Directory) -> Result<Option<Package>, FsError> {
    let name = OsStr::new("METADATA");
    if !directory.stat(name)?.is_some_and(|found| found.kind == FileKind::File) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let content = directory.open_file(name)?;
    let read = content.take(METADATA_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| FsError::new("read", Path::new(name), error))?;
    Ok(packages::python(&bytes))
}

/// `ID` and `VERSION_ID` of an `os-release`.
fn release(text: &str) -> Option<(String, Option<String>)> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        let word = line.trim().trim_matches(['"', '\'']);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (!word.is_empty() && word.len() < 64 && word.chars().all(is_word)).then(|| word.to_owned())
    };
    Some((value("ID")?, value("VERSION_ID")))
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn reads_releases() {
        let text = "NAME=\"A B\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(release(text), Some(("debian".to_owned(), Some("12".to_owned()))));
        assert_eq!(release("ID='alpine'\n"), Some(("alpine".to_owned(), None)));
        assert_eq!(release("ID=\"a b\"\n"), None);
    }
}
