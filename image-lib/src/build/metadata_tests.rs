//! Cases of the metadata instructions: a Dockerfile, and the configuration that it must give.

use serde_json::{Value, json};

use super::super::arguments::BuildArguments;
use super::super::dockerfile::parse;
use super::{StageState, StepError, apply};
use crate::spec::Platform;

fn build_with(given: &[(&str, &str)], text: &str) -> Result<StageState, StepError> {
    let dockerfile = parse("Dockerfile", text).unwrap();
    let given = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let platform = Platform::host();
    let arguments = BuildArguments::new(&given, &dockerfile, &platform, None).unwrap();
    let mut state = StageState::scratch(&platform);
    for stage in &dockerfile.stages {
        state = state.continued();
        for instruction in &stage.instructions {
            assert!(apply(&mut state, &instruction.command, &arguments, '\\')?);
        }
    }
    Ok(state)
}

/// The `config` object that `text` gives, without the default `PATH`.
fn config(text: &str) -> Value {
    let mut state = build_with(&[], &format!("FROM scratch\n{text}")).unwrap();
    state.config().env.retain(|entry| !entry.starts_with("PATH="));
    serde_json::to_value(state.image.config).unwrap()
}

#[test]
fn writes_the_configuration() {
    for (text, expected) in [
        ("ENV a=b c=\"d e\"\nENV a=x$c", json!({"Env": ["a=xd e", "c=d e"]})),
        ("ENV a=b\nENV a=c d=$a", json!({"Env": ["a=c", "d=b"]})),
        ("LABEL a=b\nLABEL a=c \"x y\"=z", json!({"Labels": {"a": "c", "x y": "z"}})),
        ("USER a:b", json!({"User": "a:b"})),
        (
            "EXPOSE 80 53/UDP 8000-8001",
            json!({"ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}}}),
        ),
        (
            "ENV p=\"1 2\"\nEXPOSE $p",
            json!({"Env": ["p=1 2"], "ExposedPorts": {"1/tcp": {}, "2/tcp": {}}}),
        ),
        ("VOLUME /a [\"x\"]", json!({"Volumes": {"/a": {}, "[x]": {}}})),
        ("VOLUME [\"/a\", \"/b c\"]", json!({"Volumes": {"/a": {}, "/b c": {}}})),
        ("CMD a b", json!({"Cmd": ["/bin/sh", "-c", "a b"], "ArgsEscaped": true})),
        ("SHELL [\"s\"]\nCMD a", json!({"Shell": ["s"], "Cmd": ["s", "a"], "ArgsEscaped": true})),
        ("CMD []", json!({"Cmd": [], "ArgsEscaped": true})),
        ("ENTRYPOINT [\"a\"]\nENTRYPOINT []", json!({})),
        (
            "CMD [\"a\"]\nENTRYPOINT [\"b\"]",
            json!({"Cmd": ["a"], "Entrypoint": ["b"], "ArgsEscaped": true}),
        ),
        (
            "CMD [\"a\"]\nFROM scratch\nENTRYPOINT [\"b\"]",
            json!({"Entrypoint": ["b"], "ArgsEscaped": true}),
        ),
        ("STOPSIGNAL SIGRTMIN+3", json!({"StopSignal": "SIGRTMIN+3"})),
        (
            "HEALTHCHECK --timeout=1s CMD x",
            json!({"Healthcheck": {"Test": ["CMD-SHELL", "x"], "Timeout": 1_000_000_000}}),
        ),
        ("ONBUILD RUN a\nONBUILD USER b", json!({"OnBuild": ["RUN a", "USER b"]})),
        ("ONBUILD RUN a\nFROM scratch", json!({})),
    ] {
        assert_eq!(config(text), expected, "{text}");
    }
}

#[test]
fn resolves_arguments() {
    let shown = |given: &[(&str, &str)], text: &str| {
        let state = build_with(given, text).unwrap();
        state.variable("A").map(str::to_owned)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(shown(&[], "ARG A=g\nFROM x\n"), None);
    assert_eq!(shown(&[], "ARG A=g\nFROM x\nARG A"), some("g"));
    assert_eq!(shown(&[], "ARG A=g\nFROM x\nARG A=s"), some("s"));
    assert_eq!(shown(&[("A", "c")], "ARG A=g\nFROM x\nARG A=s"), some("c"));
    assert_eq!(shown(&[("A", "c")], "FROM x\n"), None);
    assert_eq!(shown(&[], "FROM x\nARG A"), None);
    assert_eq!(shown(&[], "FROM x\nENV A=1\nARG A=2"), some("2"));
    assert_eq!(shown(&[], "FROM x\nARG A=2\nENV A=1"), some("1"));
    assert_eq!(shown(&[], "ARG B=b\nARG A=$B\nFROM x\nARG A"), some("b"));
    assert_eq!(shown(&[], "FROM x\nARG TARGETOS\nARG A=$TARGETOS"), some("linux"));
}

#[test]
fn writes_the_history() {
    let text = "FROM x\nARG A=1\nENV b=\"c d\"\nEXPOSE 2 1\nENTRYPOINT [\"a\",\"b\"]\nVOLUME /v\n";
    let state = build_with(&[("A", "3")], text).unwrap();
    let lines: Vec<_> =
        state.image.history.iter().filter_map(|h| h.created_by.as_deref()).collect();
    assert_eq!(
        lines,
        [
            "ARG A=3",
            "ENV b=c d",
            "EXPOSE map[1/tcp:{} 2/tcp:{}]",
            "ENTRYPOINT [\"a\" \"b\"]",
            "VOLUME [/v]"
        ]
    );
    assert!(state.image.history.iter().all(|entry| entry.empty_layer));
}

#[test]
fn shows_healthchecks_as_buildkit_does() {
    let shown = |text: &str| {
        let state = build_with(&[], &format!("FROM x\nHEALTHCHECK {text}")).unwrap();
        state.image.history[0].created_by.clone().unwrap()
    };
    assert_eq!(
        shown("--interval=1m30s --timeout=1500ms --start-period=5ms --retries=3 CMD a \"b\""),
        r#"HEALTHCHECK &{["CMD-SHELL" "a \"b\""] "1m30s" "1.5s" "5ms" "0s" '\x03'}"#
    );
    assert_eq!(shown("NONE"), r#"HEALTHCHECK &{["NONE"] "0s" "0s" "0s" "0s" '\x00'}"#);
    assert!(shown("--interval=2h CMD a").contains("\"2h0m0s\""));
}

#[test]
fn refuses_values_that_make_no_sense() {
    for (text, reason) in [
        ("STOPSIGNAL SIGTREM", "invalid signal: SIGTREM (did you mean SIGTERM?)"),
        ("STOPSIGNAL 65", "invalid signal: 65"),
        ("EXPOSE x", "it is no port number"),
        ("EXPOSE 9-1", "ends before it begins"),
        ("EXPOSE 1/icmp", "none of tcp, udp, sctp"),
        ("ENV a=\"${b?set b}\"", "b: set b"),
        ("USER 'x", "single-quote"),
    ] {
        let error = build_with(&[], &format!("FROM x\n{text}")).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}
