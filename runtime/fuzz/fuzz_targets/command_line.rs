//! The command line, its words separated by NUL: it is understood or refused with a message, and
//! neither ids nor signals are read more generously than their rules.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use keel::cli::command::Command;
use keel::cli::signal::Signal;
use keel::cli::user::User;
use keel::cli::{Program, read};
use keel::container::id::ContainerId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    for word in words.iter().filter_map(|word| std::str::from_utf8(word).ok()) {
        check_word(word);
    }
    let program = Program::from_argv0(None);
    let line = words.iter().map(|word| OsString::from_vec(word.to_vec()));
    match read(&program, line) {
        Ok(Some((global, command))) => {
            assert!(global.root.is_absolute(), "{global:?}");
            check_command(&command);
        }
        Ok(None) => {}
        Err(error) => assert!(error.exit_code != 0 && !error.message.is_empty(), "{error:?}"),
    }
});

fn check_command(command: &Command) {
    match command {
        Command::Create(create) => assert!(create.bundle.is_absolute(), "{create:?}"),
        Command::Kill { signal, .. } => assert!((0..=64).contains(&signal.number())),
        Command::Exec(exec) => {
            let paths = [&exec.process, &exec.console_socket, &exec.pid_file];
            assert!(paths.into_iter().flatten().all(|path| path.is_absolute()), "{exec:?}");
        }
        _ => {}
    }
}

fn check_word(word: &str) {
    if let Ok(user) = User::parse(word) {
        let digits = |text: &str, id: u32| text.trim_start_matches('0') == digits_of(id);
        let (uid, gid) = word.split_once(':').map_or((word, None), |(uid, gid)| (uid, Some(gid)));
        assert!(digits(uid, user.uid), "{word:?} is {user:?}");
        assert!(gid.is_some() == user.gid.is_some(), "{word:?} is {user:?}");
        assert!(gid.zip(user.gid).is_none_or(|(gid, id)| digits(gid, id)), "{word:?} is {user:?}");
    }
    if let Ok(signal) = Signal::parse(word) {
        assert!((0..=64).contains(&signal.number()), "{word:?}");
    }
    if let Ok(id) = ContainerId::parse(word) {
        assert!(id.as_str() == word && !word.contains('/') && word != "..", "{word:?}");
    }
}

/// The digits of a number, none for zero.
fn digits_of(number: u32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}
