//! The runtime's own file, which a container can reach through /proc (CVE-2019-5736).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use keel_tests::{Container, Runtime, Scratch, eventually};
use serde_json::{Value, json};

/// A copy of the runtime, so that a successful attack destroys no file that others use.
fn copy(folder: &Scratch) -> PathBuf {
    let runtime = Runtime::under_test();
    let copy = folder.join(runtime.name());
    let status = Command::new("cp").arg(runtime.path()).arg(&copy).status().expect("cp");
    assert!(status.success());
    copy
}

/// An attacker who may look into every process of its pid namespace. On a program that enters the container
/// without protecting its file (nsenter, copied) this attack succeeds within a few entries.
fn attacking(config: &mut Value) {
    let caps = json!([
        "CAP_SYS_PTRACE",
        "CAP_SYS_ADMIN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_KILL"
    ]);
    config["process"]["args"] = json!(["/bin/probe", "attack-exe"]);
    config["process"]["noNewPrivileges"] = json!(false);
    config["process"]["capabilities"] =
        json!({"bounding": caps, "permitted": caps, "effective": caps});
}

/// SEC-EXE-01: a root process in a container cannot write to the runtime that enters it (CVE-2019-5736).
///
/// Seen to fail where neither the start of the program nor `protect_own_file` makes the read-only view: the copy of
/// the runtime was overwritten within the 500 entries.
#[test]
fn exec_does_not_expose_the_file() {
    let folder = Scratch::new();
    let binary = copy(&folder);
    let before = fs::read(&binary).expect("the copy");
    let runtime = Runtime::named(&binary.display().to_string());
    let container = Container::of(runtime, attacking);
    let created = container.create().succeeds();
    container.start().succeeds();
    eventually("the attacker is ready", || created.stdout_now().contains("ready").then_some(()));
    for _ in 0..500 {
        container.exec(&["true"]).succeeds();
    }
    assert!(fs::read(&binary).expect("the copy") == before, "the runtime was overwritten");
    let said = created.stdout_now();
    assert_eq!(said.trim(), "ready", "the attacker wrote to a program of the host");
}

/// SEC-EXE-02: an image whose entry point is `#!/proc/self/exe` cannot write to the runtime (CVE-2019-5736).
///
/// Seen to fail as SEC-EXE-01.
#[test]
fn an_entry_that_executes_the_runtime_is_harmless() {
    let folder = Scratch::new();
    let binary = copy(&folder);
    let before = fs::read(&binary).expect("the copy");
    let runtime = Runtime::named(&binary.display().to_string());
    let container =
        Container::of(runtime, |config| config["process"]["args"] = json!(["/bin/entry"]));
    let entry = container.rootfs().join("bin/entry");
    fs::write(&entry, "#!/proc/self/exe\n").expect("a file");
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o755)).expect("chmod");
    container.run();
    assert!(fs::read(&binary).expect("the copy") == before, "the runtime was overwritten");

    let container = Container::of(Runtime::named(&binary.display().to_string()), attacking);
    let entry = container.rootfs().join("bin/entry");
    fs::write(&entry, "#!/proc/self/exe\n").expect("a file");
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o755)).expect("chmod");
    let created = container.create().succeeds();
    container.start().succeeds();
    eventually("the attacker is ready", || created.stdout_now().contains("ready").then_some(()));
    for _ in 0..20 {
        container.exec(&["/bin/entry"]);
    }
    assert!(fs::read(&binary).expect("the copy") == before, "the runtime was overwritten");
}

/// SEC-EXE-03: a root process in a container cannot look into a process of the runtime that enters it
/// (CVE-2016-9962): its descriptors and its root are not yet the container's.
///
/// Seen to fail with `set_dumpable(true)` in the child.
#[test]
fn exec_does_not_expose_the_process() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/bin/probe", "attack-entrant"]);
        config["process"]["noNewPrivileges"] = json!(false);
    });
    let created = container.create().succeeds();
    container.start().succeeds();
    eventually("the attacker is ready", || created.stdout_now().contains("ready").then_some(()));
    let mut entries = 0;
    while entries < 150 || (entries < 500 && !created.stdout_now().contains("seen")) {
        container.exec(&["true"]).succeeds();
        entries += 1;
    }
    let said = created.stdout_now();
    assert!(!said.contains("in:"), "{said}");
    assert!(
        said.contains("seen"),
        "no entrant was met in {entries} entries, so nothing was proved"
    );
}
