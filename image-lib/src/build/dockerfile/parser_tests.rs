//! Cases of the parser: what is read, and what is refused with which words at which place.

use super::super::instruction::{Command, CommandLine, Verb};
use super::{Dockerfile, parse, parse_trigger};

fn read(text: &str) -> Dockerfile {
    parse("Dockerfile", text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// The only instruction after `FROM`.
fn command(text: &str) -> Command {
    let dockerfile = read(&format!("FROM a\n{text}"));
    let [instruction] = dockerfile.stages[0].instructions.as_slice() else { panic!("{text}") };
    instruction.command.clone()
}

#[test]
fn reads_stages() {
    let file = read("ARG V=1\nfrom --platform=$P a:$V as Build-1.x\nRUN b\nFROM build-1.x\n");
    assert_eq!(file.global_arguments.len(), 1);
    let from = &file.stages[0].from;
    assert_eq!((from.platform.as_deref(), from.base.as_str()), (Some("$P"), "a:$V"));
    assert_eq!(from.name.as_deref(), Some("build-1.x"));
    assert_eq!(file.stages[0].instructions.len(), 1);
    assert_eq!(file.stages[1].from.base, "build-1.x");
}

#[test]
fn reads_both_command_forms() {
    let exec = |words: &[&str]| CommandLine::Exec(words.iter().map(|w| (*w).to_owned()).collect());
    assert_eq!(command("CMD [\"a\", \"b c\"]"), Command::Cmd(exec(&["a", "b c"])));
    assert_eq!(command("CMD ['a']"), Command::Cmd(CommandLine::Shell("['a']".into())));
    assert_eq!(command("ENTRYPOINT []"), Command::Entrypoint(exec(&[])));
    assert_eq!(command("CMD a  \"b\" "), Command::Cmd(CommandLine::Shell("a  \"b\"".into())));
}

#[test]
fn reads_pairs_in_both_forms() {
    let pairs = |text| match command(text) {
        Command::Env(pairs) => pairs.into_iter().map(|p| (p.name, p.value)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        pairs("ENV a=b c=\"d e\""),
        [("a".into(), "b".into()), ("c".into(), "\"d e\"".into())]
    );
    assert_eq!(pairs("ENV a  b  c=d"), [("a".to_owned(), "b  c=d".to_owned())]);
    assert_eq!(pairs("ENV a="), [("a".to_owned(), String::new())]);
}

#[test]
fn reads_copies() {
    let Command::Transfer(copy) = command(
        "COPY --from=0 --chown=a:b --chmod=755 --link --parents --exclude=x --exclude=y a b /c/",
    ) else {
        panic!()
    };
    assert_eq!(copy.verb, Verb::Copy);
    assert_eq!((copy.sources, copy.destination), (vec!["a".into(), "b".into()], "/c/".to_owned()));
    assert_eq!((copy.from.as_deref(), copy.exclude.len()), (Some("0"), 2));
    assert!(copy.link && copy.parents);
    let Command::Transfer(copy) = command("COPY x <<E <<\"F\" /d/\nbody $a\nE\nraw\nF\n") else {
        panic!()
    };
    assert_eq!(copy.sources, ["x"]);
    assert_eq!((copy.documents[0].expand, copy.documents[1].expand), (true, false));
    assert_eq!(copy.documents[1].body, "raw\n");
    let Command::Transfer(add) = command("ADD [\"a b\", \"c\"]") else { panic!() };
    assert_eq!((add.verb, add.sources), (Verb::Add, vec!["a b".to_owned()]));
}

#[test]
fn keeps_raw_triggers() {
    assert_eq!(command("ONBUILD  run a  b"), Command::Onbuild("run a  b".into()));
    let Command::Onbuild(text) = command("ONBUILD RUN <<E\nx\nE\n") else { panic!() };
    assert_eq!(text, "RUN <<E\nx\nE");
    assert!(matches!(parse_trigger(&text), Ok(Command::Run(run)) if run.heredocs[0].body == "x\n"));
}

/// Dockerfile, place, and a part of the message.
const REFUSED: &[(&str, &str, &str)] = &[
    ("FROM a\n\nRUUN x", "3:1", "unknown instruction: \"RUUN\" (did you mean RUN?)"),
    ("FROM a\nCPY x y", "2:1", "(did you mean COPY?)"),
    ("FROM a\nzzz", "2:1", "unknown instruction: \"zzz\""),
    ("RUN x", "1:1", "only ARG may stand before FROM"),
    ("", "1:1", "file with no instructions"),
    ("ARG a", "1:1", "there is no FROM"),
    ("FROM", "1:5", "FROM requires either one argument, or three"),
    ("FROM a b", "1:6", "FROM requires either one argument, or three"),
    ("FROM a AS 1x", "1:6", "invalid name for build stage: \"1x\""),
    ("FROM --plattform=x a", "1:6", "(did you mean --platform?)"),
    ("FROM a\nCOPY x", "2:6", "requires at least two arguments"),
    ("FROM a\nCOPY --chwon=1 x y", "2:6", "(did you mean --chown?)"),
    ("FROM a\nCOPY --link --link x y", "2:13", "duplicate flag specified: link"),
    ("FROM a\nADD --from=x y z", "2:5", "unknown flag: --from"),
    ("FROM a\nCOPY x <<E\nE", "2:6", "cannot accept a heredoc as a destination"),
    ("FROM a\nENV x", "2:5", "ENV must have two arguments"),
    ("FROM a\nENV a=b \\\n  c", "3:3", "can't find = in \"c\""),
    ("FROM a\nLABEL =x", "2:7", "LABEL names can not be blank"),
    ("FROM a\nRUN", "2:4", "RUN requires at least one argument"),
    ("FROM a\nRUN [\"a\", 1]", "2:5", "comprised of strings only"),
    ("FROM a\nRUN --mount=type=cahce,target=/x a", "2:5", "did you mean cache?"),
    ("FROM a\nRUN --network=lan a", "2:5", "unknown network mode \"lan\""),
    ("FROM a\nSHELL sh -c", "2:7", "SHELL requires the arguments to be in JSON form"),
    ("FROM a\nUSER", "2:5", "USER requires exactly one argument"),
    ("FROM a\nVOLUME [\"\"]", "2:8", "can not be an empty string"),
    ("FROM a\nONBUILD ONBUILD RUN x", "2:9", "chaining ONBUILD"),
    ("FROM a\nONBUILD FROM x", "2:9", "FROM isn't allowed as an ONBUILD trigger"),
    ("FROM a\nONBUILD RUUN x", "2:9", "did you mean RUN?"),
    ("FROM a\nHEALTHCHECK PING", "2:13", "unknown type \"PING\""),
    ("FROM a\nCMD --x", "2:5", "unknown flag: --x"),
];

#[test]
fn refuses_with_place_and_reason() {
    for (text, place, reason) in REFUSED {
        let error = match parse("Dockerfile", text) {
            Ok(_) => panic!("{text:?} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with(&format!("Dockerfile:{place}: ")), "{text:?}: {error}");
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}
