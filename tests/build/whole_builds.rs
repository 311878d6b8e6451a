//! Whole builds on real bases, checked by two runtimes and by other people's tools.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use keel_tests::{ImageStore, fixture, listing};

const ON_BUSYBOX: &str = r#"FROM busybox:1 AS tools
ARG VERSION=1.2
RUN mkdir -p /out/bin && echo "version $VERSION" > /out/version && chmod 0604 /out/version
RUN printf '#!/bin/sh\necho built-tool "$@"\n' > /out/bin/tool && chmod 755 /out/bin/tool && ln -s tool /out/bin/alias

FROM busybox:1
LABEL org.example.purpose="test" two=2
ENV GREETING=hello HOME=/home/app
WORKDIR /srv/app
COPY --from=tools /out /usr/local
COPY --chown=1000:1000 src/ ./src/
ADD extra.tar.gz /opt/
RUN adduser -D -u 1000 app 2>/dev/null || echo 'app:x:1000:1000::/home/app:/bin/sh' >> /etc/passwd; \
    mkdir -p /home/app && chown 1000:1000 /home/app && rm -rf /tmp/*
EXPOSE 8080/tcp
VOLUME /data
STOPSIGNAL SIGINT
USER 1000
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat /usr/local/version; /usr/local/bin/alias x; id -u; pwd; echo $GREETING; ls -ln src; cat src/link; cat /opt/packed; stat -c %a /usr/local/version 2>/dev/null; true"]
"#;

const ON_DEBIAN: &str = r#"FROM debian:12 AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND=noninteractive
WORKDIR /pkg
RUN mkdir -p keel-hello/DEBIAN keel-hello/usr/bin && \
    printf 'Package: keel-hello\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n' > keel-hello/DEBIAN/control && \
    printf '#!/bin/sh\necho installed by dpkg\n' > keel-hello/usr/bin/keel-hello && chmod 755 keel-hello/usr/bin/keel-hello
RUN dpkg-deb --build keel-hello && ls *.deb | grep keel

FROM debian:12
COPY --from=build /pkg/keel-hello.deb /tmp/
RUN dpkg -i /tmp/keel-hello.deb && rm /tmp/keel-hello.deb
RUN groupadd -g 2000 team && useradd -u 2001 -g team -m -s /bin/bash worker && \
    install -o worker -g team -m 2750 -d /srv/shared && ln -s /srv/shared /home/worker/shared
COPY --chmod=0600 --chown=worker:team src/plain /srv/shared/plain
ENV LANG=C.UTF-8 PS1=x
WORKDIR /home/worker
USER worker:team
ENTRYPOINT ["/bin/bash", "-c"]
CMD ["keel-hello; id; pwd; stat -c '%a %U %G %n' shared/ shared/plain; dpkg -s keel-hello | grep Version; cat shared/plain"]
"#;

/// A store with the base, and a context folder with files, a link and an archive.
fn prepared(base: &str, name: &str, dockerfile: &str) -> (ImageStore, PathBuf) {
    let store = ImageStore::new();
    store.import(&fixture(base), name).succeeds();
    let context = store.beside("context");
    fs::create_dir_all(context.join("src")).expect("a folder");
    fs::write(context.join("src/plain"), "plain text\n").expect("a file");
    symlink("plain", context.join("src/link")).expect("a link");
    fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    store.tool("sh", &["-c", "echo packed > packed && tar -czf context/extra.tar.gz packed"]);
    (store, context)
}

#[track_caller]
fn build(store: &ImageStore, context: &Path, flags: &[&str]) -> keel_tests::Outcome {
    let mut words = vec!["build", "-t", "app:1"];
    words.extend_from_slice(flags);
    let context = context.display().to_string();
    words.push(&context);
    store.call(&words).succeeds()
}

/// DF-BUILD-01: a multi-stage build on busybox runs on keel and on runc with the same output.
#[test]
fn on_busybox() {
    let (store, context) = prepared("busybox.tar", "busybox:1", ON_BUSYBOX);
    build(&store, &context, &[]);
    let wanted = store.run_on("runc", "app:1", &[]).succeeds();
    for line in ["version 1.2", "built-tool x", "1000", "/srv/app", "hello", "plain text", "packed"]
    {
        assert!(wanted.stdout.lines().any(|seen| seen == line), "{line}\n{}", wanted.report());
    }
    assert_eq!(store.run_on("keel", "app:1", &[]).succeeds().stdout, wanted.stdout);
}

/// DF-BUILD-02: a multi-stage build on Debian, with packages, users and modes, runs on keel and on runc with the
/// same output.
#[test]
fn on_debian() {
    let (store, context) = prepared("debian.tar", "debian:12", ON_DEBIAN);
    build(&store, &context, &[]);
    let wanted = store.run_on("runc", "app:1", &[]).succeeds();
    for line in [
        "installed by dpkg",
        "uid=2001(worker) gid=2000(team) groups=2000(team)",
        "/home/worker",
        "2750 worker team shared/",
        "600 worker team shared/plain",
        "Version: 1.0",
        "plain text",
    ] {
        assert!(wanted.stdout.lines().any(|seen| seen == line), "{line}\n{}", wanted.report());
    }
    assert_eq!(store.run_on("keel", "app:1", &[]).succeeds().stdout, wanted.stdout);
}

/// DF-BUILD-03: the image's configuration is what the instructions say, as skopeo and jq read it.
#[test]
fn the_configuration_is_what_the_dockerfile_says() {
    let (store, context) = prepared("busybox.tar", "busybox:1", ON_BUSYBOX);
    build(&store, &context, &[]);
    store.call(&["save", "-o", "app.tar", "app:1"]).succeeds();
    let config = store.tool("skopeo", &["inspect", "--config", "docker-archive:app.tar"]).json();
    let config = &config["config"];
    assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/sh", "-c"]));
    assert_eq!(config["WorkingDir"], "/srv/app");
    assert_eq!(config["User"], "1000");
    assert_eq!(config["Labels"]["org.example.purpose"], "test");
    assert_eq!(config["Labels"]["two"], "2");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert!(config["ExposedPorts"]["8080/tcp"].is_object(), "{config}");
    assert!(config["Volumes"]["/data"].is_object(), "{config}");
    let env = config["Env"].as_array().expect("an array");
    assert!(env.contains(&serde_json::json!("GREETING=hello")), "{config}");
    assert!(!env.iter().any(|word| word.as_str().is_some_and(|word| word.starts_with("VERSION="))));
}

/// DF-BUILD-04: the built tree is the same when other tools unpack it.
#[test]
fn other_tools_unpack_the_same_tree() {
    let (store, context) = prepared("debian.tar", "debian:12", ON_DEBIAN);
    build(&store, &context, &[]);
    store.call(&["save", "-o", "app.tar", "app:1"]).succeeds();
    store.tool("skopeo", &["copy", "-q", "docker-archive:app.tar", "oci:out:app"]);
    store.tool("umoci", &["unpack", "--image", "out:app", "unpacked"]);
    let wanted: BTreeSet<String> = listing(&store.beside("unpacked/rootfs")).into_iter().collect();
    let seen: BTreeSet<String> =
        listing(&store.bundle("app:1", &["/bin/true"]).join("rootfs")).into_iter().collect();
    let differs: Vec<&String> = wanted.symmetric_difference(&seen).take(20).collect();
    assert!(wanted.len() > 3000 && differs.is_empty(), "{differs:#?}");
}

/// DF-BUILD-05: `--build-arg` changes what ARG declares; `--target` ends at a stage.
#[test]
fn takes_build_arguments_and_targets() {
    let (store, context) = prepared("busybox.tar", "busybox:1", ON_BUSYBOX);
    build(&store, &context, &["--build-arg", "VERSION=9.9", "--target", "tools"]);
    let outcome = store.run_on("keel", "app:1", &["/bin/cat", "/out/version"]).succeeds();
    assert_eq!(outcome.stdout, "version 9.9\n");
}

/// DF-BUILD-06: runc can be the builder's runtime instead of keel, and the image has the same layers.
#[test]
fn any_runtime_builds_the_same() {
    let layers = |runtime: &str| {
        let (store, context) = prepared("busybox.tar", "busybox:1", ON_BUSYBOX);
        let path = keel_tests::Runtime::named(runtime).path().display().to_string();
        build(&store, &context, &["--runtime", &path]);
        let outcome = store.run_on("runc", "app:1", &[]).succeeds();
        outcome.stdout
    };
    assert_eq!(layers("runc"), layers("keel"));
}
