//! Caches that go from one store to another: a build on another machine takes the steps of the first.

use std::fs;

use keel_tests::{ImageStore, Protection, Registry, fixture};

const DOCKERFILE: &str = "FROM busybox:1 AS made
RUN echo one > /one && echo first-ran
FROM busybox:1
WORKDIR /w
COPY --from=made /one .
COPY file .
RUN cat one file > both && echo second-ran
";

/// A store with a base image and a context.
fn machine() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
    with_context(store)
}

/// Another store with nothing but the same base image and the same context.
fn other(first: &ImageStore) -> ImageStore {
    let store = ImageStore::new();
    let base = format!("oci:{}:busybox:1", first.path().display());
    store.call(&["copy", &base, "busybox:1"]).succeeds();
    with_context(store)
}

fn with_context(store: ImageStore) -> ImageStore {
    fs::create_dir(store.beside("context")).expect("a folder");
    fs::write(store.beside("context/Dockerfile"), DOCKERFILE).expect("a file");
    fs::write(store.beside("context/file"), "file\n").expect("a file");
    store
}

/// What a build with these flags says, and the image's id.
fn build(store: &ImageStore, flags: &[&str]) -> (String, String) {
    let words = [&["build", "--progress=plain", "-t", "app:1"], flags, &["context"]].concat();
    let said = store.call(&words).succeeds().stderr;
    let id = store.call(&["inspect", "app:1"]).succeeds().json()[0]["Id"].to_string();
    (said, id)
}

/// DF-SHARE-01: a cache in a directory, with the steps of all stages, is hit in another store, which comes to
/// the same image; without `mode=max` it has the image's own steps.
#[test]
fn a_directory_holds_a_cache() {
    let first = machine();
    let (second, third) = (other(&first), other(&first));
    let place = first.beside("cache").display().to_string();
    let (said, id) = build(&first, &["--cache-to", &format!("type=local,dest={place},mode=max")]);
    assert!(!said.contains("CACHED") && said.contains("exporting cache"), "{said}");
    let from = format!("type=local,src={place}");
    let (said, same) = build(&second, &["--cache-from", &from]);
    assert_eq!(said.matches("CACHED").count(), 5, "{said}");
    assert_eq!(same, id);
    let seen = second.run_on("keel", "app:1", &["/bin/cat", "/w/both"]).succeeds();
    assert_eq!(seen.stdout, "one\nfile\n");
    let (said, _) = build(&second, &[]);
    assert_eq!(said.matches("CACHED").count(), 5, "the own cache knows it now: {said}");
    let least = first.beside("least").display().to_string();
    build(&first, &["--cache-to", &format!("type=local,dest={least}")]);
    let (said, _) = build(&third, &["--cache-from", &format!("type=local,src={least}")]);
    assert_eq!(said.matches("CACHED").count(), 4, "{said}");
}

/// DF-SHARE-02: a registry holds a cache as a manifest of its own, or an image holds it itself.
#[test]
fn a_registry_holds_a_cache() {
    let registry = Registry::start(Protection::None);
    let first = machine();
    let (second, third) = (other(&first), other(&first));
    let name = registry.name("team/cache:main");
    let (_, id) = build(&first, &["--cache-to", &format!("type=registry,ref={name},mode=max")]);
    let (said, same) = build(&second, &["--cache-from", &format!("type=registry,ref={name}")]);
    assert_eq!((said.matches("CACHED").count(), &same), (5, &id), "{said}");
    let image = registry.name("team/app:1");
    first
        .call(&["build", "--push", "-t", &image, "--cache-to", "type=inline", "context"])
        .succeeds();
    let (said, _) = build(&third, &["--cache-from", &image]);
    assert_eq!(said.matches("CACHED").count(), 4, "{said}");
}

/// DF-SHARE-03: a cache that is not there is told and not used; one whose layer is damaged is not believed.
#[test]
fn a_bad_cache_is_no_cache() {
    let first = machine();
    let second = other(&first);
    let (said, _) = build(&first, &["--cache-from", "type=local,src=/no/such/folder"]);
    assert!(said.contains("importing cache manifest") && said.contains("ERROR"), "{said}");
    let place = first.beside("cache");
    build(&first, &["--cache-to", &format!("type=local,dest={},mode=max", place.display())]);
    let blobs = place.join("blobs/sha256");
    for entry in fs::read_dir(&blobs).expect("blobs").flatten() {
        let bytes = fs::read(entry.path()).expect("a blob");
        if !bytes.starts_with(b"{") {
            fs::write(entry.path(), vec![0; bytes.len()]).expect("a blob");
        }
    }
    let (said, _) =
        build(&second, &["--cache-from", &format!("type=local,src={}", place.display())]);
    assert_eq!(said.matches("CACHED").count(), 0, "{said}");
    assert!(said.contains("cannot be used"), "{said}");
    for flag in ["type=gha", "type=local", "type=inline,mode=max", "type=local,dest=x,mode=all"] {
        second.call(&["build", "--cache-to", flag, "context"]).exits(125);
    }
}
