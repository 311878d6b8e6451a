//! `completion`: real shells load the scripts and are asked for candidates.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keel_tests::{Container, requires};

fn is_keel(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "`completion` is a command of keel")
}

/// A folder with the runtime under the name that the scripts complete, and the script of a shell.
fn folder(container: &Container, shell: &str) -> PathBuf {
    let script = container.call(&["completion", shell]).succeeds().stdout;
    fs::write(container.path("script"), script).expect("the script");
    let bin = container.path("bin");
    fs::create_dir_all(&bin).expect("a folder");
    let program = container.command::<&str>(&[]).get_program().to_owned();
    let _ = fs::remove_file(bin.join("keel"));
    std::os::unix::fs::symlink(program, bin.join("keel")).expect("a link");
    bin
}

fn ask(container: &Container, bin: &std::path::Path, mut shell: Command) -> Vec<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    shell.env("PATH", format!("{}:{path}", bin.display())).env("HOME", container.bundle());
    shell.current_dir(container.bundle());
    let answer = container.finish(shell).succeeds();
    let mut lines: Vec<String> = answer
        .stdout
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default().into())
        .collect();
    lines.sort();
    lines
}

/// What bash offers for the last of these words.
fn of_bash(container: &Container, words: &[&str]) -> Vec<String> {
    let bin = folder(container, "bash");
    let mut shell = Command::new("bash");
    let body = "source ./script; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _keel 2>/dev/null; \
                printf '%s\\n' \"${COMPREPLY[@]}\"";
    shell.args(["--norc", "-c", body, "bash"]).args(words);
    ask(container, &bin, shell)
}

fn has(shell: &str) -> bool {
    let there = Command::new(shell).arg("--version").output().is_ok();
    requires(there, &format!("{shell}: `tests/setup` installs it, the guest has none"))
}

fn of_fish(container: &Container, line: &str) -> Vec<String> {
    let bin = folder(container, "fish");
    let mut shell = Command::new("fish");
    shell.args(["--no-config", "-c", "source ./script; complete -C $argv[1]", line]);
    ask(container, &bin, shell)
}

/// What zsh offers: a shell on a pseudo-terminal of its own gets the line and a tab, and says what `compadd` is given.
fn of_zsh(container: &Container, line: &str) -> Vec<String> {
    let bin = folder(container, "zsh");
    let inner = container.path("inner.zsh");
    let body = "autoload -U compinit; compinit -u -D -C; source ./script\n\
        compadd() { local -a found; builtin compadd -O found \"$@\"; print -rl -- $found >>candidates; \
        builtin compadd \"$@\"; }\n\
        finish() { print done >>candidates.done; exit }\n\
        zle -N finish; bindkey '^X' finish; bindkey '^I' complete-word; PS1='ready> '\n";
    fs::write(&inner, body).expect("a file");
    let outer = "zmodload zsh/zpty; zpty z 'zsh -f -i'; \
        zpty -w z 'source inner.zsh'; zpty -r -m z out '*ready> *'; \
        zpty -w -n z \"$1\"$'\\t'; zpty -w -n z $'\\x18'; \
        for i in {1..200}; do [[ -e candidates.done ]] && break; sleep 0.05; done; \
        zpty -d z; cat candidates; rm -f candidates candidates.done";
    let mut shell = Command::new("zsh");
    shell.args(["-f", "-c", outer, "zsh", line]);
    ask(container, &bin, shell)
}

#[track_caller]
fn offers(candidates: &[String], present: &[&str], absent: &[&str]) {
    for word in present {
        assert!(candidates.iter().any(|found| found == word), "{word} in {candidates:?}");
    }
    for word in absent {
        assert!(candidates.iter().all(|found| found != word), "no {word} in {candidates:?}");
    }
}

/// CLI-COMPL-01: in bash, commands, flags, their values and the ids of containers are completed.
#[test]
fn completes_in_bash() {
    let container = Container::sleeping(|_| ());
    if !is_keel(&container) {
        return;
    }
    container.up();
    let root = container.state_root().display().to_string();
    offers(&of_bash(&container, &["keel", ""]), &["create", "help", "state"], &["--root"]);
    offers(&of_bash(&container, &["keel", "sta"]), &["start", "state"], &["create"]);
    offers(&of_bash(&container, &["keel", "--lo"]), &["--log", "--log-format"], &["--root"]);
    offers(&of_bash(&container, &["keel", "--log-format", ""]), &["json", "text"], &["create"]);
    offers(&of_bash(&container, &["keel", "--log-format", "=", "j"]), &["json"], &["text"]);
    offers(&of_bash(&container, &["keel", "list", "-f", ""]), &["json", "table"], &[]);
    offers(&of_bash(&container, &["keel", "create", "--pid"]), &["--pid-file"], &["--root"]);
    offers(&of_bash(&container, &["keel", "create", "-b", "root"]), &["rootfs"], &["script"]);
    let ids = of_bash(&container, &["keel", "--root", &root, "state", ""]);
    assert_eq!(ids, [container.id()]);
    let ids = of_bash(&container, &["keel", "--root", "=", &root, "kill", "--all", ""]);
    assert_eq!(ids, [container.id()]);
    let signals = of_bash(&container, &["keel", "kill", container.id(), ""]);
    offers(&signals, &["KILL", "TERM"], &[container.id()]);
}

/// CLI-COMPL-02: so they are in fish.
#[test]
fn completes_in_fish() {
    let container = Container::sleeping(|_| ());
    if !is_keel(&container) || !has("fish") {
        return;
    }
    container.up();
    let root = container.state_root().display().to_string();
    offers(&of_fish(&container, "keel sta"), &["start", "state"], &["create"]);
    offers(&of_fish(&container, "keel list --format "), &["json", "table"], &[]);
    offers(&of_fish(&container, "keel create --pid"), &["--pid-file", "--pidfd-socket"], &[]);
    let ids = of_fish(&container, &format!("keel --root {root} state "));
    offers(&ids, &[container.id()], &["create"]);
}

/// CLI-COMPL-03: so they are in zsh.
#[test]
fn completes_in_zsh() {
    let container = Container::sleeping(|_| ());
    if !is_keel(&container) || !has("zsh") {
        return;
    }
    container.up();
    offers(&of_zsh(&container, "keel sta"), &["start", "state"], &["create"]);
    offers(&of_zsh(&container, "keel list --format "), &["json", "table"], &[]);
    offers(&of_zsh(&container, "keel create --pid"), &["--pid-file"], &[]);
}

/// CLI-COMPL-04: a shell for which there is no script is an error that names those for which there is one.
#[test]
fn refuses_an_unknown_shell() {
    let container = Container::new(|_| ());
    if is_keel(&container) {
        container.call(&["completion", "tcsh"]).fails_naming(&["tcsh", "bash, zsh, fish"]);
    }
}
