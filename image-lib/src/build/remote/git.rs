//! Files of a git repository at one commit, fetched by the program `git`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::RemoteError;
use super::credentials::git_authorization;
use super::git_url::{GitSource, is_commit};
use crate::build::arguments::has_epoch;
use crate::build::options::BuildOptions;
use crate::fsroot::{FsError, Root, Times};
use crate::spec::Timestamp;

/// The wait for git is cut so often to see whether somebody still waits for it.
const CANCEL_LATENCY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The most bytes of git's messages that are kept.
const SAID_BYTES_MAX: usize = 64 << 10;

/// What ssh is started by where the user has not said it: nobody is asked for a passphrase or about a host.
const SSH: &str = "ssh -o BatchMode=yes";

/// What git and ssh say after the reason, which helps nobody.
const TRAILERS: [&str; 2] =
    ["Please make sure you have the correct access rights", "and the repository exists."];

/// How git is run.
pub struct Git<'a> {
    /// Whether nobody waits any more.
    cancelled: &'a dyn Fn() -> bool,
    /// `Authorization` for the origin of one URL.
    authorization: Option<String>,
    /// The socket of an agent for ssh.
    agent: Option<PathBuf>,
    /// Whether files have the time of the commit where the URL says nothing.
    commit_times: bool,
}

impl std::fmt::Debug for Git<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Git").field("agent", &self.agent).finish_non_exhaustive()
    }
}

impl<'a> Git<'a> {
    /// Git for `source`, with what a build was given for its server: secrets and the agent `default`.
    ///
    /// # Errors
    /// A secret cannot be read.
    pub fn new(
        options: &BuildOptions,
        source: &GitSource,
        cancelled: &'a dyn Fn() -> bool,
    ) -> Result<Self, RemoteError> {
        let authorization = git_authorization(&options.secrets, &source.url)?;
        let agent = options.ssh.get("default").cloned();
        Ok(Self { cancelled, authorization, agent, commit_times: has_epoch(options) })
    }

    /// Fetches the files of `source` into the new folder `target`, with its submodules unless it says otherwise; gives
    /// the folder that is meant and the commit. The folder `.git` goes away unless it is to be kept.
    ///
    /// # Errors
    /// Git is not there, or says why not; the commit is another one than `source` wants.
    pub fn checkout(
        &self,
        source: &GitSource,
        target: &Path,
        keep_git_dir: bool,
    ) -> Result<(PathBuf, String), RemoteError> {
        let failed = |reason: String| RemoteError::Git { url: source.url.clone(), reason };
        std::fs::create_dir_all(target).map_err(|error| failed(error.to_string()))?;
        let run = |words: &[&str]| self.run(target, words, &source.url);
        run(&["init", "--quiet", "."])?;
        run(&["remote", "add", "origin", &source.url])?;
        let named = self.fetch(target, &source.url, source.wanted())?;
        let commit = run(&["rev-parse", "HEAD"])?.trim().to_owned();
        if let Some(wanted) = &source.checksum
            && ![&commit, &named].iter().any(|sum| sum.starts_with(wanted))
        {
            return Err(failed(format!("expected checksum to match {wanted}, got {commit}")));
        }
        if !source.skip_submodules && target.join(".gitmodules").is_file() {
            let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
            let updated = run(&update);
            // Not every server gives a commit alone.
            if matches!(updated, Err(RemoteError::Git { .. })) {
                run(&update[..5])?;
            }
        }
        let time = match source.commit_times.unwrap_or(self.commit_times) {
            true => {
                let text = run(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
                Some(
                    text.trim()
                        .parse()
                        .map_err(|_| failed(format!("no time of a commit: {text:?}")))?,
                )
            }
            false => None,
        };
        let folder = source.folder_in(target).map_err(failed)?;
        if !keep_git_dir {
            let git = target.join(".git");
            std::fs::remove_dir_all(&git).map_err(|error| failed(error.to_string()))?;
        }
        if let Some(time) = time {
            set_times(target, time)?;
        }
        Ok((folder, commit))
    }

    /// Fetches as little as the server allows: the commit alone, or its history, or, for a commit that nothing
    /// ends in, everything. Gives the object that the reference names: the commit, or a tag that vouches for it.
    fn fetch(&self, target: &Path, url: &str, reference: &str) -> Result<String, RemoteError> {
        let run = |words: &[&str]| self.run(target, words, url);
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
                run(&["checkout", "--quiet", "--detach", reference])?;
                // What was fetched last is some branch, and not what was asked for.
                Ok(run(&["rev-parse", "HEAD"])?.trim().to_owned())
            }
            fetched => {
                fetched?;
                run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
                Ok(run(&["rev-parse", "FETCH_HEAD"])?.trim().to_owned())
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
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            command.env("GIT_SSH_COMMAND", SSH);
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let (Some(value), Some(origin)) = (&self.authorization, origin(url)) {
            // In the environment, so that no list of processes shows it; for this origin alone, because
            // submodules may lie anywhere.
            let key = format!("http.{origin}/.extraHeader");
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", key);
            command.env("GIT_CONFIG_VALUE_0", format!("Authorization: {value}"));
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
        Err(failed(format!("git {}: {}", words[0], reason(&errors))))
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

/// Gives everything below `target` one time, in seconds since 1970.
fn set_times(target: &Path, seconds: i64) -> Result<(), FsError> {
    let root = Root::open(target)?;
    let times = Times::both(Timestamp { seconds, nanoseconds: 0 });
    for entry in root.walk(Path::new("."))? {
        let entry = entry?;
        entry.parent.set_times(&entry.name, times)?;
    }
    Ok(())
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

/// The last two lines of what was said: ssh names the cause in the one and git in the other.
fn reason(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !TRAILERS.contains(line)).collect();
    match lines.as_slice() {
        [] => "it failed".to_owned(),
        [.., one, other] => format!("{one} {other}"),
        [only] => (*only).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{origin, reason};

    #[test]
    fn a_token_is_for_one_origin() {
        assert_eq!(origin("https://u:p@h:8443/a/b.git").as_deref(), Some("https://h:8443"));
        assert_eq!(origin("http://h").as_deref(), Some("http://h"));
        assert_eq!(origin("git@h:a/b.git"), None);
        assert_eq!(origin("ssh://git@h/a"), None);
    }

    #[test]
    fn tells_the_cause() {
        let said = "Host key verification failed.\r\nfatal: Could not read from remote repository.\n\n\
            Please make sure you have the correct access rights\nand the repository exists.\n";
        let cause = "Host key verification failed. fatal: Could not read from remote repository.";
        assert_eq!(reason(said), cause);
        assert_eq!(reason("fatal: no\n"), "fatal: no");
        assert_eq!(reason("\n"), "it failed");
    }
}
