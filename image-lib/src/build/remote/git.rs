//! Files of a git repository at one commit, fetched by the program `git`.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::RemoteError;

/// The wait for git is cut so often to see whether somebody still waits for it.
const CANCEL_LATENCY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The most bytes of git's messages that are kept.
const SAID_BYTES_MAX: usize = 64 << 10;

/// The parts of a git URL: `URL[#REF[:FOLDER]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What git fetches from.
    pub url: String,
    /// A branch, a tag or a commit; the repository's own choice if not given.
    pub reference: Option<String>,
    /// The folder of the repository that is meant.
    pub folder: Option<PathBuf>,
}

impl GitSource {
    /// Reads a URL that means a repository: of git, ssh, `user@host:path`, `github.com/…`, or of http and https
    /// with a path that ends in `.git`. Nothing if it means something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_web = place.starts_with("http://") || place.starts_with("https://");
        let url = if place.starts_with("github.com/") {
            format!("https://{place}")
        } else if (is_web && place.ends_with(".git"))
            || place.starts_with("git://")
            || place.starts_with("ssh://")
            || is_copy_form(place)
        {
            place.to_owned()
        } else {
            return None;
        };
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let folder = given(folder.trim_matches('/')).map(PathBuf::from);
        Some(Self { url, reference: given(reference), folder })
    }

    /// What could be taken for an option of git, or leave the repository.
    fn check(&self) -> Result<(), RemoteError> {
        let refuse = |reason: &str| {
            let (url, reason) = (self.url.clone(), reason.to_owned());
            Err(RemoteError::Git { url, reason })
        };
        let is_word = |text: &String| !text.starts_with('-') && !text.contains(char::is_control);
        if !self.reference.as_ref().is_none_or(is_word) || !is_word(&self.url) {
            return refuse("it is no name of a branch, a tag or a commit");
        }
        let stays = |path: &PathBuf| path.components().all(|c| matches!(c, Component::Normal(_)));
        if !self.folder.as_ref().is_none_or(stays) {
            return refuse("the folder is not below the repository");
        }
        Ok(())
    }
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

/// How git is run.
pub struct Git<'a> {
    /// Whether nobody waits any more.
    pub cancelled: &'a dyn Fn() -> bool,
    /// A token for servers of https: what docker calls the secret `GIT_AUTH_TOKEN`.
    pub token: Option<String>,
    /// The socket of an agent for ssh.
    pub agent: Option<PathBuf>,
}

impl std::fmt::Debug for Git<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl Git<'_> {
    /// Fetches the files of `source` with its submodules into the new folder `target`; gives the folder that is
    /// meant and the commit. The folder `.git` goes away unless it is to be kept.
    ///
    /// # Errors
    /// Git is not there, or says why not.
    pub fn checkout(
        &self,
        source: &GitSource,
        target: &Path,
        keep_git_dir: bool,
    ) -> Result<(PathBuf, String), RemoteError> {
        source.check()?;
        let failed = |reason: String| RemoteError::Git { url: source.url.clone(), reason };
        std::fs::create_dir_all(target).map_err(|error| failed(error.to_string()))?;
        let run = |words: &[&str]| self.run(target, words, &source.url);
        run(&["init", "--quiet", "."])?;
        run(&["remote", "add", "origin", &source.url])?;
        let reference = source.reference.as_deref().unwrap_or("HEAD");
        self.fetch(target, &source.url, reference)?;
        if target.join(".gitmodules").is_file() {
            run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let commit = run(&["rev-parse", "HEAD"])?.trim().to_owned();
        let folder = match &source.folder {
            None => target.to_owned(),
            Some(folder) => inside(target, folder).map_err(failed)?,
        };
        if !keep_git_dir {
            let git = target.join(".git");
            std::fs::remove_dir_all(&git).map_err(|error| failed(error.to_string()))?;
        }
        Ok((folder, commit))
    }

    /// Fetches as little as the server allows: the commit alone, or its history, or, for a commit that nothing
    /// ends in, everything.
    fn fetch(&self, target: &Path, url: &str, reference: &str) -> Result<(), RemoteError> {
        let run = |words: &[&str]| self.run(target, words, url).map(drop);
        let first = run(&["fetch", "--quiet", "--depth=1", "--no-tags", "origin", reference]);
        let knows_none = |error: &RemoteError| error.to_string().contains("shallow");
        let fetched = match first {
            Err(error) if knows_none(&error) => {
                run(&["fetch", "--quiet", "--no-tags", "origin", reference])
            }
            first => first,
        };
        match fetched {
            Err(error @ RemoteError::Git { .. }) if is_commit(reference) => {
                let all = "+refs/heads/*:refs/remotes/origin/*";
                run(&["fetch", "--quiet", "--tags", "origin", all]).map_err(|_| error)?;
                run(&["checkout", "--quiet", "--detach", reference])
            }
            fetched => {
                fetched?;
                run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])
            }
        }
    }

    fn run(&self, folder: &Path, words: &[&str], url: &str) -> Result<String, RemoteError> {
        let mut command = Command::new("git");
        command.args(words).current_dir(folder).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Nobody is asked anything, no other repository is meant, and a silent server ends the fetch.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
            command.env_remove(name);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
        command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1").env("GIT_HTTP_LOW_SPEED_TIME", "60");
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let (Some(token), Some(origin)) = (&self.token, origin(url)) {
            // In the environment, so that no list of processes shows it; for this origin alone, because
            // submodules may lie anywhere.
            let value = STANDARD.encode(format!("x-access-token:{token}"));
            let key = format!("http.{origin}/.extraHeader");
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", key);
            command.env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {value}"));
        }
        let failed = |reason: String| RemoteError::Git { url: url.to_owned(), reason };
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => RemoteError::NoGit,
            _ => failed(error.to_string()),
        })?;
        let said = self.follow(&mut child);
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        if (self.cancelled)() {
            return Err(RemoteError::Cancelled);
        }
        let (output, errors) = said.map_err(|error| failed(error.to_string()))?;
        if status.success() {
            return Ok(output);
        }
        let reason = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed");
        Err(failed(format!("git {}: {}", words[0], reason.trim())))
    }

    /// What the child writes, until it ends; it is killed when nobody waits any more.
    fn follow(&self, child: &mut Child) -> std::io::Result<(String, String)> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut is_killed = false;
        while stdout.is_some() || stderr.is_some() {
            let out = stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN));
            let err = stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN));
            let is_out = out.is_some();
            let mut pipes: Vec<PollFd<'_>> = out.into_iter().chain(err).collect();
            match poll(&mut pipes, Some(&CANCEL_LATENCY)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<bool> = pipes.iter().map(|pipe| !pipe.revents().is_empty()).collect();
            let (out_ready, err_ready) = match (is_out, ready.as_slice()) {
                (true, [out, rest @ ..]) => (*out, rest.first().copied().unwrap_or(false)),
                (_, rest) => (false, rest.first().copied().unwrap_or(false)),
            };
            drop(pipes);
            if out_ready {
                take(&mut stdout, &mut output)?;
            }
            if err_ready {
                take(&mut stderr, &mut errors)?;
            }
            if !is_killed && (self.cancelled)() {
                is_killed = true;
                child.kill()?;
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&output), text(&errors)))
    }
}

/// Reads what is there; the end takes the pipe away.
fn take<R: Read>(pipe: &mut Option<R>, said: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(reader) = pipe else { return Ok(()) };
    let mut buffer = [0; 4096];
    match reader.read(&mut buffer)? {
        0 => *pipe = None,
        count if said.len() < SAID_BYTES_MAX => said.extend_from_slice(&buffer[..count]),
        _ => {}
    }
    Ok(())
}

/// Scheme, host and port of a URL for http; `None` of others, which take no header.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?.rsplit('@').next()?;
    matches!(scheme, "http" | "https").then(|| format!("{scheme}://{host}"))
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The folder `path` below `target`; links of the repository do not lead out of it.
fn inside(target: &Path, path: &Path) -> Result<PathBuf, String> {
    let root = target.canonicalize().map_err(|error| error.to_string())?;
    let folder = root.join(path).canonicalize().map_err(|error| format!("{path:?}: {error}"))?;
    if folder.starts_with(&root) && folder.is_dir() {
        Ok(folder)
    } else {
        Err(format!("{path:?} is no folder of the repository"))
    }
}

#[cfg(test)]
mod tests {
    use super::{GitSource, origin};

    #[test]
    fn a_token_is_for_one_origin() {
        assert_eq!(origin("https://u:p@h:8443/a/b.git").as_deref(), Some("https://h:8443"));
        assert_eq!(origin("http://h").as_deref(), Some("http://h"));
        assert_eq!(origin("git@h:a/b.git"), None);
        assert_eq!(origin("ssh://git@h/a"), None);
    }

    #[test]
    fn knows_repositories_by_their_urls() {
        let read = |text: &str| {
            GitSource::parse(text).map(|source| {
                let folder = source.folder.unwrap_or_default().display().to_string();
                format!("{} {} {folder}", source.url, source.reference.unwrap_or_default())
            })
        };
        for (text, expected) in [
            ("https://h/a.git#b:c/d", "https://h/a.git b c/d"),
            ("http://h/a.git", "http://h/a.git  "),
            ("git@h:a/b.git#:c", "git@h:a/b.git  c"),
            ("ssh://git@h/a#v1", "ssh://git@h/a v1 "),
            ("git://h/a", "git://h/a  "),
            ("github.com/a/b#c", "https://github.com/a/b c "),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["https://h/a.tar", "https://h/a.git/b", "./a.git", "a@b", "-o@h:x", "a@-o:x"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_git_would_take_for_an_option() {
        for text in
            ["https://h/a.git#--upload-pack=x", "https://h/a.git#:../x", "https://h/a.git#a\nb"]
        {
            assert!(GitSource::parse(text).unwrap().check().is_err(), "{text}");
        }
    }
}
