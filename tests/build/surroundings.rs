//! Who builds, and what runs the commands: the image is the same.

use std::fs;
use std::process::Command;

use keel_tests::{ImageStore, OrdinaryUser, Outcome, Runtime, program};

/// Commands of root and of a user, files with owners, caches, a secret, a script, links and special bits.
const TEXT: &str = "FROM busybox:1
RUN echo root:x:0:0::/:/bin/sh > /etc/passwd; echo app:x:1000:1001::/:/bin/sh >> /etc/passwd; \
    printf 'app:x:1001:\\nmore:x:50:app\\n' > /etc/group; mkdir -p /srv && chown 1000:1001 /srv; id > /who
COPY --chown=33:65534 --chmod=640 file /srv/file
COPY --chown=app file /srv/named
RUN --mount=type=cache,target=/c,uid=1000,mode=0770 --mount=type=tmpfs,target=/t,size=1m \
    --mount=type=secret,id=s,uid=1000,mode=0400 --mount=type=secret,id=s,env=WORD --mount=type=bind,target=/b \
    (stat -c '%n %a %u:%g' /c /t /run/secrets/s; cat /b/file; echo ${#WORD}; env | sort | grep -v WORD) > /seen
USER app
RUN (id; id -G; umask; ulimit -n; hostname; cat /etc/hosts; grep -c . /proc/self/mounts >/dev/null) > /srv/own
WORKDIR /srv/job
RUN <<EOF
#!/bin/sh
mkdir inner && echo $0 > inner/name && mkfifo -m 600 pipe && ln -s inner link && (cd /srv && find . | sort | xargs stat -c '%n %a %u:%g %h') > list
EOF
USER 0
RUN chown 7:8 /srv/named; chown -h 9:10 /srv/job/link; chmod 6755 /bin/busybox; ln /srv/file /srv/hard; rm -r /home
";

/// The owners that the last layers must have.
const OWNERS: [(&str, &str); 5] = [
    ("srv/file", "33:65534 640"),
    ("srv/named", "7:8 644"),
    ("srv/own", "1000:1001 644"),
    ("srv/job/link", "9:10 777"),
    ("srv/job/pipe", "1000:1001 600"),
];

fn prepared(text: &str) -> ImageStore {
    let store = ImageStore::with_dockerfile(text);
    fs::write(store.beside("context/file"), "content\n").expect("a file");
    fs::write(store.beside("secret"), "a word").expect("a file");
    store.call(&["save", "-o", "base.tar", "busybox:1"]).succeeds();
    store
}

/// keel-image by root or by a user with these words first, where crun would start something.
fn command(store: &ImageStore, user: Option<&OrdinaryUser>, ids: &str) -> Command {
    // crun starts nothing where cgroups of both versions are.
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]);
    let inner = match user {
        Some(user) => store.command_of(user, &["--ids", ids]),
        None => store.command::<&str>(&[]),
    };
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(store.beside("")).env("SOURCE_DATE_EPOCH", "1700000000");
    command
}

#[track_caller]
fn build(store: &ImageStore, user: Option<&OrdinaryUser>, runtime: &str) -> Outcome {
    let mut command = command(store, user, "auto");
    command.args(["build", "--progress=plain", "--no-cache", "--network=none", "-t", "app:1"]);
    command.args(["--secret", "id=s,src=secret", "--runtime"]).arg(Runtime::named(runtime).path());
    command.arg("context");
    store.finish(command).succeeds()
}

/// The image's id as the build tells it.
fn id(outcome: &Outcome) -> String {
    let id = outcome.stderr.split("writing image ").nth(1).and_then(|rest| rest.lines().next());
    id.unwrap_or_else(|| panic!("no image: {}", outcome.report())).to_owned()
}

/// DF-SAME-01: with keel, runc and crun a build comes to the same image.
#[test]
fn any_runtime_comes_to_the_same_image() {
    let store = prepared(TEXT);
    let ids = ["keel", "runc", "crun"].map(|runtime| id(&build(&store, None, runtime)));
    assert_eq!([&ids[1], &ids[2]], [&ids[0]; 2]);
}

/// DF-SAME-02: an ordinary user's build comes to root's image, whichever runtime runs its commands, with the owners
/// that its instructions name.
#[test]
fn a_users_build_comes_to_roots_image() {
    let (store, user) = (prepared(TEXT), OrdinaryUser::of_the_machine());
    let of_root = id(&build(&store, None, "keel"));
    store.finish(store.command_of(&user, &["load", "-i", "base.tar"])).succeeds();
    for runtime in ["keel", "runc", "crun"] {
        assert_eq!(id(&build(&store, Some(&user), runtime)), of_root, "{runtime}");
    }
    let mut export = command(&store, Some(&user), "auto");
    export.args([
        "build",
        "--network=none",
        "--secret",
        "id=s,src=secret",
        "-o",
        "type=tar,dest=-",
    ]);
    let export = export.arg("context").output().expect("a build");
    fs::write(store.beside("files.tar"), export.stdout).expect("a file");
    fs::create_dir(store.beside("files")).expect("a folder");
    store.tool("tar", &["--numeric-owner", "-C", "files", "-xpf", "files.tar"]);
    for (path, wanted) in OWNERS {
        let path = store.beside("files").join(path).display().to_string();
        let seen = store.tool("stat", &["-c", "%u:%g %a", &path]).stdout;
        assert_eq!(seen.trim(), wanted, "{path}");
    }
}

/// DF-USER-01: a RUN of an ordinary user has the loopback interface only, and a failure for want of a network says what
/// gives one; with `--network=host` it has the host's.
#[test]
fn a_users_command_has_the_loopback_interface() {
    let text = "FROM busybox:1\nRUN cut -d: -f1 /proc/net/dev; wget -q -O - http://127.0.0.1:1/ || wget -O - http://some.invalid/\n";
    let (store, user) = (prepared(text), OrdinaryUser::of_the_machine());
    store.finish(store.command_of(&user, &["load", "-i", "base.tar"])).succeeds();
    let build = |flags: &[&str]| {
        let mut command = store.command_of(&user, &["build", "--progress=plain", "--runtime"]);
        command.arg(program("keel")).args(flags).arg("context");
        store.finish(command)
    };
    let failed = build(&[]).fails_naming(&["Dockerfile:2", "`--network=host`"]);
    assert!(
        failed.stderr.contains(" lo\n") && !failed.stderr.contains(" eth"),
        "{}",
        failed.stderr
    );
    let text = "FROM busybox:1\nRUN readlink /proc/self/ns/net\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let own = fs::read_link("/proc/self/ns/net").expect("a namespace").display().to_string();
    assert!(!build(&[]).succeeds().stderr.contains(&own));
    assert!(build(&["--network=host"]).succeeds().stderr.contains(&own));
}

/// DF-USER-02: with a single id a build whose files are all root's works; another owner is refused with what would
/// give it.
#[test]
fn a_single_id_builds_what_needs_no_other() {
    let text = "FROM busybox:1\nRUN mkdir /d && id -u > /d/id\nCOPY file /d/file\n";
    let (store, user) = (prepared(text), OrdinaryUser::of_the_machine());
    store.finish(store.command_of(&user, &["load", "-i", "base.tar"])).succeeds();
    let build = || {
        let mut command = command(&store, Some(&user), "single");
        command.args(["build", "--progress=plain", "--network=none", "--runtime"]);
        command.arg(program("keel")).arg("context");
        store.finish(command)
    };
    let of_user = id(&build().succeeds());
    let mut of_root = command(&store, None, "auto");
    of_root.args(["build", "--progress=plain", "--network=none", "--runtime"]);
    let of_root = store.finish({
        of_root.arg(program("keel")).arg("context");
        of_root
    });
    assert_eq!(of_user, id(&of_root.succeeds()));
    let text = "FROM busybox:1\nCOPY --chown=1000 file /file\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    build().fails_naming(&["Dockerfile:2", "change owner", "/etc/subuid", "--ids single"]);
}
