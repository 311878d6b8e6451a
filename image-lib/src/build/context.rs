//! The build context on the disk: the directory, the Dockerfile, and what `.dockerignore` says.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::cache::BuildCache;
use super::error::BuildError;
use super::ignore::Ignore;
use super::source_tree::SourceTree;
use super::stat_cache::StatCache;
use crate::fsroot::{FsError, Root};

/// A Dockerfile is text that people write.
const DOCKERFILE_BYTES_MAX: u64 = 64 << 20;

/// The same for `.dockerignore`.
const IGNORE_BYTES_MAX: u64 = 16 << 20;

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile` at the root of the context.
    Default,
    /// This file of the host.
    File(PathBuf),
    /// This file of the context.
    Within(PathBuf),
    /// This text; the name stands in messages.
    Text {
        /// What messages call it.
        name: String,
        /// The instructions.
        text: String,
    },
}

/// The context of a build, opened.
#[derive(Debug)]
pub struct Context {
    /// The files.
    pub tree: SourceTree,
    /// What messages call the Dockerfile.
    pub dockerfile_name: String,
    /// Its text.
    pub dockerfile_text: String,
}

impl Context {
    /// The Dockerfile's name for messages, and its text, without a look at the other files.
    ///
    /// # Errors
    /// The directory or the Dockerfile cannot be read.
    pub fn dockerfile(
        path: Option<&Path>,
        dockerfile: &DockerfileSource,
    ) -> Result<(String, String), BuildError> {
        let path = path.unwrap_or(Path::new("/"));
        let refuse = |source: FsError| BuildError::Context { path: path.to_owned(), source };
        read_dockerfile(&Root::open(path).map_err(refuse)?, path, dockerfile)
    }

    /// Opens the directory `path` and reads the Dockerfile. What is known of its files is kept in `cache`.
    ///
    /// # Errors
    /// The directory or the Dockerfile cannot be read, or `.dockerignore` has a bad line.
    pub fn open(
        path: &Path,
        dockerfile: &DockerfileSource,
        cache: Option<&BuildCache>,
    ) -> Result<Self, BuildError> {
        let refuse = |source: FsError| BuildError::Context { path: path.to_owned(), source };
        let root = Root::open(path).map_err(refuse)?;
        let (dockerfile_name, dockerfile_text) = read_dockerfile(&root, path, dockerfile)?;
        let ignore = read_ignore(&root, dockerfile)?;
        let stat_cache = stat_cache(path, cache)?;
        let tree = SourceTree::context(root, ignore, stat_cache);
        Ok(Self { tree, dockerfile_name, dockerfile_text })
    }
}

/// Opens the directory `path` of a named context; its own `.dockerignore` holds.
///
/// # Errors
/// The directory cannot be read, or `.dockerignore` has a bad line.
pub fn open_named(path: &Path, cache: &BuildCache) -> Result<SourceTree, BuildError> {
    let refuse = |source: FsError| BuildError::Context { path: path.to_owned(), source };
    let root = Root::open(path).map_err(refuse)?;
    let ignore =
        read_ignore(&root, &DockerfileSource::Text { name: String::new(), text: String::new() })?;
    Ok(SourceTree::context(root, ignore, stat_cache(path, Some(cache))?))
}

/// What is known of the files of the directory `path`; nothing is kept of one that will not be there again.
fn stat_cache(path: &Path, cache: Option<&BuildCache>) -> Result<StatCache, BuildError> {
    let Some(cache) = cache else { return Ok(StatCache::forgetful()) };
    let canonical = std::fs::canonicalize(path).map_err(|error| BuildError::Context {
        path: path.to_owned(),
        source: FsError::new("resolve", path, error),
    })?;
    Ok(StatCache::load(cache.context_file(&canonical)))
}

fn read_dockerfile(
    root: &Root,
    path: &Path,
    dockerfile: &DockerfileSource,
) -> Result<(String, String), BuildError> {
    let missing = |path: PathBuf, reason: String| BuildError::DockerfileMissing { path, reason };
    let (name, file, bytes) = match dockerfile {
        DockerfileSource::Text { name, text } => return Ok((name.clone(), text.clone())),
        DockerfileSource::Default | DockerfileSource::Within(_) => {
            let file = path.join(name_within(dockerfile));
            let bytes = root
                .read_file(name_within(dockerfile), DOCKERFILE_BYTES_MAX)
                .map_err(|error| missing(file.clone(), error.source.to_string()))?
                .ok_or_else(|| missing(file.clone(), "no such file or directory".to_owned()))?;
            (name_within(dockerfile).to_string_lossy().into_owned(), file, bytes)
        }
        DockerfileSource::File(file) => {
            let bytes = read_host_file(file, DOCKERFILE_BYTES_MAX)
                .map_err(|error| missing(file.clone(), error.to_string()))?;
            (file.to_string_lossy().into_owned(), file.clone(), bytes)
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(missing(file, format!("line {line} is not valid UTF-8")))
        }
    }
}

/// The path of the Dockerfile in the context.
fn name_within(dockerfile: &DockerfileSource) -> &Path {
    match dockerfile {
        DockerfileSource::Within(path) => path,
        _ => Path::new("Dockerfile"),
    }
}

fn read_host_file(path: &Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, or else `.dockerignore` of the context.
fn read_ignore(root: &Root, dockerfile: &DockerfileSource) -> Result<Ignore, BuildError> {
    let in_root = |name: &str| {
        root.read_file(Path::new(name), IGNORE_BYTES_MAX)
            .map_err(|source| BuildError::Context { path: PathBuf::from(name), source })
    };
    let own = match dockerfile {
        DockerfileSource::Text { .. } => None,
        DockerfileSource::Default | DockerfileSource::Within(_) => {
            let name = format!("{}.dockerignore", name_within(dockerfile).display());
            in_root(&name)?.map(|bytes| (name, bytes))
        }
        DockerfileSource::File(file) => {
            let mut name = file.clone().into_os_string();
            name.push(".dockerignore");
            let bytes = read_host_file(Path::new(&name), IGNORE_BYTES_MAX).ok();
            bytes.map(|bytes| (name.to_string_lossy().into_owned(), bytes))
        }
    };
    let found = match own {
        Some(found) => Some(found),
        None => in_root(".dockerignore")?.map(|bytes| (".dockerignore".to_owned(), bytes)),
    };
    let Some((file, bytes)) = found else { return Ok(Ignore::default()) };
    Ignore::parse(&String::from_utf8_lossy(&bytes))
        .map_err(|source| BuildError::Ignore { file, source })
}
