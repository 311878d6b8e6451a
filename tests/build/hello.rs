//! The example of the README, as a newcomer runs it.

use keel_tests::{ImageStore, example_context, program};

/// DF-BUILD-07: `run --build examples/hello` greets; the second time every step comes from the cache.
#[test]
fn the_example_greets_and_is_cached() {
    let store = ImageStore::new();
    let example = example_context(&store.beside("")).display().to_string();
    let path = format!(
        "{}:{}",
        program("keel").parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let run = || {
        let mut command = store.command(&["run", "--build", &example]);
        command.env("PATH", &path);
        store.finish(command).succeeds()
    };
    let first = run();
    for word in ["ello", "hostname", "pid: 1"] {
        let text = first.stdout.to_lowercase();
        assert!(text.contains(word), "{word}\n{}", first.report());
    }
    let second = run();
    let text = format!("{}{}", second.stdout, second.stderr);
    assert!(text.to_lowercase().contains("cached"), "{text}");
}
