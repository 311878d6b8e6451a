//! How a build reaches what is elsewhere: what a URL of a repository says, who one is for a server, and what need not
//! come twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keel_tests::{Child, ImageStore, Outcome, eventually, fixture, free_port};

/// A web server of the folder `served` beside the store. It knows tags, wants `Authorization: $WANTED` below `/private`,
/// leads from `/away` to another port, and writes a line for each request: path, status, bytes sent, what it was told.
const SERVER: &str = r#"
import hashlib, http.server, os, sys
log = open(sys.argv[2], "a", buffering=1)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        told = self.headers.get("Authorization", "-")
        def answer(status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            print(path, status, len(body), told, file=log)
        if path == "/away":
            return answer(302, Location=sys.argv[3] + "/private/file")
        if path.startswith("/private") and told != os.environ["WANTED"]:
            return answer(401, WWW_Authenticate="Basic realm=x")
        try:
            body = open("served" + path, "rb").read()
        except OSError:
            return answer(404)
        tag = '"%s"' % hashlib.sha1(body).hexdigest()
        if self.headers.get("If-None-Match") == tag:
            return answer(304, ETag=tag)
        answer(200, body, **({} if "untagged" in path else {"ETag": tag}))
    def log_message(self, *words):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

struct Site {
    store: ImageStore,
    url: String,
    /// The same server by another port.
    other: String,
    _servers: [Child; 2],
}

impl Site {
    fn new(wanted: &str) -> Self {
        let store = ImageStore::new();
        store.import(&fixture("busybox.tar"), "busybox").succeeds();
        for folder in ["served/private", "context"] {
            fs::create_dir_all(store.beside(folder)).expect("a folder");
        }
        fs::write(store.beside("server.py"), SERVER).expect("a file");
        let ports = [free_port(), free_port()];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let serve = |port: u16, to: u16| {
            let mut command = Command::new("python3");
            command.arg("server.py").arg(port.to_string()).arg("log").arg(url(to));
            command.env("WANTED", wanted).current_dir(store.beside(""));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let child = Child::start(command);
            eventually("the server listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).ok()
            });
            child
        };
        let servers = [serve(ports[0], ports[1]), serve(ports[1], ports[0])];
        Self { url: url(ports[0]), other: url(ports[1]), store, _servers: servers }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.store.beside(name), text).expect("a file");
    }

    fn build(&self, dockerfile: &str, flags: &[&str]) -> Outcome {
        self.write("context/Dockerfile", &format!("FROM busybox\n{dockerfile}"));
        let words = ["build", "--progress", "plain", "-t", "a:1"].into_iter();
        self.store.call(&words.chain(flags.iter().copied()).chain(["context"]).collect::<Vec<_>>())
    }

    fn shell(&self, script: &str) -> String {
        self.store.run_on("keel", "a:1", &["/bin/sh", "-c", script]).succeeds().stdout
    }

    /// What the server was asked since it was asked last: path, status, bytes, credentials.
    fn asked(&self) -> Vec<String> {
        let log = self.store.beside("log");
        let lines = fs::read_to_string(&log).unwrap_or_default();
        fs::write(&log, "").expect("a file");
        lines.lines().map(str::to_owned).collect()
    }

    /// Makes the repository `served/NAME` from a script that begins in its empty work tree.
    fn repository(&self, name: &str, script: &str) {
        let script = format!(
            "set -e; git init -q -b main w; cd w; git config user.name t; git config user.email t@t; {script}\n\
             cd ..; git clone -q --bare w served/{name}; git -C served/{name} update-server-info; rm -rf w"
        );
        self.store.tool("sh", &["-c", &script]).succeeds();
    }

    /// The time of the last commit, in seconds.
    fn time_of(&self, name: &str) -> String {
        let folder = format!("served/{name}");
        let outcome =
            self.store.tool("git", &["-C", &folder, "show", "-s", "--format=%ct", "main"]);
        outcome.stdout.trim().to_owned()
    }

    fn commit_of(&self, name: &str, reference: &str) -> String {
        let folder = format!("served/{name}");
        let outcome = self.store.tool("git", &["-C", &folder, "rev-parse", reference]);
        outcome.stdout.trim().to_owned()
    }
}

const TWO_COMMITS: &str = "mkdir -p d/e; echo one > a; echo deep > d/e/f; git add -A; git commit -qm 1; \
    git tag -a v1 -m v1; git branch old; echo two > a; \
    GIT_COMMITTER_DATE=1500000000+0000 git commit -qam 2; git tag main-too";

/// DF-REMOTE-04: what the query of a repository's URL says holds for ADD and for contexts: ref, tag, branch, subdir,
/// checksum of a commit or a tag, keep-git-dir, fetch-by-commit; what it may not say is refused before anything is fetched.
#[test]
fn a_query_says_what_of_a_repository_is_meant() {
    let site = Site::new("-");
    site.repository("r.git", TWO_COMMITS);
    let (old, new) = (site.commit_of("r.git", "old"), site.commit_of("r.git", "main"));
    let tag = site.commit_of("r.git", "refs/tags/v1");
    assert_ne!(tag, old, "the tag is an object of its own");
    let at = |query: &str| format!("{}/r.git{query}", site.url);
    for (query, text) in [
        ("?ref=old".to_owned(), "one\n"),
        ("?branch=old".to_owned(), "one\n"),
        ("?tag=v1".to_owned(), "one\n"),
        (format!("?tag=v1&checksum={old}"), "one\n"),
        (format!("?tag=v1&checksum={tag}"), "one\n"),
        (format!("?commit={}", &new[..10]), "two\n"),
        (format!("?ref=main&checksum={old}&fetch-by-commit=1"), "one\n"),
    ] {
        site.build(&format!("ADD {} /r/\n", at(&query)), &[]).succeeds();
        assert_eq!(site.shell("cat /r/a; ls -A /r"), format!("{text}a\nd\n"), "{query}");
    }
    site.build(&format!("ADD {} /r/\n", at("?subdir=d/e&keep-git-dir=1")), &[]).succeeds();
    assert_eq!(site.shell("ls -A /r"), "f\n");
    let time = "cd /r; stat -c %Y . a d d/e/f";
    let commit = site.time_of("r.git");
    site.build(&format!("ADD {} /r/\n", at("")), &[]).succeeds();
    assert!(!site.shell(time).contains(&commit), "the time of the checkout");
    site.build(&format!("ADD {} /r/\n", at("?mtime=commit")), &[]).succeeds();
    assert_eq!(site.shell(time).matches(&commit).count(), 3, "all but the folder that was there");
    site.build(&format!("ADD {} /r/\n", at("?keep-git-dir=1")), &[]).succeeds();
    assert_eq!(site.shell("cd /r; ls -d .git"), ".git\n");
    for (flags, query, word) in [
        ("", format!("?checksum={old}"), "expected checksum to match"),
        ("", "?reff=x".to_owned(), "unexpected query \"reff\""),
        ("", "?mtime=now".to_owned(), "invalid mtime value"),
        ("", "?ref=a#b".to_owned(), "ref conflicts"),
        ("--keep-git-dir=true ", "?keep-git-dir=0".to_owned(), "inconsistent keep-git-dir"),
        ("--checksum=0123abcd ", "?checksum=0123abce".to_owned(), "checksum mismatch"),
    ] {
        let outcome = site.build(&format!("ADD {flags}{} /r/\n", at(&query)), &[]);
        outcome.exits(1).says(&["Dockerfile:2", word]);
    }
    // With a commit as its checksum nothing has to be fetched to know that the result is there.
    let exact = format!("ADD {} /r/\n", at(&format!("?checksum={new}")));
    site.build(&exact, &[]).succeeds();
    site.asked();
    site.build(&exact, &[]).succeeds().says(&["CACHED"]);
    assert_eq!(site.asked(), Vec::<String>::new());
    // As a context.
    site.repository(
        "c.git",
        "mkdir s; echo 'FROM busybox' > s/Dockerfile; echo 'COPY . /c/' >> s/Dockerfile; \
        git add -A; git commit -qm 1",
    );
    let context = format!("{}/c.git?subdir=s&branch=main", site.url);
    site.store.call(&["build", "-t", "a:1", &context]).succeeds();
    assert_eq!(site.shell("ls -A /c"), "Dockerfile\n");
    site.store
        .call(&["build", &format!("{}/c.git?bad=1", site.url)])
        .exits(1)
        .says(&["unexpected query"]);
    let named = format!("n={}/r.git?tag=v1", site.url);
    site.build("COPY --from=n a /a\n", &["--build-context", &named]).succeeds();
    assert_eq!(site.shell("cat /a"), "one\n");
}

/// DF-REMOTE-05: submodules come along unless the URL says no; the build argument `BUILDKIT_CONTEXT_KEEP_GIT_DIR`
/// keeps `.git` of a context.
#[test]
fn submodules_and_git_folders_are_as_asked() {
    let site = Site::new("-");
    site.repository("inner.git", "echo inner > i; git add -A; git commit -qm 1");
    let inner = format!("{}/inner.git", site.url);
    let script = format!(
        "printf 'FROM busybox\\nCOPY . /c/\\n' > Dockerfile; git submodule add -q {inner} sub; git add -A; git commit -qm 1"
    );
    site.repository("outer.git", &script);
    let outer = format!("{}/outer.git", site.url);
    let listed = |context: &str, flags: &[&str]| {
        let words = ["build", "-t", "a:1"].into_iter().chain(flags.iter().copied());
        site.store.call(&words.chain([context]).collect::<Vec<_>>()).succeeds();
        site.shell("cd /c; ls -d .git 2>/dev/null; ls sub")
    };
    assert_eq!(listed(&outer, &[]), "i\n");
    assert_eq!(listed(&format!("{outer}?submodules=0"), &[]), "");
    assert_eq!(listed(&format!("{outer}?keep-git-dir"), &[]), ".git\ni\n");
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    assert_eq!(listed(&outer, &keep), ".git\ni\n");
}

/// DF-REMOTE-06: the secrets `GIT_AUTH_TOKEN`, `GIT_AUTH_HEADER` and those with a host behind the name go to the server
/// of the repository, the more precise one wins, and none of them is left anywhere.
#[test]
fn secrets_open_repositories() {
    let site = Site::new("Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0LXdvcmQ=");
    site.repository(
        "private/r.git",
        "printf 'FROM busybox\\nCOPY . /c/\\n' > Dockerfile; git add -A; git commit -qm 1",
    );
    let url = format!("{}/private/r.git", site.url);
    let host = site.url.trim_start_matches("http://").to_owned();
    site.write("token", "secret-word\n");
    site.write("wrong", "other-word\n");
    site.write("header", "Basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0LXdvcmQ=\n");
    let secret = |id: &str, file: &str| {
        format!("--secret=id={id},src={}", site.store.beside(file).display())
    };
    let instruction = format!("ADD {url} /r/\n");
    site.build(&instruction, &[]).exits(1).says(&["Dockerfile:2", "GIT_AUTH_TOKEN"]);
    let precise = format!("GIT_AUTH_TOKEN.{host}");
    for flags in [
        vec![secret("GIT_AUTH_TOKEN", "token")],
        vec![secret("GIT_AUTH_HEADER", "header")],
        vec![secret(&precise, "token"), secret("GIT_AUTH_TOKEN", "wrong")],
        vec![secret(&format!("GIT_AUTH_HEADER.{host}"), "header"), secret(&precise, "wrong")],
    ] {
        let words: Vec<&str> = flags.iter().map(String::as_str).collect();
        site.build(&instruction, &[&words[..], &["--no-cache"]].concat()).succeeds();
        let context = [&["build", "-t", "a:1"], &words[..], &[url.as_str()]].concat();
        site.store.call(&context).succeeds();
    }
    let wrong = [secret("GIT_AUTH_TOKEN", "wrong")];
    site.build(&instruction, &[&wrong[0], "--no-cache"]).exits(1);
    // The other host's secret is none for this one.
    let foreign = format!("GIT_AUTH_TOKEN.{}", site.other.trim_start_matches("http://"));
    site.build(&instruction, &[&secret(&foreign, "token"), "--no-cache"]).exits(1);
    let search = "grep -rlE 'secret-word|eC1hY2Nlc3M' store || test $? = 1";
    let found = site.store.tool("sh", &["-c", search]);
    assert_eq!(found.stdout, "", "a secret is left in the store");
}

/// DF-REMOTE-07: the secrets `HTTP_AUTH_TOKEN_HOST` and `HTTP_AUTH_HEADER_HOST` open files by their URLs; no server but
/// that of the URL gets them, also where it leads on.
#[test]
fn secrets_open_files() {
    let site = Site::new("Bearer secret-word");
    site.write("served/private/file", "text\n");
    site.write("served/private/Dockerfile", "FROM busybox\nRUN echo private > /p\n");
    site.write("token", "secret-word\n");
    site.write("header", "Bearer secret-word");
    site.write("lines", "a\nb\n");
    let secret = |id: &str, file: &str| {
        format!("--secret=id={id},src={}", site.store.beside(file).display())
    };
    let instruction = format!("ADD {}/private/file /f\n", site.url);
    site.build(&instruction, &[]).exits(1).says(&["401"]);
    site.build(&instruction, &[&secret("HTTP_AUTH_TOKEN_127.0.0.1", "token")]).succeeds();
    assert_eq!(site.shell("cat /f"), "text\n");
    let header = secret("HTTP_AUTH_HEADER_127.0.0.1", "header");
    site.build(&instruction, &["--no-cache", &header]).succeeds();
    site.build(&instruction, &["--no-cache", &secret("HTTP_AUTH_TOKEN_localhost", "token")])
        .exits(1);
    let bad = secret("HTTP_AUTH_TOKEN_127.0.0.1", "lines");
    site.build(&instruction, &["--no-cache", &bad]).exits(1).says(&["HTTP_AUTH_TOKEN_127.0.0.1"]);
    let context = format!("{}/private/Dockerfile", site.url);
    site.store.call(&["build", "-t", "a:1", &header, &context]).succeeds();
    assert_eq!(site.shell("cat /p"), "private\n");
    site.asked();
    // The same host by another port is another server.
    site.build(&format!("ADD {}/away /f\n", site.url), &[&header]).exits(1).says(&["401"]);
    let asked = site.asked();
    assert!(asked.contains(&"/away 302 0 Bearer secret-word".to_owned()), "{asked:?}");
    assert!(asked.contains(&"/private/file 401 0 -".to_owned()), "{asked:?}");
}

/// DF-REMOTE-08: a file or a context by URL that its server knows by a tag comes once; later the server is asked whether
/// it is still that. What has changed or was damaged on the disk comes anew, and the cache gives its room back.
#[test]
fn what_is_unchanged_does_not_come_twice() {
    let site = Site::new("-");
    let large = "x".repeat(300_000);
    site.write("served/file", &large);
    site.write("served/untagged", "u");
    let add = format!("ADD {}/file /f\n", site.url);
    site.build(&add, &[]).succeeds();
    assert_eq!(site.asked(), ["/file 200 300000 -"]);
    // From the cache, with another step before it, and when everything is done anew.
    site.build(&add, &[]).succeeds().says(&["CACHED"]);
    site.build(&format!("RUN true > /before\n{add}"), &[]).succeeds();
    site.build(&add, &["--no-cache"]).succeeds();
    assert_eq!(site.asked(), ["/file 304 0 -"; 3]);
    assert_eq!(site.shell("wc -c < /f"), "300000\n");
    let untagged = format!("ADD {}/untagged /f\n", site.url);
    site.build(&untagged, &[]).succeeds();
    site.build(&untagged, &[]).succeeds().says(&["CACHED"]);
    assert_eq!(site.asked(), ["/untagged 200 1 -"; 2]);
    site.write("served/file", "changed");
    site.build(&add, &[]).succeeds();
    assert_eq!(
        (site.asked(), site.shell("cat /f")),
        (vec!["/file 200 7 -".to_owned()], "changed".to_owned())
    );
    // A byte of the kept file is another one.
    let folder = site.store.path().join("cache/downloads");
    let kept: Vec<PathBuf> =
        fs::read_dir(&folder).expect("a folder").map(|e| e.expect("a file").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
    let mut bytes = fs::read(&kept[0]).expect("a file");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&kept[0], bytes).expect("a file");
    site.build(&add, &["--no-cache"]).succeeds();
    assert_eq!(site.asked(), ["/file 304 0 -", "/file 200 7 -"]);
    assert_eq!(site.shell("cat /f"), "changed");
    // Contexts: a tar and a Dockerfile.
    site.write("context/Dockerfile", "FROM busybox\nCOPY . /all/\n");
    site.store.tool("tar", &["-C", "context", "-czf", "served/c.tgz", "."]).succeeds();
    site.write("served/Dockerfile", "FROM busybox\nRUN echo 1 > /one\n");
    for name in ["c.tgz", "Dockerfile"] {
        let context = format!("{}/{name}", site.url);
        site.store.call(&["build", "-t", "a:1", &context]).succeeds();
        let again = site.store.call(&["build", "--progress=plain", "-t", "a:1", &context]);
        again.succeeds().says(&["CACHED"]);
        let asked = site.asked();
        let statuses: Vec<&str> = asked.iter().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(statuses, ["200", "304"], "{name}");
    }
    let list = |words: &[&str]| {
        let rows =
            site.store.call(&[&["builder", "du", "--json"], words].concat()).succeeds().json();
        rows.as_array().expect("rows").len()
    };
    assert_eq!(list(&["--filter", "type=source.http"]), 3);
    site.store.call(&["fsck"]).succeeds();
    site.store.call(&["builder", "prune", "-f", "--filter", "type=source.http"]).succeeds();
    assert_eq!(list(&["--filter", "type=source.http"]), 0);
    site.build(&add, &["--no-cache"]).succeeds();
    assert_eq!(site.asked(), ["/file 200 7 -"]);
}

/// A server of ssh on the loopback interface that lets the key `key` in, and its address.
fn ssh_server(site: &Site) -> (Child, u16) {
    let key = |name: &str| {
        let words = ["-q", "-t", "ed25519", "-N", "", "-f", name];
        site.store.tool("ssh-keygen", &words).succeeds();
    };
    ["host", "key", "stranger"].iter().for_each(|name| key(name));
    site.store
        .tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "word", "-f", "locked"])
        .succeeds();
    let port = free_port();
    let beside = |name: &str| site.store.beside(name).display().to_string();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
         UsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        beside("host"),
        beside("key.pub")
    );
    site.write("sshd_config", &config);
    // Where sshd locks up what is not yet let in; its start script makes it.
    fs::create_dir_all("/run/sshd").expect("a folder");
    let mut command = Command::new("/usr/sbin/sshd");
    command.arg("-D").arg("-f").arg(site.store.beside("sshd_config"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::start(command);
    eventually("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (child, port)
}

/// The command lines of living processes that have a text.
fn processes_that_name(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("a folder").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

/// DF-REMOTE-09: a repository behind ssh is fetched with the key or the agent that `--ssh` names, from a server whose key
/// is known; an unknown server, another key, none, or one with a passphrase are refused with what to do, and nobody is asked.
#[test]
fn a_key_opens_a_repository() {
    let site = Site::new("-");
    site.repository(
        "r.git",
        "printf 'FROM busybox\\nCOPY . /c/\\n' > Dockerfile; git add -A; git commit -qm 1",
    );
    let (_server, port) = ssh_server(&site);
    let folder = site.store.beside("served/r.git").display().to_string();
    let url = format!("ssh://root@127.0.0.1:{port}{folder}");
    let key = |name: &str| format!("--ssh=default={}", site.store.beside(name).display());
    let known =
        site.store.tool("ssh-keyscan", &["-p", &port.to_string(), "-t", "ed25519", "127.0.0.1"]);
    site.write("known_hosts", &known.stdout);
    let ssh = format!(
        "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o UserKnownHostsFile={}",
        site.store.beside("known_hosts").display()
    );
    let build = |flags: &[&str], is_known: bool| {
        let words = [&["build", "-t", "a:1"], flags, &[url.as_str()]].concat();
        let mut command = site.store.command(&words);
        command.env_remove("SSH_AUTH_SOCK").env_remove("GIT_SSH").env_remove("GIT_SSH_COMMAND");
        if is_known {
            command.env("GIT_SSH_COMMAND", &ssh);
        }
        site.store.finish(command)
    };
    build(&[&key("key")], false).exits(1).says(&["Host key verification failed", "ssh-keyscan"]);
    build(&[], true).exits(1).says(&["Permission denied", "--ssh"]);
    build(&[&key("stranger")], true).exits(1).says(&["Permission denied", "--ssh"]);
    build(&[&key("locked")], true).exits(125).says(&["locked", "ssh-add"]);
    build(&[&key("key.pub")], true).exits(125).says(&["key.pub"]);
    build(&[&key("key")], true).succeeds();
    assert_eq!(site.shell("ls /c"), "Dockerfile\n");
    // Several keys, and ADD; the command gets the same agent, and the layer nothing of it.
    let both = format!("{},{}", key("stranger"), site.store.beside("key").display());
    let text =
        format!("ADD {url} /r/\nRUN --mount=type=ssh,required=true test -S $SSH_AUTH_SOCK\n");
    site.write("context/Dockerfile", &format!("FROM busybox\n{text}"));
    let mut command = site.store.command(&["build", "-t", "a:1", &both, "context"]);
    command.env("GIT_SSH_COMMAND", &ssh);
    site.store.finish(command).succeeds();
    assert_eq!(site.shell("ls /r; ls -A /run 2>/dev/null; true"), "Dockerfile\n");
    let left = fs::read_dir(site.store.path().join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "an agent's folder is left in the store");
    let agents = processes_that_name(&site.store.path().join("tmp").display().to_string());
    assert_eq!(agents, Vec::<String>::new(), "an agent is left");
}
