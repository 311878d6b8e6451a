//! The flags of `keel-image build`: what docker's do, and a refusal by name for what they do not.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use keel_tests::{ImageStore, Protection, Registry};
use serde_json::Value;

/// The command line of a build with these flags.
fn command(store: &ImageStore, flags: &[&str]) -> Command {
    let mut words = vec!["build"];
    words.extend_from_slice(flags);
    words.push("context");
    store.command(&words)
}

fn inspect(store: &ImageStore, name: &str) -> Value {
    store.call(&["inspect", name]).succeeds().json()[0].clone()
}

/// DF-FLAG-01: `-t` may be given several times, and every name is the same image; `--iidfile` and `-q` have
/// its id; a name with a digest is refused.
#[test]
fn names_an_image_several_times() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nLABEL a=b\n");
    let quiet = store.build(&["-q", "-t", "one", "-t", "host:5000/two:3", "--iidfile", "id"]);
    let quiet = quiet.succeeds();
    let id = inspect(&store, "one:latest")["Id"].as_str().expect("an id").to_owned();
    assert_eq!(inspect(&store, "host:5000/two:3")["Id"], id.as_str());
    assert_eq!(fs::read_to_string(store.beside("id")).expect("a file"), id);
    assert_eq!((quiet.stdout, quiet.stderr), (format!("{id}\n"), String::new()));
    let digest = format!("x@{id}");
    store.build(&["-t", &digest]).exits(125).says(&["--tag", "digest"]);
}

/// DF-FLAG-02: the Dockerfile is the file of `-f`, wherever it is, or the standard input with `-f -`.
#[test]
fn takes_the_dockerfile_from_elsewhere() {
    let store = ImageStore::with_dockerfile("FROM nosuch\n");
    fs::write(store.beside("other"), "FROM busybox:1\nLABEL from=file\nCOPY Dockerfile /\n")
        .expect("a file");
    store.build(&["-t", "a", "-f", "other"]).succeeds();
    assert_eq!(inspect(&store, "a")["Config"]["Labels"]["from"], "file");
    let mut standard = command(&store, &["-t", "b", "-f", "-"]);
    standard.stdin(fs::File::open(store.beside("other")).expect("a file"));
    let said = standard.output().expect("keel-image");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(inspect(&store, "b")["Id"], inspect(&store, "a")["Id"]);
}

/// DF-FLAG-03: `--build-arg NAME` takes the value of the environment, and is not given where that has none.
#[test]
fn takes_arguments_from_the_environment() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1\nARG GIVEN=default\nARG UNSET=default\nENV A=$GIVEN B=$UNSET\n",
    );
    let mut call = command(&store, &["-t", "a", "--build-arg", "GIVEN", "--build-arg", "UNSET"]);
    call.env("GIVEN", "from here").env_remove("UNSET");
    store.finish(call).succeeds();
    let env = inspect(&store, "a")["Config"]["Env"].to_string();
    assert!(env.contains("A=from here") && env.contains("B=default"), "{env}");
}

/// DF-FLAG-04: a named context wins over a stage and an image of its name: a directory with its own
/// `.dockerignore`, another image, an image of a layout, a stage.
#[test]
fn named_contexts_stand_in() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1 AS replaced\nRUN exit 7\nFROM base:9\nCOPY --from=files . /files/\nCOPY --from=replaced \
         /mark /mark\n",
    );
    fs::create_dir_all(store.beside("files")).expect("a folder");
    for (name, text) in [("a", "a"), ("b", "b"), (".dockerignore", "b\n"), ("mark", "m")] {
        fs::write(store.beside("files").join(name), text).expect("a file");
    }
    store.call(&["copy", "busybox:1", "oci:layout:box"]).succeeds();
    let flags = [
        "-t",
        "a",
        "--build-context",
        "files=files",
        "--build-context",
        "replaced=files",
        "--build-context",
    ];
    for place in ["base:9=docker-image://busybox:1", "base:9=oci-layout://layout:box"] {
        let mut flags = flags.to_vec();
        flags.push(place);
        store.build(&flags).succeeds();
        let seen = store.run_on("keel", "a", &["/bin/ls", "-A", "/files"]).succeeds();
        assert_eq!(seen.stdout, ".dockerignore\na\nmark\n", "{place}");
    }
    let text = "FROM scratch AS empty\nFROM base\nCOPY --from=x /bin/busybox /busybox\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    store
        .build(&[
            "--build-context",
            "base=target:empty",
            "--build-context",
            "x=docker-image://busybox:1",
        ])
        .succeeds();
    let seen =
        |image: &str| store.run_on("keel", image, &["/busybox", "ls", "-A", "/"]).succeeds().stdout;
    let digest = store.tool("skopeo", &["inspect", "--raw", "oci:layout:box"]).stdout;
    let digest = keel_tests::digest(digest.as_bytes());
    for place in ["oci-layout://layout", &format!("oci-layout://layout@{digest}")] {
        let x = format!("x={place}");
        store
            .build(&[
                "-t",
                "b",
                "--build-context",
                "base=docker-image://scratch",
                "--build-context",
                &x,
            ])
            .succeeds();
        assert!(seen("b").contains("busybox\n") && !seen("b").contains("bin\n"), "{place}");
    }
    store.build(&["--build-context", "x=/no/such/folder"]).exits(125);
    store.build(&["--build-context", "x"]).exits(125);
}

/// DF-FLAG-13: the files of a named context that is a directory are the base of a stage, or the whole of a stage of that
/// name, also as the target and by number: one layer, no configuration, cached by content, `.dockerignore` heeded.
#[test]
fn a_directory_is_a_base() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1 AS made\nRUN exit 7\nFROM root\nENV A=1\nCOPY --from=0 /mark /mark\nRUN echo run > /run-file\n",
    );
    store.tool(
        "sh",
        &[
            "-c",
            "mkdir -p files root/etc && tar -C root -xf \"$1\" && echo x > root/dropped && \
        echo dropped > root/.dockerignore && echo m > files/mark && chown 5:6 root/etc",
            "sh",
            &keel_tests::fixture("busybox.tar").display().to_string(),
        ],
    );
    let flags = ["--build-context", "root=root", "--build-context", "made=files", "-t", "a"];
    let explained = store.build(&[&flags[..], &["--explain=json"]].concat()).succeeds().json();
    let bases: Vec<_> = explained["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter(|step| step["step"] == 0)
        .collect();
    assert_eq!(bases.len(), 2, "{explained}");
    assert_eq!(
        (&bases[0]["inputs"][0], &bases[1]["inputs"][0]),
        (&"context made".into(), &"context root".into())
    );
    let script = "ls -d /dropped; cat /mark /run-file; stat -c %u:%g /etc";
    let seen = store.run_on("keel", "a", &["/bin/sh", "-c", script]).succeeds().stdout;
    assert_eq!(seen, "m\nrun\n0:0\n");
    let image = inspect(&store, "a");
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(3));
    assert_eq!(image["Config"]["Env"][1], "A=1");
    assert_eq!(image["Config"]["Cmd"], serde_json::Value::Null);
    let again = store.build(&[&flags[..], &["--progress=plain"]].concat()).succeeds().stderr;
    assert_eq!(again.matches("CACHED").count(), 4, "{again}");
    store.build(&[&flags[..], &["--target", "made", "-o", "out"]].concat()).succeeds();
    assert_eq!(fs::read_to_string(store.beside("out/mark")).expect("a file"), "m\n");
    fs::write(store.beside("root/new"), "n").expect("a file");
    let dry = store.build(&[&flags[..], &["--dry-run"]].concat()).succeeds().stdout;
    assert!(dry.contains("would run  [1 0] FROM root"), "{dry}");
    let told = store.build(&[&flags[..], &["--explain"]].concat()).succeeds().stdout;
    assert!(told.contains("ran        [1 0] FROM root") && told.contains("base image"), "{told}");
    assert_eq!(store.run_on("keel", "a", &["/bin/cat", "/new"]).succeeds().stdout, "n");
    // Nothing in it is a base, too.
    fs::create_dir(store.beside("nothing")).expect("a folder");
    fs::write(store.beside("context/Dockerfile"), "FROM root\nLABEL a=1\n").expect("a file");
    store.build(&["--build-context", "root=nothing"]).succeeds();
}

/// DF-FLAG-05: a build for another platform needs no emulator as long as it runs nothing of it; several
/// platforms make an index, which other tools read.
#[test]
fn builds_for_other_platforms() {
    let store = ImageStore::with_dockerfile(
        "FROM --platform=$BUILDPLATFORM busybox:1 AS tool\nARG TARGETPLATFORM\nARG BUILDPLATFORM\nRUN echo \
         $TARGETPLATFORM by $BUILDPLATFORM > /for\nFROM scratch\nCOPY --from=tool /for /\n",
    );
    store.build(&["-t", "one", "--platform", "linux/arm/v7"]).succeeds();
    let image = inspect(&store, "one");
    assert_eq!((&image["Architecture"], &image["Variant"]), (&"arm".into(), &"v7".into()));
    store.build(&["-t", "two", "--platform", "linux/arm64,linux/amd64"]).succeeds();
    let index = store.tool("skopeo", &["inspect", "--raw", "oci:store:two:latest"]).json();
    let of = |at: usize| index["manifests"][at]["platform"]["architecture"].clone();
    assert_eq!((of(0), of(1)), ("arm64".into(), "amd64".into()));
    store.build(&["-o", "out", "--platform", "linux/arm64,linux/amd64"]).succeeds();
    let seen = fs::read_to_string(store.beside("out/linux_arm64/for")).expect("a file");
    assert_eq!(seen, "linux/arm64 by linux/amd64\n");
    fs::write(store.beside("context/Dockerfile"), "FROM scratch\nCOPY Dockerfile /\nRUN true\n")
        .expect("a file");
    store.build(&["--platform", "linux/s390x"]).fails_naming(&[
        "Dockerfile:3",
        "linux/s390x",
        "emulator",
    ]);
    store.build(&["--platform", "a/b/c/d"]).exits(125);
}

/// DF-FLAG-06: `--no-cache-filter` does the steps of the named stages anew, and those of others not.
#[test]
fn a_filter_says_what_is_done_anew() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1 AS one\nRUN echo 1 > /1\nFROM busybox:1 AS two\nRUN echo 2 > /2\nFROM scratch\nCOPY --from=one /1 \
         /\nCOPY --from=two /2 /\n",
    );
    store.build(&[]).succeeds();
    let again = store.build(&["--no-cache-filter", "Two", "--progress=plain"]).succeeds();
    assert_eq!(again.stderr.matches("CACHED").count(), 3, "{}", again.stderr);
}

/// DF-FLAG-07: `--label` wins over the Dockerfile's, `--annotation` goes into the manifest.
#[test]
fn labels_and_annotations_are_put_on() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nLABEL a=1 b=2\n");
    store
        .build(&["-t", "x:1", "--label", "b=3", "--label", "c", "--annotation", "org.x=y"])
        .succeeds();
    let labels = inspect(&store, "x:1")["Config"]["Labels"].clone();
    assert_eq!(labels, serde_json::json!({ "a": "1", "b": "3", "c": "" }));
    let manifest = store.tool("skopeo", &["inspect", "--raw", "oci:store:x:1"]).json();
    assert_eq!(manifest["annotations"]["org.x"], "y");
    store.build(&["--annotation", "novalue"]).exits(125).says(&["novalue"]);
}

/// DF-FLAG-08: RUN sees the hosts of `--add-host`, the limits of `--ulimit` and `/dev/shm` of `--shm-size`; a
/// host's address does not change the cache, a limit does.
#[test]
fn run_has_the_surroundings_that_are_given() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1\nRUN grep far /etc/hosts; ulimit -n; df /dev/shm | tail -1; cat /proc/self/cgroup\n",
    );
    let flags = |address: &'static str, limit: &'static str| {
        ["--progress=plain", "--shm-size", "8m", "--add-host", address, "--ulimit", limit]
    };
    let said = store.build(&flags("far.away:10.1.2.3", "nofile=77:88")).succeeds().stderr;
    assert!(said.contains("10.1.2.3\tfar.away"), "{said}");
    assert!(said.contains(" 77\n") && said.contains(" 8192 "), "{said}");
    let moved = store.build(&flags("far.away=[::9]", "nofile=77:88")).succeeds().stderr;
    assert!(moved.contains("CACHED"), "{moved}");
    let limited = store.build(&flags("far.away=[::9]", "nofile=78:88")).succeeds().stderr;
    assert!(!limited.contains("CACHED"), "{limited}");
    let parent = format!("/{}", store.name());
    let flags = [&flags("far.away=[::9]", "nofile=78:88")[..], &["--cgroup-parent", &parent]];
    let grouped = store.build(&flags.concat()).succeeds().stderr;
    // Where there is version 2 alone the container has a cgroup namespace of its own.
    let is_seen = !Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(grouped.contains(&format!(":{parent}/")), is_seen, "{grouped}");
    assert!(!grouped.contains("CACHED"), "{grouped}");
    store.tool(
        "find",
        &["/sys/fs/cgroup", "-depth", "-type", "d", "-name", store.name(), "-delete"],
    );
    store.build(&["--cgroup-parent", "/a/../b"]).exits(125).says(&["--cgroup-parent"]);
    store.build(&["--ulimit", "files=1"]).exits(125).says(&["files"]);
    store.build(&["--add-host", "a:b"]).exits(125).says(&["add-host"]);
}

/// DF-FLAG-09: a base that the store does not have is fetched from its registry; with `--pull` also one that
/// has changed there.
#[test]
fn bases_are_fetched() {
    let store = ImageStore::with_dockerfile("");
    let registry = Registry::start(Protection::None);
    let name = registry.name("team/base:1");
    let publish = |label: &str| {
        let text = format!("FROM busybox:1\nLABEL version={label}\n");
        fs::write(store.beside("context/Dockerfile"), text).expect("a file");
        store.build(&["--push", "-t", &name]).succeeds();
    };
    publish("one");
    let other = ImageStore::new();
    fs::create_dir(other.beside("context")).expect("a folder");
    fs::write(other.beside("context/Dockerfile"), format!("FROM {name}\n")).expect("a file");
    let version = |flags: &[&str]| {
        let mut flags = flags.to_vec();
        flags.extend(["-t", "app"]);
        other.build(&flags).succeeds();
        inspect(&other, "app")["Config"]["Labels"]["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(version(&[]), "one");
    publish("two");
    assert_eq!(version(&[]), "one");
    assert_eq!(version(&["--pull"]), "two");
}

/// DF-FLAG-10: progress is told in lines, as BuildKit's JSON, or not at all; `tty` needs a terminal.
#[test]
fn progress_is_told_as_asked() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN echo said\n");
    let raw = store.build(&["--progress=rawjson"]).succeeds();
    let lines: Vec<Value> =
        raw.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let all = |key: &str| lines.iter().filter_map(|line| line[key][0].as_object()).count();
    assert!(all("vertexes") >= 4 && all("logs") == 1, "{}", raw.stderr);
    let log = lines.iter().find_map(|line| line["logs"][0]["data"].as_str()).expect("a log");
    assert_eq!(log, "c2FpZAo=");
    let mut by_variable = command(&store, &[]);
    by_variable.env("BUILDKIT_PROGRESS", "quiet");
    assert_eq!(store.finish(by_variable).succeeds().stderr, "");
    store.build(&["--progress=tty"]).exits(125).says(&["terminal"]);
    store.build(&["--progress=loud"]).exits(125).says(&["loud"]);
}

/// DF-FLAG-11: `--check`, `--call=outline` and `--call=targets` look at the Dockerfile and build nothing.
#[test]
fn calls_look_and_build_nothing() {
    let store = ImageStore::with_dockerfile(
        "ARG BASE=nosuch\nFROM $BASE AS one\nARG A=1\nRUN --mount=type=secret,id=key,required true\nFROM one\n",
    );
    assert!(store.build(&["--check"]).succeeds().stdout.contains("no warnings found"));
    let outline =
        store.build(&["--call=outline,format=json", "--build-arg", "A=2"]).succeeds().json();
    assert_eq!(outline["args"]["A"], "2");
    assert_eq!(outline["args"]["BASE"], "nosuch");
    assert_eq!(outline["secrets"]["key"], true);
    let targets = store.build(&["--call=targets,format=json"]).succeeds().json();
    assert_eq!((&targets["default"], &targets["targets"][0]["name"]), (&"1".into(), &"one".into()));
    assert!(store.build(&["--call", "targets"]).succeeds().stdout.contains("1 (default)"));
    store.build(&["--call=guess"]).exits(125).says(&["guess"]);
    // A check tells every finding with its place, and fails; another look at the same Dockerfile does not.
    let text =
        "FROM nosuch AS One\nMAINTAINER x\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let said = store.build(&["--call=check"]).exits(1);
    let found: Vec<&str> =
        said.stdout.lines().filter(|line| line.starts_with("WARNING: ")).collect();
    let rules =
        ["1:1: StageNameCasing: ", "2:1: MaintainerDeprecated: ", "5:1: LegacyKeyValueFormat: "];
    assert_eq!(found.len(), rules.len(), "{}", said.stdout);
    for (line, rule) in found.iter().zip(rules) {
        assert!(line.starts_with(&format!("WARNING: Dockerfile:{rule}")), "{line}");
    }
    assert!(
        said.stdout.ends_with("\nCheck complete, 3 warnings have been found!\n"),
        "{}",
        said.stdout
    );
    let listed = store.build(&["--call=check,format=json"]).exits(1).json();
    assert_eq!(listed["warnings"].as_array().map(Vec::len), Some(3), "{listed}");
    store.build(&["--call=targets"]).succeeds();
    store.build(&["--check", "--call=targets"]).exits(125);
    fs::write(store.beside("context/Dockerfile"), "FORM x\n").expect("a file");
    store.build(&["--check"]).fails_naming(&["Dockerfile:1", "FORM"]);
}

/// DF-FLAG-12: a secret or an agent that is not there is told before anything is built, and so is a flag
/// that means nothing, with one that was perhaps meant.
#[test]
fn what_is_not_there_is_told_at_once() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\n");
    store.build(&["--secret", "id=a,src=/no/such"]).exits(125).says(&["/no/such"]);
    store.build(&["--secret", "src=/dev/null"]).exits(125).says(&["id"]);
    store.build(&["--ssh", "default=/dev/null"]).exits(125).says(&["socket"]);
    let _agent = UnixListener::bind(store.beside("agent")).expect("a socket");
    store.build(&["--ssh", "default=agent", "--secret", "id=PATH"]).succeeds();
    store.build(&["--no-cahce"]).exits(125).says(&["--no-cahce", "--no-cache"]);
    store.build(&["--squash"]).exits(125).says(&["--squash"]);
    store.build(&["--sbom=perhaps"]).exits(125).says(&["--sbom"]);
    store.build(&["--sbom=false", "--provenance=false", "--rm", "--pull=false"]).succeeds();
}
