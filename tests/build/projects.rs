//! Projects of the kinds people build, each a folder with a Dockerfile below `projects/`: built by keel-image and,
//! where it can, by buildah with the same outcome; run by keel, and asked over the loopback interface whether it serves.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keel_tests::{
    ImageStore, Outcome, Runtime, differences_from_buildah, eventually, fixture, program,
    project_root, within_a_while,
};

/// A store with the bases of a project, and beside it the project's folder as `context`.
struct Project {
    store: ImageStore,
    name: &'static str,
}

impl Project {
    /// `bases` are pairs of a root file system that `tests/setup` makes and the image's name.
    fn new(name: &'static str, bases: &[(&str, &str)]) -> Self {
        let store = ImageStore::new();
        for (archive, image) in bases {
            store.import(&fixture(archive), image).succeeds();
        }
        let folder = project_root().join("tests/build/projects").join(name);
        store.tool("cp", &["-r", &folder.display().to_string(), "context"]);
        // Whatever the umask was when the repository was checked out.
        store.tool("chmod", &["-R", "u=rwX,go=rX", "context"]);
        Self { store, name }
    }

    #[track_caller]
    fn build(&self, flags: &[&str]) -> Outcome {
        self.try_build(flags).succeeds()
    }

    fn try_build(&self, flags: &[&str]) -> Outcome {
        let words = ["build", "--progress=plain", "-t", self.name, "--runtime"];
        let mut command = self.store.command(&words);
        command.arg(program("keel")).args(flags).arg("context");
        self.store.finish(command)
    }

    #[track_caller]
    fn is_as_by_buildah(&self, bases: &[&str], flags: &[&str], apart: &[&str]) {
        let image = format!("{}:latest", self.name);
        let differences = differences_from_buildah(&self.store, &image, bases, flags, apart);
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// Asks the server for each path, and ends it by the signal that the image names.
    #[track_caller]
    fn serves(&self, port: u16, answers: &[(&str, &str)]) {
        let server = Server::start(&self.store, self.name);
        for (path, wanted) in answers {
            assert_eq!(server.get(port, path), *wanted, "{path}");
        }
        server.stop();
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.store.beside("context").join(path), text).expect("a file");
    }
}

/// A container of an image, in a network of its own with nothing but the loopback interface.
struct Server<'a> {
    store: &'a ImageStore,
    bundle: PathBuf,
    started: Outcome,
    pid: String,
}

impl<'a> Server<'a> {
    #[track_caller]
    fn start(store: &'a ImageStore, image: &str) -> Self {
        let bundle = store.bundle(image, &[]);
        let file = store.beside("pid");
        let mut command = keel(store);
        command.args(["run", "--detach", "--pid-file"]).arg(&file).arg("-b").arg(&bundle);
        command.arg(store.name());
        let started = store.finish(command).succeeds();
        let pid = fs::read_to_string(&file).expect("a pid file").trim().to_owned();
        Self { store, bundle, started, pid }
    }

    fn runs(&self) -> bool {
        let state = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = state.rsplit_once(')').map(|(_, rest)| rest.trim().to_owned());
        state.is_some_and(|state| !state.starts_with('Z') && !state.is_empty())
    }

    /// The body of the page at a path, once the server answers.
    #[track_caller]
    fn get(&self, port: u16, path: &str) -> String {
        let url = format!("http://127.0.0.1:{port}{path}");
        eventually(&url, || {
            assert!(self.runs(), "the server has ended\n{}", self.started.report());
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{}/ns/net", self.pid));
            command.args(["busybox", "wget", "-q", "-O", "-", &url]).stderr(Stdio::null());
            let output = command.output().expect("nsenter");
            let body = || String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then(body)
        })
    }

    #[track_caller]
    fn stop(self) {
        let config = fs::read(self.bundle.join("config.json")).expect("a configuration");
        let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
        let signal = &config["annotations"]["org.opencontainers.image.stopSignal"];
        let mut command = keel(self.store);
        command.args(["kill", self.store.name(), signal.as_str().unwrap_or("SIGTERM")]);
        self.store.finish(command).succeeds();
        assert!(within_a_while(|| !self.runs()), "{signal} does not end it");
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let mut command = keel(self.store);
        command.args(["delete", "--force", self.store.name()]);
        let deleted = self.store.finish(command);
        assert!(std::thread::panicking() || deleted.status == 0, "{}", deleted.report());
    }
}

fn keel(store: &ImageStore) -> Command {
    let mut command = Runtime::named("keel").command();
    command.arg("--root").arg(store.beside("state"));
    command
}

/// DF-PROJECT-01: a program of a package that apt installs over the network of RUN, from the host's sources.
#[test]
fn a_program_that_apt_installs() {
    let project = Project::new("apt", &[("debian.tar", "debian:12")]);
    // As the host reaches its packages, by a mirror or a proxy, so does the build.
    let sources = ["--build-context", "apt=/etc/apt"];
    project.build(&sources);
    project.serves(8080, &[("/", "<h1>Installed by apt</h1>\n")]);
    project.write("site/more.html", "more\n");
    let said = project.build(&sources).stderr;
    assert!(said.contains("CACHED") && !said.contains("Setting up lighttpd"), "{said}");
    project.serves(8080, &[("/more.html", "more\n")]);
    // Logs and caches tell times; and where something was mounted buildah leaves out what the base has there.
    let apart = ["/var/log/", "/var/cache/", "/var/lib/apt/", "/etc/apt/"];
    project.is_as_by_buildah(&["debian:12"], &sources, &apart);
}

/// DF-PROJECT-02: a Python application with requirements from a folder of wheels, which pip resolves without a network.
#[test]
fn a_python_application() {
    let project = Project::new("python", &[("python.tar", "python:3.11")]);
    project.store.tool("python3", &["context/make_wheels.py", "context/wheels"]);
    project.build(&["--network=none"]);
    project.serves(8080, &[("/", "Hello, world!\n"), ("/Ada", "Hello, Ada!\n")]);
    project.is_as_by_buildah(&["python:3.11"], &[], &[]);
    let server = project.store.beside("context/app/server.py");
    let text = fs::read_to_string(server).expect("a file").replace("\"world\"", "\"all\"");
    project.write("app/server.py", &text);
    let said = project.build(&["--network=none"]).stderr;
    assert!(!said.contains("Successfully installed"), "{said}");
    project.serves(8080, &[("/", "Hello, all!\n")]);
    project.write("requirements.txt", "greetings==1.3\n");
    let failed = project.try_build(&["--network=none"]);
    let failed = failed.fails_naming(&["Dockerfile:7", "greetings==1.3"]);
    assert!(failed.stderr.contains("No matching distribution"), "{}", failed.stderr);
}

/// DF-PROJECT-03: a C program that is compiled in one stage and alone in the next.
#[test]
fn a_c_program_in_stages() {
    let project = Project::new("c", &[("compilers.tar", "gcc:12")]);
    let flags = ["--build-arg", "VERSION=1.2"];
    let said = project.build(&flags).stderr;
    assert!(!said.contains("CFLAGS=-g"), "a stage that nobody needs: {said}");
    project.store.call(&["build", "-o", "out", flags[0], flags[1], "context"]).succeeds();
    let names = fs::read_dir(project.store.beside("out")).expect("a folder").flatten();
    assert_eq!(names.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["server"]);
    project.serves(8080, &[("/", "C 1.2\n")]);
    project.is_as_by_buildah(&["gcc:12"], &flags, &[]);
}

/// DF-PROJECT-04: a Rust program of several crates, compiled with a cache that outlives the build.
#[test]
fn a_rust_program_in_stages() {
    let bases = [("compilers.tar", "rust:1.63"), ("debian.tar", "debian:12")];
    let project = Project::new("rust", &bases);
    let said = project.build(&[]).stderr;
    assert!(said.contains("test tests::greets_by_the_path ... ok"), "{said}");
    project.serves(8080, &[("/you", "Rust greets you\n")]);
    let main = fs::read_to_string(project.store.beside("context/src/main.rs")).expect("a file");
    project.write("src/main.rs", &main.replace("{body}", "{body}!"));
    let said = project.build(&[]).stderr;
    assert!(said.contains("Compiling server"), "{said}");
    assert!(!said.contains("Compiling greeting"), "it is in the cache: {said}");
}

/// DF-PROJECT-05: a static site on nginx.
#[test]
fn a_static_site() {
    let project = Project::new("nginx", &[("nginx.tar", "nginx:1.22")]);
    project.build(&[]);
    let site = project.store.beside("context/site");
    let page = |name: &str| fs::read_to_string(site.join(name)).expect("a file");
    project.serves(
        80,
        &[
            ("/", &page("index.html")),
            ("/style.css", &page("style.css")),
            ("/nowhere", &page("missing.html")),
        ],
    );
    project.is_as_by_buildah(&["nginx:1.22"], &[], &[]);
}
