//! `--log` and `--log-format`: how callers get the error.

use std::fs;

use keel_tests::{Container, requires};
use serde_json::{Value, json};

fn broken() -> Container {
    Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]))
}

/// CLI-LOG-01: a JSON log is one object a line; the last one of level error has the message and a time.
#[test]
fn json_records_have_level_msg_time() {
    let container = broken();
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let last = records.last().expect("a record");
    assert_eq!(last["level"], "error");
    let message = last["msg"].as_str().expect("a message");
    assert!(message.contains("executable file not found in $PATH"), "{message}");
    let time = last["time"].as_str().expect("a time");
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
}

/// CLI-LOG-02: with a log file the plain message stands on stderr too, for callers that read only that.
#[test]
fn a_log_file_does_not_silence_stderr() {
    let container = broken();
    let path = container.path("log.json").display().to_string();
    let words = ["--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).fails_naming(&["executable file not found in $PATH"]);
}

/// CLI-LOG-13: with `KEEL_ERRORS=log` the error stands in the log alone, and on stderr where there is no log.
#[test]
fn the_log_alone_is_told() {
    let container = broken();
    if !requires(container.runtime().is("keel"), "the variable is keel's") {
        return;
    }
    let told = |log: &str| {
        let words = ["--log", log, "--log-format", "json", "create", container.id()];
        let mut command = container.command(&words);
        command.env("KEEL_ERRORS", "log");
        container.finish(command).exits(1).stderr.clone()
    };
    let log = container.path("log.json");
    assert_eq!(told(&log.display().to_string()), "");
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.contains("executable file not found"), "{text}");
    assert!(told("/dev/full").contains("executable file not found"), "a log that is full");
    let mut command = container.command(&["create", container.id()]);
    command.env("KEEL_ERRORS", "log");
    container.finish(command).fails_naming(&["executable file not found"]);
}

/// CLI-LOG-03: the log is appended to, so that two commands may share it.
#[test]
fn the_log_is_appended_to() {
    let container = broken();
    let log = container.path("log");
    fs::write(&log, "before\n").expect("a file");
    let path = log.display().to_string();
    container.call(&["--log", &path, "create", container.id()]).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.starts_with("before\n") && text.len() > 7, "{text}");
}

/// CLI-LOG-04: text to a file that is no terminal has time, level and quoted message.
#[test]
fn text_records_have_level_and_msg() {
    let container = broken();
    container.create().fails_naming(&["level=error", "msg=\"", "time=\""]);
}

/// CLI-LOG-05: an unknown format is an error.
#[test]
fn refuses_an_unknown_format() {
    let container = broken();
    let words = ["--log-format", "xml", "create", container.id()];
    container.call(&words).fails_naming(&["xml"]);
    container.assert_nothing_left();
}

/// CLI-LOG-06: a success writes no record of level error.
#[test]
fn a_success_logs_no_error() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--log", &path, "--log-format", "json", "run", container.id()];
    container.call(&words).succeeds();
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("\"error\""), "{text}");
}

/// CLI-LOG-07: `--debug` adds records and keeps the error last.
#[test]
fn debug_keeps_the_error_last() {
    let container = broken();
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--debug", "--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("\"error\"")).collect();
    assert!(errors.last().is_some_and(|line| line.contains("executable file not found")), "{text}");
}

/// The last error that a command logs as JSON.
fn logged(container: &Container, words: &[&str]) -> Value {
    let log = container.path("codes.json");
    let _ = fs::remove_file(&log);
    let path = log.display().to_string();
    let mut all = vec!["--log", &path, "--log-format", "json"];
    all.extend_from_slice(words);
    let outcome = container.call(&all);
    assert_ne!(outcome.status, 0, "{}", outcome.report());
    let text = fs::read_to_string(&log).expect("a log");
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

/// Asserts members of a record; null is for one that is not there.
#[track_caller]
fn has(record: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&record[key], value, "{key} in {record}");
    }
}

/// A container whose creation fails, with the record.
fn creation(delta: impl FnOnce(&mut Value)) -> Value {
    let container = Container::new(delta);
    logged(&container, &["create", container.id()])
}

/// CLI-LOG-08: a JSON record of an error has its code and, where there are, the field, the call, the errno and a hint.
#[test]
fn errors_have_codes() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "the codes are keel's") {
        return;
    }
    let id = container.id();
    let log = |words: &[&str]| logged(&container, words);
    has(&log(&["create", "--nosuchflag", "x"]), &json!({"code": "usage"}));
    has(&log(&["nosuchcommand"]), &json!({"code": "usage"}));
    has(&log(&["kill", id, "NOSUCH"]), &json!({"code": "usage"}));
    has(&log(&["create", "a/b"]), &json!({"code": "invalid-id"}));
    has(&log(&["start", "nosuch"]), &json!({"code": "not-found", "errno": null}));
    has(&log(&["create", "-b", "/nosuchbundle", id]), &json!({"code": "config-not-found"}));
    has(&log(&["create", "-b", "/dev/null", id]), &json!({"errno": "ENOTDIR"}));
    let pid_file = log(&["create", "--pid-file", "/nosuchfolder/pid", id]);
    has(&pid_file, &json!({"code": "system", "syscall": "openat", "errno": "ENOENT"}));
    container.up();
    has(&log(&["create", id]), &json!({"code": "already-exists"}));
    has(&log(&["start", id]), &json!({"code": "refused", "field": null}));
    has(&log(&["delete", id]), &json!({"code": "refused"}));
    let exec = log(&["exec", id, "nosuchprogram"]);
    has(&exec, &json!({"code": "program-not-found", "field": "process.args"}));
    assert!(exec["hint"].as_str().is_some_and(|hint| hint.contains("PATH")), "{exec}");
    let state = container.state_root().join(id).join("state.json");
    let kept = fs::read(&state).expect("the state");
    fs::write(&state, "{").expect("a file");
    has(&log(&["state", id]), &json!({"code": "state"}));
    fs::write(&state, kept).expect("a file");
}

/// CLI-LOG-09: a failed creation tells the field, the call, the errno and a hint of each kind of step.
#[test]
fn failed_creations_have_codes() {
    if !requires(Container::new(|_| ()).runtime().is("keel"), "the codes are keel's") {
        return;
    }
    let record = creation(|config| config["process"]["cwd"] = json!("relative"));
    has(&record, &json!({"code": "invalid-config", "field": "process.cwd"}));
    let record = creation(|config| config["linux"]["resources"]["cpu"]["cpus"] = json!("4000"));
    has(
        &record,
        &json!({"code": "cgroup", "syscall": "write", "field": "linux.resources.cpu.cpus"}),
    );
    assert!(record["errno"].is_string(), "{record}");
    let record = creation(|config| {
        let rule = |action: &str| {
            json!({"names": ["chroot"], "action": action, "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]})
        };
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("SCMP_ACT_ERRNO"), rule("SCMP_ACT_KILL")]});
    });
    has(&record, &json!({"code": "seccomp", "field": "linux.seccomp.syscalls[0]"}));
    let record = creation(|config| {
        let mount = json!({"destination": "/x", "source": "/nosuchsource", "options": ["bind"]});
        config["mounts"].as_array_mut().expect("mounts").insert(0, mount);
    });
    has(&record, &json!({"code": "setup", "field": "mounts[0]", "errno": "ENOENT"}));
    assert!(record["hint"].is_string() && record["syscall"].is_string(), "{record}");
    let record = creation(|config| config["process"]["args"] = json!(["/etc"]));
    has(&record, &json!({"code": "program-denied", "field": "process.args"}));
    let record = creation(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    has(&record, &json!({"code": "hook", "field": "hooks.createRuntime[0]"}));
}

/// CLI-LOG-10: the manual page lists every code that the program has.
#[test]
fn the_manual_lists_the_codes() {
    let root = keel_tests::project_root();
    let page = fs::read_to_string(root.join("man/keel.8")).expect("keel(8)");
    let section = page.split(".SH ERROR CODES").nth(1).expect("the section");
    for file in keel_tests::rust_files("runtime/src") {
        let coded = file.text.split("coded(\"").skip(1).chain(
            (file.path.ends_with("report.rs"))
                .then(|| file.text.split("=> \"").skip(1))
                .into_iter()
                .flatten(),
        );
        let words = coded.filter_map(|rest| rest.split('"').next());
        for word in words.filter(|word| !word.contains('.')) {
            let entry = format!("\n\\fB{}\\fR\n", word.replace('-', "\\-"));
            assert!(section.contains(&entry), "{}: {word} is not in keel(8)", file.path);
        }
    }
}

/// CLI-LOG-11: `--debug` tells the steps of `run` and `exec`, in words that scripts written for runc find.
#[test]
fn debug_tells_the_steps() {
    let container = Container::sleeping(|_| ());
    let log = container.path("log");
    let path = log.display().to_string();
    let steps = ["nsexec container setup", "child process in init()"];
    let told = |last: &str| {
        let text = fs::read_to_string(&log).expect("a log");
        for step in steps.into_iter().chain([last]) {
            assert!(
                text.lines().any(|line| line.contains("level=debug") && line.contains(step)),
                "{text}"
            );
        }
        fs::remove_file(&log).expect("a log");
    };
    container.call(&["--debug", "--log", &path, "run", "--detach", container.id()]).succeeds();
    told("init: closing the pipe to signal completion");
    let words = ["--debug", "--log", &path, "exec", container.id(), "true"];
    let outcome = container.call(&words).succeeds();
    assert!(!outcome.stderr.contains("debug"), "{}", outcome.report());
    told("setns_init: about to exec");
}

/// CLI-LOG-12: with `--debug` every record tells the function, the file and the line it comes from, and
/// without it none does.
#[test]
fn debug_tells_where_records_come_from() {
    let container = Container::sleeping(|_| ());
    let words = ["state", "nosuch"];
    let plain = container.call(&words).exits(1);
    assert!(!plain.stderr.contains("file="), "{}", plain.report());
    let debug = container.call(&["--debug", "state", "nosuch"]).exits(1);
    let (_, place) = debug.stderr.rsplit_once(" func=\"").expect("a function");
    let (function, file) = place.split_once("()\" file=\"").expect("a file");
    assert!(!function.is_empty(), "{}", debug.report());
    let line = file.trim_end().trim_end_matches('"').rsplit_once(':').expect("a line").1;
    assert!(line.parse::<u32>().is_ok(), "{}", debug.report());
    let json = container.call(&["--debug", "--log-format", "json", "state", "nosuch"]).exits(1);
    let last = json.stderr.lines().last().expect("a record");
    let record: Value = serde_json::from_str(last).expect("JSON");
    assert!(record["func"].is_string() && record["file"].is_string(), "{record}");
}
