//! The examples of the library, as a newcomer runs them, against Debian's docker-registry.

use std::fs;
use std::process::Command;

use keel_tests::{ImageStore, Outcome, Protection, Registry, example, program};

/// IMG-EXAMPLE-01: what the examples of the library make, push, pull and unpack is one image, for skopeo as well, and it
/// runs.
#[test]
fn examples_make_push_and_pull_an_image() {
    let (made, pulled) = (ImageStore::new(), ImageStore::new());
    let registry = Registry::start(Protection::None);
    let name = registry.name("made/by-example:1");
    let run = |store: &ImageStore, program: &str, words: &[&str]| -> Outcome {
        let mut command = Command::new(example(program));
        command.arg(store.path()).args(words);
        // The user's own files are not asked.
        command.env("HOME", store.beside("home")).env_remove("DOCKER_CONFIG");
        store.finish(command).succeeds()
    };
    let folder = made.beside("folder");
    fs::create_dir(&folder).expect("a folder");
    fs::copy(program("greeter"), folder.join("greeter")).expect("a program");
    let id = run(&made, "build_layer", &[folder.to_str().expect("text"), &name]).stdout;
    let pushed = run(&made, "push", &[&name]);
    assert!(pushed.stderr.contains("was sent"), "{pushed:?}");
    let place = format!("docker://{name}");
    let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &place];
    assert_eq!(made.tool("skopeo", &words).stdout, pushed.stdout);
    let again = run(&made, "push", &[&name]);
    assert!(again.stderr.lines().all(|line| line.ends_with("was there")), "{again:?}");
    let layers = run(&pulled, "pull", &[&name]).stdout;
    let [layer] = layers.lines().collect::<Vec<_>>()[..] else { panic!("{layers}") };
    let motd = fs::read_to_string(format!("{layer}/etc/motd")).expect("a file of the layer");
    assert_eq!(motd, "made by an example\n");
    let own = pulled.call(&["inspect", "-f", "{{.Id}}", &name]).succeeds().stdout;
    assert_eq!(own, id);
    for store in [&made, &pulled] {
        let said = store.call(&["run", &name]).succeeds().stdout;
        assert!(said.starts_with("Hello, world!\n"), "{said}");
    }
}
