//! URLs that mean a git repository, and what they say of it: by `#REF:FOLDER`, or by a query. Pure.

use std::path::{Component, Path, PathBuf};

use super::RemoteError;
use crate::build::dockerfile::word::parse_bool;

/// What a git URL says: `URL[#REF[:FOLDER]]`, or `URL?ref=…&tag=…&branch=…&subdir=…&checksum=…&commit=…&keep-git-dir=…&
/// submodules=…&fetch-by-commit=…`, or both where they do not contradict one another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What git fetches from.
    pub url: String,
    /// A branch, a tag or a commit; the repository's own choice if not given.
    pub reference: Option<String>,
    /// The folder of the repository that is meant.
    pub folder: Option<PathBuf>,
    /// What the commit, or the object of the tag, must begin with: hexadecimal digits.
    pub checksum: Option<String>,
    /// Whether `.git` is kept; not said if not given.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are left out.
    pub skip_submodules: bool,
    /// Whether files have the time of the commit, or else that of the checkout.
    pub commit_times: Option<bool>,
    /// Whether the commit of the checksum is fetched, whatever the reference is at now.
    pub by_commit: bool,
}

impl GitSource {
    /// Whether a text means a repository: a URL of git or ssh, `user@host:path`, `github.com/…`, or one of http and
    /// https with a path that ends in `.git`.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        remote(split(text).0).is_some()
    }

    /// Reads a URL; nothing if it means something else than a repository.
    ///
    /// # Errors
    /// It is one, and says what is not known, or what contradicts itself or leaves the repository.
    pub fn parse(text: &str) -> Result<Option<Self>, RemoteError> {
        let (place, query, fragment) = split(text);
        let Some(url) = remote(place) else { return Ok(None) };
        let refused = |reason: String| RemoteError::Git { url: url.clone(), reason };
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut source = Self { url: url.clone(), reference: given(reference), ..Self::default() };
        let mut folder = given(folder);
        source.add_query(query, &mut folder).map_err(refused)?;
        let folder = folder.map(|folder| folder.trim_matches('/').to_owned());
        source.folder = folder.filter(|folder| !folder.is_empty()).map(PathBuf::from);
        source.check().map_err(refused)?;
        Ok(Some(source))
    }

    fn add_query(&mut self, query: &str, folder: &mut Option<String>) -> Result<(), String> {
        let (mut tag, mut branch) = (None, None);
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key)?, decode(value)?);
            if seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            let is_switch =
                matches!(key.as_str(), "keep-git-dir" | "submodules" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(format!("query {key:?} has no value"));
            }
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value)?,
                "subdir" => agree("subdir", folder, value)?,
                "checksum" | "commit" => agree("checksum", &mut self.checksum, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "keep-git-dir" => self.keep_git_dir = Some(switch(&key, &value)?),
                "submodules" => self.skip_submodules = !switch(&key, &value)?,
                "fetch-by-commit" => self.by_commit = switch(&key, &value)?,
                "mtime" => {
                    self.commit_times = Some(match value.as_str() {
                        "checkout" => false,
                        "commit" => true,
                        _ => return Err(format!("invalid mtime value: {value:?}")),
                    });
                }
                _ => return Err(format!("unexpected query {key:?}")),
            }
            seen.push(key);
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        for (prefix, name) in [("refs/tags/", tag), ("refs/heads/", branch)] {
            let Some(name) = name else { continue };
            let name = name.strip_prefix(prefix).unwrap_or(&name);
            agree("ref", &mut self.reference, format!("{prefix}{name}"))?;
        }
        Ok(())
    }

    /// Refuses what could be taken for an option of git, or leaves the repository.
    fn check(&self) -> Result<(), String> {
        let is_word = |text: &String| !text.starts_with('-') && !text.contains(char::is_control);
        if !self.reference.as_ref().is_none_or(is_word) || !is_word(&self.url) {
            return Err("it is no name of a branch, a tag or a commit".to_owned());
        }
        let stays = |path: &PathBuf| path.components().all(|c| matches!(c, Component::Normal(_)));
        if !self.folder.as_ref().is_none_or(stays) {
            return Err("the folder is not below the repository".to_owned());
        }
        if let Some(checksum) = &self.checksum
            && !is_commit(checksum)
        {
            return Err(format!("invalid checksum {checksum:?}: it is no commit"));
        }
        if self.by_commit && !self.checksum.as_ref().is_some_and(|sum| matches!(sum.len(), 40 | 64))
        {
            return Err("fetch-by-commit requires a whole commit as checksum".to_owned());
        }
        Ok(())
    }

    /// What git is asked for.
    pub(super) fn wanted(&self) -> &str {
        let commit = self.checksum.as_deref().filter(|_| self.by_commit);
        commit.or(self.reference.as_deref()).unwrap_or("HEAD")
    }

    /// The folder that is meant below the checkout `target`; links of the repository do not lead out of it.
    pub(super) fn folder_in(&self, target: &Path) -> Result<PathBuf, String> {
        let Some(path) = &self.folder else { return Ok(target.to_owned()) };
        let root = target.canonicalize().map_err(|error| error.to_string())?;
        let folder =
            root.join(path).canonicalize().map_err(|error| format!("{path:?}: {error}"))?;
        if folder.starts_with(&root) && folder.is_dir() {
            Ok(folder)
        } else {
            Err(format!("{path:?} is no folder of the repository"))
        }
    }
}

/// Whether a text may be a commit, or the beginning of one.
pub(in super::super) fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A URL before its query and fragment, the query, and the fragment.
fn split(text: &str) -> (&str, &str, &str) {
    let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    (place, query, fragment)
}

/// What git fetches from, if `place` means a repository.
fn remote(place: &str) -> Option<String> {
    let is_web = place.starts_with("http://") || place.starts_with("https://");
    if place.starts_with("github.com/") {
        return Some(format!("https://{place}"));
    }
    let is_repository = (is_web && place.ends_with(".git"))
        || place.starts_with("git://")
        || place.starts_with("ssh://")
        || is_copy_form(place);
    is_repository.then(|| place.to_owned())
}

/// `user@host:path`, as ssh has it.
fn is_copy_form(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let plain = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    plain(user) && plain(host) && !path.is_empty()
}

/// Sets what was not set, or is set to the same.
fn agree(what: &str, known: &mut Option<String>, value: String) -> Result<(), String> {
    match known {
        Some(other) if *other != value => Err(format!("{what} conflicts: {other:?} and {value:?}")),
        _ => {
            *known = Some(value);
            Ok(())
        }
    }
}

/// A word for yes or no, as Go has them; none means yes.
fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" => Ok(true),
        _ => parse_bool(value).ok_or_else(|| format!("invalid {key} value: {value:?}")),
    }
}

/// A part of a query without its percent-encoding.
fn decode(text: &str) -> Result<String, String> {
    let bad = || format!("invalid query: {text:?}");
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::GitSource;

    fn read(text: &str) -> GitSource {
        GitSource::parse(text).unwrap().unwrap()
    }

    fn refusal(text: &str) -> String {
        GitSource::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn knows_repositories_by_their_urls() {
        for (text, expected) in [
            ("https://h/a.git#b:c/d", "https://h/a.git b c/d"),
            ("http://h/a.git", "http://h/a.git  "),
            ("git@h:a/b.git#:c", "git@h:a/b.git  c"),
            ("ssh://git@h/a#v1", "ssh://git@h/a v1 "),
            ("git://h/a", "git://h/a  "),
            ("github.com/a/b#c", "https://github.com/a/b c "),
            ("https://h/a.git?ref=b&subdir=/c/d/", "https://h/a.git b c/d"),
            ("https://h/a.git?subdir=c#b:c", "https://h/a.git b c"),
            ("https://h/a.git?tag=v1", "https://h/a.git refs/tags/v1 "),
            ("https://h/a.git?tag=refs/tags/v1", "https://h/a.git refs/tags/v1 "),
            ("git@h:a/b.git?branch=x%2Fy", "git@h:a/b.git refs/heads/x/y "),
        ] {
            let source = read(text);
            let folder = source.folder.unwrap_or_default().display().to_string();
            let seen = format!("{} {} {folder}", source.url, source.reference.unwrap_or_default());
            assert_eq!(seen, expected, "{text}");
            assert!(GitSource::is_meant(text), "{text}");
        }
        for text in [
            "https://h/a.tar",
            "https://h/a.git/b",
            "./a.git",
            "a@b",
            "-o@h:x",
            "a@-o:x",
            "https://h/a?x=b.git",
            "https://h/a.tar?ref=v1",
        ] {
            assert_eq!(GitSource::parse(text).unwrap(), None, "{text}");
            assert!(!GitSource::is_meant(text), "{text}");
        }
    }

    #[test]
    fn reads_what_a_query_says() {
        let source =
            read("https://h/a.git?commit=0123abc&keep-git-dir&submodules=0&mtime=checkout");
        assert_eq!(source.checksum.as_deref(), Some("0123abc"));
        assert_eq!((source.keep_git_dir, source.skip_submodules), (Some(true), true));
        assert_eq!((source.wanted(), source.commit_times), ("HEAD", Some(false)));
        let plain = read("https://h/a.git?keep-git-dir=false&submodules=1#v1");
        assert_eq!((plain.keep_git_dir, plain.skip_submodules), (Some(false), false));
        assert_eq!((plain.wanted(), plain.checksum.clone()), ("v1", None));
        let commit = "0123456789".repeat(4);
        let exact = read(&format!("https://h/a.git?ref=main&checksum={commit}&fetch-by-commit=1"));
        assert_eq!(exact.wanted(), commit);
    }

    #[test]
    fn refuses_what_a_query_may_not_say() {
        for (query, word) in [
            ("ref=", "no value"),
            ("ref=a&ref=a", "multiple values"),
            ("reff=a", "unexpected query \"reff\""),
            ("ref=a#b", "ref conflicts"),
            ("subdir=a#:b", "subdir conflicts"),
            ("tag=a&branch=b", "branch conflicts with tag"),
            ("tag=a&ref=b", "ref conflicts"),
            ("checksum=0123abc&commit=0123abd", "checksum conflicts"),
            ("checksum=xyz", "no commit"),
            ("submodules=maybe", "invalid submodules value"),
            ("mtime=now", "invalid mtime value"),
            ("fetch-by-commit=1", "whole commit"),
            ("ref=%zz", "invalid query"),
            ("subdir=..%2Fx", "below the repository"),
            ("ref=--upload-pack%3Dx", "name of a branch"),
            ("ref=a%0Ab", "name of a branch"),
        ] {
            let said = refusal(&format!("https://h/a.git?{query}"));
            assert!(said.contains(word), "{query}: {said}");
        }
    }

    #[test]
    fn refuses_what_git_would_take_for_an_option() {
        for text in
            ["https://h/a.git#--upload-pack=x", "https://h/a.git#:../x", "https://h/a.git#a\nb"]
        {
            assert!(GitSource::parse(text).is_err(), "{text}");
        }
    }
}
