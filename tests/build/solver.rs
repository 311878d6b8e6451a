//! What is built at all, at what time, and by whom: stages at once, builds that meet, builds that end early,
//! and what is left of them in the cache.

use std::fs;
use std::process::{Command, Stdio};

use keel_tests::{ImageStore, Outcome, eventually};

fn write(store: &ImageStore, dockerfile: &str) {
    fs::write(store.beside("context/Dockerfile"), dockerfile).expect("a file");
}

fn command(store: &ImageStore) -> Command {
    store.command(&["build", "--progress=plain", "-t", "app:1", "context"])
}

fn build(store: &ImageStore) -> Outcome {
    store.finish(command(store))
}

/// Says that it is there, and waits for the other one to say so.
fn meet(own: &str, other: &str) -> String {
    format!(
        "RUN --mount=type=cache,id=meeting,target=/c touch /c/{own}; for i in $(seq 200); do [ -e /c/{other} ] && exit \
         0; sleep 0.1; done; exit 1"
    )
}

/// DF-SOLVE-01: stages that do not need one another are built at the same time; those that nothing needs are
/// neither built nor is their base looked for.
#[test]
fn stages_are_built_at_once_or_not_at_all() {
    let store = ImageStore::with_dockerfile(&format!(
        "FROM busybox:1 AS a\n{}\nFROM busybox:1 AS b\n{}\nFROM nosuch AS c\nRUN exit 7\nFROM scratch\nCOPY --from=a \
         /etc /a\nCOPY --from=b /etc /b\n",
        meet("a", "b"),
        meet("b", "a")
    ));
    build(&store).succeeds();
}

/// DF-SOLVE-02: of two builds that come to the same step at the same time one does it, and the other takes its
/// result; where the first one fails the other does it itself.
#[test]
fn builds_share_their_work() {
    let log = "--mount=type=cache,id=log,target=/c";
    let store = ImageStore::with_dockerfile(&format!(
        "FROM busybox:1\nRUN {log} echo done >> /c/log; sleep 2\n"
    ));
    let begin = || command(&store).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut both = [begin().expect("keel-image"), begin().expect("keel-image")];
    for child in &mut both {
        assert!(child.wait().expect("a child").success());
    }
    write(&store, &format!("FROM busybox:1\nRUN {log} wc -l < /c/log\n"));
    let said = build(&store).succeeds().stderr;
    assert!(said.contains(" 1\n"), "the step was done more than once: {said}");
    let left = fs::read_dir(store.path().join("cache/turns")).expect("a folder").count();
    assert_eq!(left, 0, "a lock is left");
}

/// DF-SOLVE-03: a build that fails or is interrupted leaves what it has finished to the next one, whatever is
/// collected in between, and nothing else.
#[test]
fn builds_go_on_from_where_they_ended() {
    let steps = "FROM busybox:1 AS other\nRUN echo 0 > /0\nFROM busybox:1\nCOPY --from=other /0 /\nRUN echo 1 > /1\n";
    let store = ImageStore::with_dockerfile(&format!("{steps}RUN exit 3\n"));
    build(&store).exits(1);
    store.call(&["prune", "-f", "--grace", "0s"]).succeeds();
    write(&store, &format!("{steps}RUN echo began; sleep 100\n"));
    let log = fs::File::create(store.beside("log")).expect("a file");
    let mut child = command(&store).stdout(Stdio::null()).stderr(log).spawn().expect("keel-image");
    let said = || fs::read_to_string(store.beside("log")).unwrap_or_default();
    eventually("the last step runs", || said().contains(" began\n").then_some(()));
    let pid = child.id().to_string();
    store.tool("kill", &["-INT", &pid]);
    assert!(!child.wait().expect("a child").success());
    assert_eq!(said().matches("CACHED").count(), 3, "{}", said());
    store.call(&["prune", "-f", "--grace", "0s"]).succeeds();
    write(&store, &format!("{steps}RUN echo 2 > /2\n"));
    let said = build(&store).succeeds().stderr;
    assert_eq!(said.matches("CACHED").count(), 3, "{said}");
    let left = fs::read_dir(store.path().join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "something is left of the builds");
}

/// DF-SOLVE-04: `builder du` lists steps and cache mounts; `builder prune` gives back the steps that no image
/// needs, cache mounts where they are named, and everything with `--all`; images stay whole.
#[test]
fn the_cache_is_listed_and_given_back() {
    let mount = "--mount=type=cache,id=pip,target=/c";
    let text = format!(
        "FROM busybox:1 AS one\nRUN echo 1 > /1\nFROM busybox:1\nRUN {mount} echo x >> /c/kept; cp /c/kept /k\n"
    );
    let store = ImageStore::with_dockerfile(&text);
    store.call(&["build", "--target", "one", "context"]).succeeds();
    build(&store).succeeds();
    let list = |words: &[&str]| {
        let rows = store.call(&[&["builder", "du", "--json"], words].concat()).succeeds().json();
        rows.as_array().expect("rows").clone()
    };
    let mounts = list(&["--filter", "type=exec.cachemount"]);
    assert_eq!(
        (mounts.len(), &mounts[0]["Mount"], &mounts[0]["Size"]),
        (1, &"pip".into(), &2.into())
    );
    assert!(list(&["--filter", "type=regular"]).len() >= 2);
    let table = store.call(&["builder", "du"]).succeeds().stdout;
    assert!(table.contains("exec.cachemount") && table.contains("Reclaimable:"), "{table}");
    store.call(&["rmi", "-f", "app:1"]).succeeds();
    store.call(&["builder", "prune", "-f"]).succeeds();
    assert_eq!(
        list(&["--filter", "id=pip"]).len(),
        1,
        "a cache mount is not taken unless it is named"
    );
    let said = build(&store).succeeds().stderr;
    assert_eq!(said.matches("CACHED").count(), 0, "{said}");
    let kept = || store.run_on("keel", "app:1", &["/bin/cat", "/k"]).succeeds().stdout;
    assert_eq!(kept(), "x\nx\n");
    store.call(&["builder", "prune", "-f", "--filter", "type=exec.cachemount"]).succeeds();
    store.call(&["builder", "prune", "-f", "--all"]).succeeds();
    assert_eq!(list(&[]).len(), 0);
    assert_eq!(kept(), "x\nx\n");
    store.call(&["fsck"]).succeeds();
    assert_eq!(build(&store).succeeds().stderr.matches("CACHED").count(), 0);
    assert_eq!(kept(), "x\n");
    store.call(&["builder", "prune", "-f", "--filter", "color=red"]).exits(125).says(&["color"]);
}

/// DF-SOLVE-05: a cache mount goes to another store as a tar, with owners, modes, links and times, by its id or its name in
/// the list; what was there gives way, a damaged tar changes nothing, and one that a build has for itself is refused.
#[test]
fn cache_mounts_are_handed_on() {
    let mount = "--mount=type=cache,id=pip,target=/c,uid=7,gid=8,mode=0750,sharing=locked";
    let fill = "cd /c; mkdir -p a/b; echo x > a/b/f; chown 9:10 a/b/f; chmod 4751 a/b/f; ln a/b/f hard; ln -s a link; \
        mkfifo pipe; touch -d @1000000000 a";
    let show = "cd /c; find . | sort | xargs stat -c '%n %a %u:%g %F'; stat -c '%Y %h' a hard; readlink link; cat hard";
    let store = ImageStore::with_dockerfile(&format!(
        "FROM busybox:1\nRUN {mount} {fill}\nRUN {mount} {show}\n"
    ));
    let shown = |store: &ImageStore| {
        let said = store.build(&["--progress=plain", "--no-cache"]).succeeds().stderr;
        let lines = said.lines().filter_map(|line| line.split_once(' ')?.1.split_once(' '));
        let lines = lines.filter(|(time, _)| time.parse::<f64>().is_ok());
        lines.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    let first = shown(&store);
    assert!(first.contains(&"./a/b/f 4751 9:10 regular file".to_owned()), "{first:?}");
    store.call(&["builder", "export", "pip", "-o", "pip.tar"]).succeeds();
    let rows = store.call(&["builder", "du", "--json", "--filter", "id=pip"]).succeeds().json();
    let name = rows[0]["ID"].as_str().expect("an id").to_owned();
    store.call(&["builder", "export", &name[..12], "-o", "by-name.tar"]).succeeds();
    assert!(
        fs::read(store.beside("pip.tar")).expect("a tar")
            == fs::read(store.beside("by-name.tar")).expect("a tar")
    );
    store
        .call(&["builder", "export", "pop", "-o", "no.tar"])
        .fails_naming(&["no cache mount pop", "builder du"]);
    assert!(!store.beside("no.tar").exists());

    let text = format!("FROM busybox:1\nRUN {mount} {show}\n");
    let other = ImageStore::with_dockerfile(&text);
    let tar = store.beside("pip.tar").display().to_string();
    store.tool("gzip", &["-k", "pip.tar"]);
    for input in [tar.clone(), format!("{tar}.gz")] {
        other.call(&["builder", "import", "pip", "-i", &input]).succeeds();
        assert_eq!(shown(&other), first);
    }
    fs::write(other.beside("damaged"), &fs::read(&tar).expect("a tar")[..3000]).expect("a file");
    other.call(&["builder", "import", "pip", "-i", "damaged"]).fails_naming(&["cannot unpack"]);
    assert_eq!(shown(&other), first);
    let held = fs::File::open(other.path().join("cache/mounts").join(format!("{name}.lock")))
        .expect("a lock");
    held.lock().expect("a lock");
    for words in [["export", "pip", "-o", "x.tar"], ["import", "pip", "-i", &tar]] {
        other
            .call(&[&["builder"], &words[..]].concat())
            .fails_naming(&["pip is in use by a build"]);
    }
}
