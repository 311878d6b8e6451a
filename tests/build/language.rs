//! The Dockerfile language, by golden cases: each test is a file below `cases/`, which see.

use keel_tests::check_cases;

/// DF-LANG-01: lines, continuations, comments and directives.
#[test]
fn lines() {
    check_cases("lines");
}

/// DF-LANG-02: what is no Dockerfile language is refused with file, line, column, the line and a suggestion.
#[test]
fn refused() {
    check_cases("refused");
}

/// DF-LANG-03: variables are expanded, with all modifiers, where the language says so and nowhere else.
#[test]
fn expansion() {
    check_cases("expansion");
}

/// DF-LANG-04: build arguments: scopes, precedence, those that every build has.
#[test]
fn arguments() {
    check_cases("arguments");
}

/// DF-LANG-05: what instructions put into the configuration and the history.
#[test]
fn metadata() {
    check_cases("metadata");
}

/// DF-LANG-06: stages: names, order, what is inherited, triggers, and that nothing needless is built.
#[test]
fn stages() {
    check_cases("stages");
}

/// DF-LANG-07: COPY: what is selected, where it goes, what it looks like there.
#[test]
fn copy() {
    check_cases("copy");
}

/// DF-LANG-08: COPY with `--chown --chmod --from --link --parents --exclude`.
#[test]
fn copy_flags() {
    check_cases("copy_flags");
}

/// DF-LANG-09: here-documents, in files and in commands.
#[test]
fn heredocs() {
    check_cases("heredocs");
}

/// DF-LANG-10: the checks of BuildKit and some more, and what says which of them hold.
#[test]
fn checks() {
    check_cases("checks");
}

/// DF-LANG-11: RUN, WORKDIR and USER: what a command sees, and what of it becomes a layer.
#[test]
fn run() {
    check_cases("run");
}

/// DF-LANG-12: RUN --mount: files, caches, memory, secrets and agents are lent, and nothing of them stays.
#[test]
fn mounts() {
    check_cases("mounts");
}

/// DF-LANG-13: ADD of local files, and of archives by what is in them.
#[test]
fn add() {
    check_cases("add");
}

/// DF-LANG-14: `.dockerignore`.
#[test]
fn ignore() {
    check_cases("ignore");
}

/// DF-LANG-15: what fails while it is carried out is told with file, line and column, the line quoted, and a hint where
/// one is known.
#[test]
fn places() {
    check_cases("places");
}
