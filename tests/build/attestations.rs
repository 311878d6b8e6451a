//! What is said of an image beside it: `--provenance`, `--sbom`, `--attest`.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;

use keel_tests::{ImageStore, Protection, Registry, digest, fixture};
use serde_json::{Value, json};

const DOCKERFILE: &str = "FROM busybox:1
ARG COLOUR=red
RUN --mount=type=secret,id=pin,env=PIN echo $COLOUR > /colour && test -n \"$PIN\"
";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// An image layout beside a store.
struct Layout<'s>(&'s ImageStore, &'static str);

impl Layout<'_> {
    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.0.beside(self.1).join(path)).expect("a file of the layout")
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let name = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
        let bytes = self.read(&format!("blobs/{name}"));
        assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().expect("a size"));
        assert_eq!(digest(&bytes), descriptor["digest"]);
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The index that the layout lists, and its entries.
    fn index(&self) -> Vec<Value> {
        let list: Value = serde_json::from_slice(&self.read("index.json")).expect("JSON");
        let index = self.blob(&list["manifests"][0]);
        index["manifests"].as_array().expect("an index").clone()
    }

    /// The statement of this kind about the only image, after the form of everything around it was checked.
    fn statement(&self, kind: &str) -> Value {
        let entries = self.index();
        let [image, attestation] = &entries[..] else { panic!("{entries:?}") };
        let platform = json!({ "os": "unknown", "architecture": "unknown" });
        assert_eq!(attestation["platform"], platform);
        let notes = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        });
        assert_eq!(attestation["annotations"], notes);
        let manifest = self.blob(attestation);
        self.blob(&manifest["config"]);
        let layers = manifest["layers"].as_array().expect("layers");
        let of_kind = |layer: &&Value| layer["annotations"]["in-toto.io/predicate-type"] == kind;
        let layer = layers.iter().find(of_kind).expect("a statement of this kind");
        assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
        let statement = self.blob(layer);
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["predicateType"], kind);
        let hex = image["digest"].as_str().expect("a digest").replace("sha256:", "");
        for subject in statement["subject"].as_array().expect("subjects") {
            assert_eq!(subject["digest"], json!({ "sha256": hex }));
        }
        statement
    }
}

/// A store with that Dockerfile and the secret.
fn prepared() -> ImageStore {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    fs::write(store.beside("pin"), "1729-4104").expect("a file");
    store
}

const SECRET: [&str; 2] = ["--secret", "id=pin,src=pin"];

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    SECRET.into_iter().chain(flags.iter().copied()).collect()
}

/// DF-ATT-01: `--provenance` puts an SLSA statement beside the image, in BuildKit's form: base image with its
/// digest, names as subjects; with `mode=max` arguments, labels and the Dockerfile, too.
#[test]
fn provenance_stands_beside_the_image() {
    let store = prepared();
    let base = store.call(&["inspect", "busybox:1"]).succeeds().json();
    let to = "type=oci,dest=min,tar=false";
    store
        .build(&with(&["--provenance=true", "-t", "app:2", "--build-arg", "COLOUR=blue", "-o", to]))
        .succeeds();
    let min = Layout(&store, "min").statement(PROVENANCE);
    assert!(
        min["subject"][0]["name"]
            .as_str()
            .expect("a name")
            .starts_with("pkg:docker/app@2?platform=linux%2F")
    );
    let definition = &min["predicate"]["buildDefinition"];
    let material = &definition["resolvedDependencies"][0];
    assert!(material["uri"].as_str().expect("a URI").starts_with("pkg:docker/busybox@1?platform="));
    let hex = material["digest"]["sha256"].as_str().expect("a digest");
    assert!(base.to_string().contains(hex), "{hex} is not of {base}");
    assert_eq!(definition["externalParameters"]["request"]["args"], json!({}));
    assert!(!min.to_string().contains("blue"));
    let to = "type=oci,dest=max,tar=false";
    let flags = [
        "--attest",
        "type=provenance,mode=max,builder-id=http://b/1",
        "--build-arg",
        "COLOUR=blue",
        "--build-arg",
        "API_TOKEN=hidden-one",
        "--label",
        "l=v",
        "-o",
        to,
    ];
    store.build(&with(&flags)).succeeds();
    let max = Layout(&store, "max").statement(PROVENANCE);
    assert_eq!(max["subject"][0]["name"], "_");
    let request = &max["predicate"]["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"], json!({ "build-arg:COLOUR": "blue", "label:l": "v" }));
    assert_eq!(request["secrets"], json!([{ "id": "pin" }]));
    let details = &max["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "http://b/1");
    assert_eq!(
        details["metadata"]["buildkit_completeness"]["request"], false,
        "an argument was left out"
    );
    let sum = digest(DOCKERFILE.as_bytes()).replace("sha256:", "");
    assert_eq!(details["byproducts"][0]["digest"]["sha256"], sum);
    assert!(!max.to_string().contains("1729-4104") && !max.to_string().contains("hidden-one"));
}

/// DF-ATT-02: the same build has the same attestations, and the image is the one that is built without.
#[test]
fn provenance_is_reproducible() {
    let store = prepared();
    let file = |to: &str| store.beside(&format!("{to}/index.json"));
    for to in ["one", "two"] {
        let output = format!("type=oci,dest={to},tar=false");
        let mut flags = vec![
            "--provenance=mode=max",
            "--build-arg",
            "SOURCE_DATE_EPOCH=1000000000",
            "-o",
            &output,
        ];
        if to == "two" {
            flags.push("--no-cache");
        }
        store.build(&with(&flags)).succeeds();
    }
    assert_eq!(fs::read(file("one")).expect("a file"), fs::read(file("two")).expect("a file"));
    let flags = [
        "--provenance=false",
        "--build-arg",
        "SOURCE_DATE_EPOCH=1000000000",
        "-o",
        "type=oci,dest=bare,tar=false",
    ];
    store.build(&with(&flags)).succeeds();
    let bare: Value =
        serde_json::from_slice(&fs::read(file("bare")).expect("a file")).expect("JSON");
    assert_eq!(bare["manifests"][0]["digest"], Layout(&store, "one").index()[0]["digest"]);
}

/// DF-ATT-03: files that come by URL are materials with their digests, also where a checksum
/// takes them from the cache; so is a context that comes by URL.
#[test]
fn materials_from_elsewhere_are_told() {
    let store = ImageStore::with_dockerfile("FROM scratch\n");
    let port = serve(b"text\n");
    let sum = digest(b"text\n");
    let text = format!("FROM scratch\nADD --checksum={sum} http://127.0.0.1:{port}/a/file /x\n");
    fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    for to in ["first", "second"] {
        let output = format!("type=oci,dest={to},tar=false");
        store.build(&["--provenance=true", "-o", &output]).succeeds();
        let layout = if to == "first" { "first" } else { "second" };
        let statement = Layout(&store, layout).statement(PROVENANCE);
        let expected = json!([{
            "uri": format!("http://127.0.0.1:{port}/a/file"),
            "digest": { "sha256": sum.replace("sha256:", "") },
        }]);
        assert_eq!(statement["predicate"]["buildDefinition"]["resolvedDependencies"], expected);
    }
    let dockerfile: &[u8] = b"FROM scratch\nLABEL a=b\n";
    let url = format!("http://127.0.0.1:{}/Dockerfile", serve(dockerfile));
    store
        .call(&["build", "--provenance=mode=max", "-o", "type=oci,dest=third,tar=false", &url])
        .succeeds();
    let statement = Layout(&store, "third").statement(PROVENANCE);
    let source = &statement["predicate"]["buildDefinition"]["externalParameters"]["configSource"];
    assert_eq!(source["digest"]["sha256"], digest(dockerfile).replace("sha256:", ""));
    assert_eq!(source["uri"], url);
}

/// Answers every request with these bytes.
fn serve(body: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    port
}

/// DF-ATT-04: attestations go where images go: into the store, where the image runs and outlives a
/// collection, to registries, and into both kinds of archives; beside files they are a file.
#[test]
fn attestations_go_with_every_output() {
    let store = prepared();
    let registry = Registry::start(Protection::None);
    let name = registry.name("a/said:1");
    store.build(&with(&["--provenance=true", "--push", "-t", &name])).succeeds();
    let place = format!("docker://{name}");
    let index = store.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &place]).json();
    assert_eq!(index["manifests"][1]["platform"]["os"], "unknown");
    let digest = index["manifests"][1]["digest"].as_str().expect("a digest");
    let place = format!("docker://{}@{digest}", name.rsplit_once(':').expect("a tag").0);
    let manifest = store.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &place]).json();
    assert_eq!(manifest["layers"][0]["annotations"]["in-toto.io/predicate-type"], PROVENANCE);
    store.call(&["prune", "-f"]).succeeds();
    store.call(&["fsck"]).succeeds();
    let colour = store.run_on("keel", &name, &["cat", "/colour"]).succeeds();
    assert_eq!(colour.stdout, "red\n");
    let outputs = ["-o", "type=docker,dest=docker.tar", "-o", "type=oci,dest=oci.tar"];
    store.build(&with(&[&["--provenance=true", "-t", "said:2"][..], &outputs].concat())).succeeds();
    let config = |place: &str| store.tool("skopeo", &["inspect", "--config", place]).json();
    assert_eq!(config("docker-archive:docker.tar:said:2"), config("oci-archive:oci.tar:2"));
    let files = ["-o", "type=local,dest=files", "-o", "type=tar,dest=files.tar"];
    fs::write(store.beside("context/f"), "text\n").expect("a file");
    fs::write(store.beside("context/Dockerfile"), "FROM scratch\nCOPY f /d/f\n")
        .expect("a Dockerfile");
    store.build(&[&["--provenance=true"][..], &files].concat()).succeeds();
    let beside = fs::read(store.beside("files/provenance.json")).expect("a file");
    let packed = store.tool("tar", &["-xOf", "files.tar", "provenance.json"]).stdout;
    assert_eq!(packed.as_bytes(), beside);
    let statement: Value = serde_json::from_slice(&beside).expect("JSON");
    let sum = keel_tests::digest(b"text\n").replace("sha256:", "");
    assert_eq!(statement["subject"], json!([{ "name": "d/f", "digest": { "sha256": sum } }]));
    store.build(&["-o", "plain"]).succeeds();
    assert!(!store.beside("plain/provenance.json").exists(), "without the flag there is none");
}

/// DF-ATT-06: `--sbom` lists as SPDX exactly the packages that dpkg says are installed, apk's and Python's, once
/// each; the same files are the same list, which also stands beside files.
#[test]
fn packages_are_listed() {
    let store = ImageStore::new();
    store.import(&fixture("debian.tar"), "debian").succeeds();
    let context = store.beside("context");
    let python = context.join("usr/lib/python3/dist-packages/keel_demo-1.5.dist-info");
    fs::create_dir_all(&python).expect("a folder");
    fs::create_dir_all(context.join("lib/apk/db")).expect("a folder");
    let write = |path: &str, text: &str| fs::write(context.join(path), text).expect("a file");
    fs::write(python.join("METADATA"), "Name: keel_demo\nVersion: 1.5\n\nName: text\n")
        .expect("a file");
    write("lib/apk/db/installed", "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\n");
    write(
        "Dockerfile",
        "FROM debian\nCOPY usr/lib/python3/dist-packages /usr/lib/python3/dist-packages\n\
           COPY lib/apk /lib/apk\n",
    );
    let fixed = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000", "-t", "d:1"];
    let outputs = ["-o", "type=oci,dest=one,tar=false", "-o", "type=tar,dest=f.tar", "--load"];
    store.build(&[&["--sbom=true", "--provenance=true"][..], &fixed, &outputs].concat()).succeeds();
    let statement = Layout(&store, "one").statement("https://spdx.dev/Document");
    let document = &statement["predicate"];
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    assert_eq!(document["creationInfo"]["created"], "2001-09-09T01:46:40Z");
    let packages = document["packages"].as_array().expect("packages");
    let locators =
        packages.iter().filter_map(|p| p["externalRefs"][0]["referenceLocator"].as_str());
    let (debian, others): (Vec<_>, Vec<_>) =
        locators.partition(|url| url.starts_with("pkg:deb/debian/"));
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(others.contains(&"pkg:pypi/keel-demo@1.5"), "{others:?}");
    assert!(
        others.iter().any(|url| url.starts_with("pkg:apk/debian/musl@1.2.4-r2?arch=x86_64")),
        "{others:?}"
    );
    let query = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n"];
    let told = store.run_on("keel", "d:1", &query).succeeds().stdout;
    let mut told: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    let listed = packages.iter().filter(|p| {
        p["externalRefs"][0]["referenceLocator"].as_str().is_some_and(|u| debian.contains(&u))
    });
    let mut listed: Vec<String> = listed
        .map(|p| {
            format!(
                "{} {}",
                p["name"].as_str().unwrap_or_default(),
                p["versionInfo"].as_str().unwrap_or_default()
            )
        })
        .collect();
    listed.sort();
    told.sort_unstable();
    assert!(told.len() > 20, "{told:?}");
    assert_eq!(listed, told);
    let ids: std::collections::BTreeSet<_> =
        packages.iter().map(|p| p["SPDXID"].as_str()).collect();
    assert_eq!(ids.len(), packages.len(), "an identifier stands for one package");
    let again = ["-o", "type=oci,dest=two,tar=false", "--no-cache"];
    store
        .build(&[&["--attest", "type=sbom", "--provenance=true"][..], &fixed, &again].concat())
        .succeeds();
    let index = |to: &str| fs::read(store.beside(to).join("index.json")).expect("a file");
    assert_eq!(index("one"), index("two"));
    let packed = store.tool("tar", &["-xOf", "f.tar", "sbom.spdx.json"]).json();
    assert_eq!(packed["predicate"], *document);
}

/// DF-ATT-05: what is not known of attestations is refused before anything is built.
#[test]
fn unknown_attestations_are_refused() {
    let store = ImageStore::with_dockerfile("FROM nosuch\n");
    for (flags, word) in [
        (&["--provenance=mode=most"][..], "min or max"),
        (&["--provenance=version=v0.2"], "v1"),
        (&["--provenance=inline-only=true"], "inline-only"),
        (&["--attest", "type=vex"], "provenance or sbom"),
        (&["--attest", "mode=max"], "type"),
        (&["--sbom=generator=docker/scout:1"], "--sbom=true"),
        (&["--attest", "type=provenance", "--provenance=true"], "twice"),
    ] {
        store.build(flags).exits(125).says(&[word]);
    }
}
