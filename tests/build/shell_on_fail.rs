//! `build --shell-on-fail`: looking around where a RUN failed.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use keel_tests::ImageStore;

const TEXT: &str = "FROM busybox:1
ENV WHO=me
WORKDIR /there
RUN chmod 777 .
USER 7:8
RUN --mount=type=secret,id=s,env=TOKEN --mount=type=tmpfs,target=/lent echo half > half; exit 3
";

fn store() -> ImageStore {
    let store = ImageStore::with_dockerfile(TEXT);
    fs::write(store.beside("secret"), "hidden").expect("a file");
    store
}

fn build(store: &ImageStore, flags: &[&str]) -> Command {
    let mut command = store.command(&["build", "--progress=plain", "--secret", "id=s,src=secret"]);
    command.args(flags).arg("context").current_dir(store.beside("."));
    command
}

fn has_nothing_left(store: &ImageStore) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    assert!(!mounts.contains(store.name()), "{mounts}");
    let tmp = fs::read_dir(store.path().join("tmp")).expect("a folder").count();
    assert_eq!(tmp, 0, "something is left in the store");
}

/// DF-SHELL-01: commands on the standard input find the rootfs as the failed one left it, its user, folder, variables,
/// secrets and mounts; then the build fails with the step's error, and nothing is left.
#[test]
fn commands_look_around() {
    let store = store();
    let mut command = build(&store, &["--shell-on-fail"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a build");
    let asked = "cat half; echo $(pwd) $(id -u):$(id -g) $WHO $TOKEN; grep -c ' /lent ' /proc/mounts; touch more; exit 9\n";
    child.stdin.take().expect("a pipe").write_all(asked.as_bytes()).expect("a reader");
    let output = child.wait_with_output().expect("its end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "half\n/there 7:8 me hidden\n1\n",
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("Error: Dockerfile:6:1: RUN"), "{stderr}");
    assert!(stderr.contains("returned a non-zero code: 3"), "{stderr}");
    assert!(!stderr.contains("hint: "), "{stderr}");
    has_nothing_left(&store);
}

/// DF-SHELL-02: at a terminal the shell has it; another command can be named.
#[test]
fn a_shell_has_the_terminal() {
    let store = store();
    let plain = build(&store, &["--shell-on-fail=/bin/busybox ash"]);
    let words = std::iter::once(plain.get_program()).chain(plain.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script.args(["-q", "-e", "-c", &line.join(" "), "/dev/null"]).current_dir(store.beside("."));
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = script.spawn().expect("script");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"test -t 0 && echo has-$((40 + 2)); exit\n").expect("a reader");
    let output = child.wait_with_output().expect("its end");
    drop(stdin);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("has-42"), "{said}");
    assert!(said.contains("returned a non-zero code: 3"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    has_nothing_left(&store);
}

/// DF-SHELL-03: without it the error says that there is such a thing; a command that the image does not have is told,
/// and nothing is left; `verify-rebuild` refuses it.
#[test]
fn it_is_proposed_and_refused() {
    let store = store();
    let said = store.finish(build(&store, &[])).exits(1).stderr;
    assert!(said.contains("hint: `--shell-on-fail`"), "{said}");
    let said = store.finish(build(&store, &["--shell-on-fail=/bin/fish"])).exits(1).stderr;
    assert!(said.contains("/bin/fish"), "{said}");
    has_nothing_left(&store);
    store.call(&["verify-rebuild", "--shell-on-fail", "context"]).exits(125);
}
