//! Contexts that are no directory: the standard input, archives, URLs, git repositories.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use keel_tests::{Child, ImageStore, Outcome, TarEntry, eventually, fixture, free_port, tarball};

fn prepared() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
    store
}

/// A folder `context` beside the store with a Dockerfile that copies everything.
fn with_folder(store: &ImageStore) {
    let context = store.beside("context");
    fs::create_dir_all(context.join("sub")).expect("a folder");
    fs::write(context.join("Dockerfile"), "FROM busybox:1\nCOPY . /all/\n").expect("a file");
    fs::write(context.join("sub/Other"), "FROM busybox:1\nLABEL by=other\n").expect("a file");
    fs::write(context.join(".dockerignore"), "ignored\n").expect("a file");
    fs::write(context.join("ignored"), "x").expect("a file");
    fs::write(context.join("kept"), "x").expect("a file");
}

/// A build that reads a file as its standard input.
fn build_from(store: &ImageStore, input: &Path, words: &[&str]) -> (bool, String) {
    let mut command = store.command(&[&["build"], words].concat());
    command.stdin(File::open(input).expect("a file")).stdout(Stdio::null());
    let output = command.output().expect("keel-image");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn kept(store: &ImageStore, name: &str) -> String {
    store.run_on("keel", name, &["/bin/ls", "-A", "/all"]).succeeds().stdout
}

const ALL: &str = ".dockerignore\nDockerfile\nkept\nsub\n";

/// DF-CONTEXT-01: a tar on the standard input is the context, plain or compressed; `-f` is a file in it.
#[test]
fn a_tar_comes_by_the_standard_input() {
    let store = prepared();
    with_folder(&store);
    for (name, flag) in
        [("plain.tar", "-c"), ("gzip.tar", "-cz"), ("xz.tar", "-cJ"), ("bz.tar", "-cj")]
    {
        store.tool("tar", &["-C", "context", flag, "-f", name, "."]);
        let (is_good, said) = build_from(&store, &store.beside(name), &["-t", "a:1", "-"]);
        assert!(is_good, "{name}: {said}");
        assert_eq!(kept(&store, "a:1"), ALL, "{name}");
    }
    let input = store.beside("plain.tar");
    let (is_good, said) = build_from(&store, &input, &["-t", "b:1", "-f", "sub/Other", "-"]);
    assert!(is_good, "{said}");
    let labels = store.call(&["inspect", "b:1"]).succeeds().json()[0]["Config"]["Labels"].clone();
    assert_eq!(labels["by"], "other");
    let again = build_from(&store, &input, &["--progress=plain", "-"]).1;
    assert!(again.contains("CACHED"), "{again}");
    let left = fs::read_dir(store.path().join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "a context is left in the store");
}

/// DF-CONTEXT-02: a Dockerfile alone on the standard input has no files; what is neither is refused.
#[test]
fn a_dockerfile_comes_by_the_standard_input() {
    let store = prepared();
    let build = |text: &[u8], words: &[&str]| {
        fs::write(store.beside("input"), text).expect("a file");
        build_from(&store, &store.beside("input"), words)
    };
    let text = b"FROM busybox:1\nRUN echo 1 > /one\n";
    assert!(build(text, &["-t", "a:1", "-"]).0);
    assert_eq!(store.run_on("keel", "a:1", &["/bin/cat", "/one"]).succeeds().stdout, "1\n");
    assert!(build(b"FROM busybox:1\nCOPY x /\n", &["-"]).1.contains("not found"));
    for (bytes, word) in
        [(&b"  \n"[..], "empty"), (b"\xff\xfe", "no text"), (b"\x1f\x8b\x08abc", "cannot read")]
    {
        let (is_good, said) = build(bytes, &["-"]);
        assert!(!is_good && said.contains(word), "{word}: {said}");
    }
    assert!(!build(text, &["-f", "-", "-"]).0);
    assert!(!build(text, &["-f", "Dockerfile", "-"]).0);
}

/// DF-CONTEXT-03: an archive of this host is a context; no entry of one leaves it.
#[test]
fn an_archive_is_a_context() {
    let store = prepared();
    with_folder(&store);
    store.tool("tar", &["-C", "context", "-czf", "context.tgz", "."]);
    store.call(&["build", "-t", "a:1", "context.tgz"]).succeeds();
    assert_eq!(kept(&store, "a:1"), ALL);
    let entries = [
        TarEntry::file("Dockerfile", "FROM busybox:1\nCOPY . /all/\n"),
        TarEntry::symlink("out", "../../../../.."),
        TarEntry::file("out/escaped", "x"),
        TarEntry::file("twice", "one"),
        TarEntry::file("twice", "two"),
    ];
    fs::write(store.beside("odd.tar"), tarball(&entries)).expect("a file");
    store.call(&["build", "-t", "b:1", "odd.tar"]).succeeds();
    assert!(!Path::new("/escaped").exists() && !store.beside("escaped").exists());
    let twice = store.run_on("keel", "b:1", &["/bin/cat", "/all/twice"]).succeeds();
    assert_eq!(twice.stdout, "two");
    let climbing = [TarEntry::file("../Dockerfile", "FROM busybox:1\n")];
    fs::write(store.beside("climbing.tar"), tarball(&climbing)).expect("a file");
    store.call(&["build", "climbing.tar"]).exits(1);
    store.call(&["build", "no/such/place"]).exits(1).says(&["no/such/place"]);
}

/// A web server of the folder `context` beside the store, on the loopback interface.
fn serve(store: &ImageStore, folder: &str) -> (Child, String) {
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]);
    command.arg(store.beside(folder)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::start(command);
    eventually("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (child, format!("http://127.0.0.1:{port}"))
}

/// DF-CONTEXT-04: a URL is a tar or a Dockerfile, also as a named context; what the server does not have is
/// told.
#[test]
fn a_url_is_a_context() {
    let store = prepared();
    with_folder(&store);
    fs::create_dir(store.beside("served")).expect("a folder");
    store.tool("tar", &["-C", "context", "-czf", "served/context.tgz", "."]);
    fs::copy(store.beside("context/sub/Other"), store.beside("served/Other")).expect("a copy");
    let (_server, url) = serve(&store, "served");
    let at = |name: &str| format!("{url}/{name}");
    store.call(&["build", "-t", "a:1", &at("context.tgz")]).succeeds();
    assert_eq!(kept(&store, "a:1"), ALL);
    store.call(&["build", "-t", "b:1", &at("Other")]).succeeds();
    let named = format!("far={}", at("context.tgz"));
    let text = "FROM busybox:1\nCOPY --from=far kept /all/\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    store.call(&["build", "-t", "c:1", "--build-context", &named, "context"]).succeeds();
    assert_eq!(kept(&store, "c:1"), "kept\n");
    store.call(&["build", &at("nothing")]).exits(1).says(&["404"]);
}

/// Makes a repository with two commits and a tag; gives the first commit.
fn repository(store: &ImageStore) -> String {
    let git = |words: &[&str]| -> Outcome {
        let mut all = vec!["-C", "context", "-c", "user.name=t", "-c", "user.email=t@t"];
        all.extend_from_slice(words);
        store.tool("git", &all)
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A", "-f"]);
    git(&["commit", "-q", "-m", "one"]);
    let first = git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    fs::write(store.beside("context/sub/Dockerfile"), "FROM busybox:1\nCOPY . /all/\n")
        .expect("a file");
    git(&["add", "-A", "-f"]);
    git(&["commit", "-q", "-m", "two"]);
    git(&["tag", "v2"]);
    store.tool("git", &["clone", "-q", "--bare", "context", "served/repository.git"]);
    store.tool("git", &["-C", "served/repository.git", "update-server-info"]);
    first
}

/// DF-CONTEXT-05: a git repository is a context: its head, a branch, a tag, a commit, a folder of it; what
/// git says of a failure is told, and so is that there is no git.
#[test]
fn a_repository_is_a_context() {
    let store = prepared();
    with_folder(&store);
    fs::create_dir(store.beside("served")).expect("a folder");
    let first = repository(&store);
    let (_server, url) = serve(&store, "served");
    let at = |fragment: &str| format!("{url}/repository.git{fragment}");
    for fragment in ["", "#main", "#v2", &format!("#{first}")] {
        store.call(&["build", "-t", "a:1", &at(fragment)]).succeeds();
        assert_eq!(kept(&store, "a:1"), ALL, "{fragment}");
    }
    store.call(&["build", "-t", "b:1", &at("#v2:sub")]).succeeds();
    assert_eq!(kept(&store, "b:1"), "Dockerfile\nOther\n");
    store.call(&["build", &at("#nosuch")]).exits(1).says(&["git fetch"]);
    store.call(&["build", &at("#main:../..")]).exits(1).says(&["below"]);
    store.call(&["build", &at("#--upload-pack=touch")]).exits(1).says(&["name of a branch"]);
    let mut without = store.command(&["build", &at("")]);
    without.env("PATH", "/nowhere");
    store.finish(without).exits(1).says(&["git", "not installed"]);
}
