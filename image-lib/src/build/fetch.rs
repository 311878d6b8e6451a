//! Sources of `ADD` that are elsewhere: a file by its URL, the files of a git repository. Each is brought
//! into a directory of its own and is copied from there like any other source.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::attest::Material;
use super::dockerfile::instruction::Transfer;
use super::error::StepError;
use super::ignore::Ignore;
use super::remote::{Git, GitSource, RemoteError, is_commit, web};
use super::solve::Build;
use super::source_tree::SourceTree;
use super::stat_cache::StatCache;
use crate::fsroot::{FsError, Root};
use crate::identity::{Algorithm, Digest, Hasher};
use crate::spec::Timestamp;
use crate::store::Scratch;

/// The permissions of a file that came by its URL.
const FILE_MODE: u32 = 0o600;
/// The name of a file whose URL has none.
const NAMELESS: &str = "__unnamed__";

/// A source that was brought here.
pub(super) struct Fetched {
    /// Where it is.
    pub(super) tree: SourceTree,
    /// What of it is copied.
    pub(super) path: String,
    /// Keeps the files there.
    _scratch: Scratch,
}

/// Whether a source of `ADD` is elsewhere.
pub(super) fn is_remote(source: &str) -> bool {
    // A name of this form is a path of the context in `ADD`, and a repository only as a context.
    is_web(source) || (GitSource::is_meant(source) && !source.starts_with("github.com/"))
}

fn is_web(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

impl Build<'_> {
    /// Notes a source that its checksum names and that need not be fetched again.
    pub(super) fn note_known(&self, source: &str, checksum: &str) {
        match checksum.parse::<Digest>() {
            Ok(digest) => self.note_material(Material::file(source, &digest)),
            // The beginning of a commit is no digest.
            Err(_) if checksum.len() < 40 => {}
            Err(_) => self.note_material(Material::commit(source, checksum)),
        }
    }

    /// Brings the source of an `ADD` here. `checksum` is what it must have.
    pub(super) fn fetch(
        &self,
        source: &str,
        transfer: &Transfer,
        checksum: Option<&str>,
    ) -> Result<Fetched, StepError> {
        let failed = |error| StepError::Fetch { url: source.to_owned(), source: Box::new(error) };
        let scratch = self.store.scratch()?;
        let directory = scratch.path().join("source");
        std::fs::create_dir(&directory)
            .map_err(|error| FsError::new("create directory", &directory, error))?;
        let (directory, path) = match GitSource::parse(source).map_err(failed)? {
            Some(mut git) => {
                git.checksum = git.checksum.or_else(|| checksum.map(str::to_owned));
                let keep_git_dir = keeps_git_dir(&git, transfer)?;
                let (folder, commit) = self.git(&git, &directory, keep_git_dir).map_err(failed)?;
                self.note_material(Material::commit(source, &commit));
                (folder, "/".to_owned())
            }
            None => {
                let name = self.download(source, &directory, checksum)?;
                (directory, name)
            }
        };
        let root = Root::open(&directory)?;
        let tree = SourceTree::context(root, Ignore::default(), StatCache::forgetful());
        Ok(Fetched { tree, path, _scratch: scratch })
    }

    fn git(
        &self,
        source: &GitSource,
        directory: &Path,
        keep_git_dir: bool,
    ) -> Result<(PathBuf, String), RemoteError> {
        let is_cancelled = || self.options.cancelled.load(Ordering::Relaxed);
        Git::new(self.options, source, &is_cancelled)?.checkout(source, directory, keep_git_dir)
    }

    /// Fetches the file at `url` into `directory`; gives its name there.
    fn download(
        &self,
        url: &str,
        directory: &Path,
        checksum: Option<&str>,
    ) -> Result<String, StepError> {
        let failed = |error| StepError::Fetch { url: url.to_owned(), source: Box::new(error) };
        let offline = || StepError::Unsupported { what: format!("ADD of {url} without a network") };
        let mut download =
            web::open(self.store, url, self.options).map_err(failed)?.ok_or_else(offline)?;
        let name = file_name(url);
        let path = directory.join(&name);
        let write_failed = |error| FsError::new("write", &path, error);
        let mut file = File::create(&path).map_err(write_failed)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = download.read(&mut buffer).map_err(|e| failed(RemoteError::Read(e)))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read]).map_err(write_failed)?;
            if self.is_cancelled() {
                return Err(StepError::Cancelled);
            }
        }
        let digest = hasher.finish();
        if let Some(wanted) = checksum.filter(|wanted| *wanted != digest.to_string()) {
            return Err(mismatch(url, wanted, &digest.to_string()));
        }
        self.note_material(Material::file(url, &digest));
        file.set_permissions(std::fs::Permissions::from_mode(FILE_MODE)).map_err(write_failed)?;
        let modified = download.last_modified.as_deref().and_then(http_date);
        let time = modified.unwrap_or(Timestamp { seconds: 0, nanoseconds: 0 });
        let root = Root::open(directory)?;
        root.set_times(Path::new(&name), crate::fsroot::Times::both(time))?;
        Ok(name)
    }
}

fn mismatch(source: &str, wanted: &str, found: &str) -> StepError {
    StepError::Value(format!("{source} has the digest {found}, not {wanted}"))
}

/// The commit that the URL of a repository says it must be. A URL that cannot be is told when it is fetched.
pub(super) fn url_checksum(source: &str) -> Option<String> {
    GitSource::parse(source).ok().flatten()?.checksum
}

/// Whether the URL of a repository asks for files with the time of the commit.
pub(super) fn has_commit_times(source: &str) -> bool {
    let source = GitSource::parse(source).ok().flatten();
    source.is_some_and(|source| source.commit_times == Some(true))
}

/// Whether `.git` is kept, which the URL and the flag may both say.
fn keeps_git_dir(source: &GitSource, transfer: &Transfer) -> Result<bool, StepError> {
    match (source.keep_git_dir, transfer.keep_git_dir) {
        (Some(one), Some(other)) if one != other => {
            Err(StepError::Value("inconsistent keep-git-dir configuration".to_owned()))
        }
        (one, other) => Ok(one.or(other).unwrap_or(false)),
    }
}

/// Checks the value of `--checksum` before anything is fetched.
pub(super) fn check_checksum(text: &str, source: &str) -> Result<(), StepError> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let failed = |error| StepError::Fetch { url: source.to_owned(), source: Box::new(error) };
    if let Some(git) = GitSource::parse(source).map_err(failed)? {
        if !is_commit(text) {
            return Err(StepError::Value(format!("invalid checksum {text:?}: it is no commit")));
        }
        return match git.checksum {
            Some(other) if other != text => {
                Err(StepError::Value(format!("checksum mismatch {text:?} != {other:?}")))
            }
            _ => Ok(()),
        };
    }
    let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && is_hex(hex));
    let refused = || StepError::Value(format!("invalid checksum {text:?}: it must be sha256:HEX"));
    hex.map(drop).ok_or_else(refused)
}

/// The last part of the URL's path.
fn file_name(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = path.split_once('/').and_then(|(_, path)| path.rsplit('/').next());
    match name {
        None | Some("" | "." | "..") => NAMELESS.to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// The time of `Last-Modified`: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u32 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let year: u32 = words.next()?.parse().ok()?;
    let clock = words.next()?;
    format!("{year:04}-{month:02}-{day:02}T{clock}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{check_checksum, file_name, http_date, is_remote};

    #[test]
    fn names_files_by_their_urls() {
        for (url, name) in [
            ("http://h/a/b.tar.gz", "b.tar.gz"),
            ("http://h/b?c=/d#e", "b"),
            ("http://h/a/", "__unnamed__"),
            ("http://h", "__unnamed__"),
            ("http://h/..", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn tells_remote_sources() {
        for source in ["http://h/a", "https://h/a.git#v1", "git@h:a/b", "ssh://h/a"] {
            assert!(is_remote(source), "{source}");
        }
        for path in ["a/b", "git/http:", "github.com/a/b"] {
            assert!(!is_remote(path), "{path}");
        }
    }

    #[test]
    fn checks_checksums() {
        assert!(check_checksum(&format!("sha256:{}", "0".repeat(64)), "http://h/a").is_ok());
        assert!(check_checksum("sha256:0", "http://h/a").is_err());
        assert!(check_checksum("0123abc", "https://h/a.git").is_ok());
        assert!(check_checksum("sha256:0", "https://h/a.git").is_err());
        assert!(check_checksum("0123abc", "https://h/a.git?checksum=0123abc").is_ok());
        assert!(check_checksum("0123abc", "https://h/a.git?checksum=0123abd").is_err());
    }

    #[test]
    fn reads_dates() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.seconds, 784_111_777);
        assert!(http_date("yesterday").is_none());
    }
}
