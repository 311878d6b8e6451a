//! The tables of `invocation`: a command line on the left, what it means on the right.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use super::command::{
    Command, ExecArgs, Global, ListFormat, LogFormat, PsFormat, RootOrigin, Rootless, UpdateSource,
};
use super::flags::{GLOBAL, VERBS, Verb};
use super::invocation::{Misuse, Request, Start, read_command, read_global};
use super::program::{Name, Program};
use super::root::Surroundings;
use super::user::User;

fn surroundings() -> Surroundings {
    Surroundings { is_root: true, current: Some("/here".into()), ..Default::default() }
}

fn program() -> Program {
    Program { argv0: "keel".into(), name: Name::Keel }
}

fn read(line: &str) -> Result<Command, Misuse> {
    let line = line.split(' ').map(OsString::from).collect();
    match read_command(&program(), line, &surroundings())? {
        Request::Do(command) => Ok(*command),
        Request::Help | Request::HelpOf(_) => panic!("asks for help"),
    }
}

fn refusal(line: &str) -> (String, u8) {
    match read(line).unwrap_err() {
        Misuse::Plain(error) => (error.message, error.exit_code),
        Misuse::Flag(message, _) | Misuse::Count(message, _) => (message, 1),
    }
}

fn global(line: &[&str]) -> Result<Global, Misuse> {
    let line = line.iter().copied().chain(["list"]).map(OsString::from);
    match read_global(&program(), line, &surroundings())? {
        Start::Command { global, .. } => Ok(global),
        Start::Help | Start::Version => panic!("no command"),
    }
}

#[test]
fn reads_the_flags_before_the_command() {
    let line = "--root r -log l --log-format=json --debug --systemd-cgroup --rootless=F --criu x";
    let expected = Global {
        root: "/here/r".into(),
        root_origin: RootOrigin::Flag,
        log: Some("l".into()),
        log_format: LogFormat::Json,
        debug: true,
        name: Name::Keel,
        systemd_cgroup: true,
        rootless: Rootless::No,
    };
    assert_eq!(global(&line.split(' ').collect::<Vec<_>>()).unwrap(), expected);
    assert!(global(&["--cgroup-manager", "systemd"]).unwrap().systemd_cgroup);
    assert!(!global(&["--cgroup-manager=cgroupfs"]).unwrap().systemd_cgroup);
    assert!(global(&["--cgroup-manager", "disabled"]).is_err());
    for (value, expected) in [("", Rootless::Auto), ("AUTO", Rootless::Auto), ("t", Rootless::Yes)]
    {
        assert_eq!(global(&["--rootless", value]).unwrap().rootless, expected);
    }
    let plain = global(&["--log", "", "--log-format="]).unwrap();
    assert_eq!((plain.root.as_path(), plain.log), (Path::new("/run/keel"), None));
    assert!(matches!(global(&["--rootless=maybe"]), Err(Misuse::Flag(_, None))));
    assert!(matches!(global(&["--log-format=xml"]), Err(Misuse::Plain(_))));
}

#[test]
fn has_a_command_for_every_verb() {
    for verb in &VERBS {
        let line = if verb.count.min == 0 { verb.name.into() } else { format!("{} c", verb.name) };
        let command = read(&line).unwrap();
        let debug = format!("{command:?}").to_ascii_lowercase();
        assert!(debug.starts_with(verb.name), "{debug}");
    }
}

#[test]
fn asks_the_table_for_no_flag_that_is_not_there() {
    let source = include_str!("invocation.rs");
    let known = |name: &str| {
        VERBS.iter().flat_map(Verb::flags).chain(&GLOBAL).any(|flag| flag.name == name)
    };
    let calls = [
        "is_set(\"",
        "text(\"",
        "texts(\"",
        "host_path(\"",
        "list(\"",
        "number(\"",
        "switch(\"",
        "asks(\"",
    ];
    for call in calls {
        for rest in source.split(call).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(known(name), "--{name}");
        }
    }
}

#[test]
fn makes_host_paths_absolute_from_where_the_caller_stands() {
    let line =
        "create --pid-file p --console-socket ../s --pidfd-socket /x/./t --config c/d -b b/.. id";
    let Ok(Command::Create(args)) = read(line) else { panic!("no create") };
    assert_eq!(args.pid_file.as_deref(), Some(Path::new("/here/p")));
    assert_eq!(args.console_socket.as_deref(), Some(Path::new("/s")));
    assert_eq!(args.pidfd_socket.as_deref(), Some(Path::new("/x/t")));
    assert_eq!(args.config.as_deref(), Some(Path::new("/here/c/d")));
    assert_eq!(args.bundle, Path::new("/here/b/.."));
    let Ok(Command::Create(plain)) = read("create id --preserve-fds 3") else { panic!("none") };
    assert_eq!((plain.bundle.as_path(), plain.preserve_fds), (Path::new("/here"), 3));
}

#[test]
fn reads_all_of_exec() {
    let line = "exec -t -d --cwd /w -e A=1 -e B=2 -u 7:8 -g 1 -g 2 --cap CAP_KILL --cgroup cpu,x:s \
                --apparmor a --process-label l --no-new-privs=false --ignore-paused c ls -l";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = ExecArgs {
        id: "c".into(),
        args: vec!["ls".into(), "-l".into()],
        cwd: Some("/w".into()),
        env: vec!["A=1".into(), "B=2".into()],
        tty: true,
        user: Some(User { uid: 7, gid: Some(8) }),
        additional_gids: vec![1, 2],
        detach: true,
        process_label: Some("l".into()),
        apparmor: Some("a".into()),
        no_new_privs: Some(false),
        caps: vec!["CAP_KILL".into()],
        cgroups: vec!["cpu,x:s".into()],
        ignore_paused: true,
        ..ExecArgs::default()
    };
    assert_eq!(read(&line).unwrap(), Command::Exec(expected));
}

#[test]
fn reads_kill_and_list() {
    for (line, number, all) in [
        ("kill c", 15, false),
        ("kill -a c KILL", 9, true),
        ("kill --all c 9", 9, true),
        ("kill c ", 15, false),
    ] {
        let Ok(Command::Kill { id, signal, all: given }) = read(line) else { panic!("{line}") };
        assert_eq!((id.as_str(), signal.number(), given), ("c", number, all), "{line}");
    }
    for (line, format) in [
        ("list", ListFormat::Table),
        ("list -f json", ListFormat::Json),
        ("list -q -f wrong", ListFormat::Quiet),
    ] {
        assert_eq!(read(line).unwrap(), Command::List { format }, "{line}");
    }
}

#[test]
fn reads_update_into_the_form_of_the_specification() {
    let read = |line: &str| match read(line).unwrap() {
        Command::Update(args) => args,
        other => panic!("{other:?}"),
    };
    let line = "update --memory 1k --memory-swap -1 --pids-limit=-1 --cpu-share 5 --cpuset-cpus 0-1 \
                --cpu-idle 0 --blkio-weight 10 --l3-cache-schema L3:0=f c";
    let limits = json!({"memory": {"limit": 1024, "swap": -1}, "pids": {"limit": -1},
        "cpu": {"shares": 5, "cpus": "0-1", "idle": 0}, "blockIO": {"weight": 10}});
    let args = read(line);
    assert_eq!((args.source, args.id.as_str()), (UpdateSource::Flags(limits), "c"));
    assert_eq!(args.l3_cache_schema.as_deref(), Some("L3:0=f"));
    assert_eq!(read("update --resources - c").source, UpdateSource::Input);
    assert_eq!(read("update c -r x").source, UpdateSource::File("/here/x".into()));
    assert_eq!(read("update --memory= c").source, UpdateSource::Flags(json!({})));
}

#[test]
fn leaves_what_follows_the_id_to_ps() {
    let command = read("ps -f json c -o pid --format x").unwrap();
    let args = ["-o", "pid", "--format", "x"].map(OsString::from).to_vec();
    assert_eq!(command, Command::Ps { id: "c".into(), format: PsFormat::Json, args });
}

#[test]
fn refuses_with_the_words_and_codes_of_runc() {
    for (line, message, code) in [
        ("create", "keel: \"create\" requires exactly 1 argument(s)", 1),
        ("create a b", "keel: \"create\" requires exactly 1 argument(s)", 1),
        ("kill", "keel: \"kill\" requires a minimum of 1 argument(s)", 1),
        ("kill a 9 x", "keel: \"kill\" requires a maximum of 2 argument(s)", 1),
        ("exec -t", "keel: \"exec\" requires a minimum of 1 argument(s)", 1),
        ("list x", "keel: \"list\" requires exactly 0 argument(s)", 1),
        ("plan a b", "keel: \"plan\" requires a maximum of 1 argument(s)", 1),
        ("spec --bogus", "flag provided but not defined: -bogus", 1),
        ("list -f xml", "invalid format option", 1),
        ("kill a BAD", "unknown signal \"BAD\"", 1),
        ("frobnicate c", "No help topic for 'frobnicate'", 3),
        ("help frobnicate", "No help topic for 'frobnicate'", 3),
        ("ps -f xml c", "invalid format option", 1),
        ("events --interval 5 c", "invalid value \"5\" for flag -interval: parse error", 1),
        ("update --pids-limit x c", "invalid value \"x\" for flag -pids-limit: parse error", 1),
        (
            "update --memory 5q c",
            "invalid value for memory: invalid size: '5q' (bytes, or with k, m, g, t, p)",
            1,
        ),
        (
            "update --cpu-period -1 c",
            "invalid value for cpu-period: strconv.ParseUint: parsing \"-1\": invalid syntax",
            1,
        ),
        (
            "exec -u 1: c ls",
            "exec failed: invalid user \"1:\": expected UID or UID:GID, both decimal",
            255,
        ),
        ("exec -g -1 c ls", "invalid value \"-1\" for flag -additional-gids: parse error", 1),
    ] {
        assert_eq!(refusal(line), (message.to_owned(), code), "{line}");
    }
}
