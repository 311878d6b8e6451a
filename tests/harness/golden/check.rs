//! Cases against builds.

use super::builder::Builders;
use super::built::Built;
use super::case::{Case, read};
use super::graph;
use crate::Outcome;

/// Builds every case of `tests/build/cases/NAME.txt` with keel-image and compares what comes of it with the
/// case, and, where the case does not say why not, with what buildah makes of it.
///
/// `KEEL_TESTS_CASE=words` takes only the cases that have the words in their titles.
///
/// # Panics
/// Something differs; all differences are told at once.
pub fn check_cases(name: &str) {
    let only = std::env::var("KEEL_TESTS_CASE").unwrap_or_default();
    let builders = Builders::new();
    let mut wrong = Vec::new();
    for case in read(name).iter().filter(|case| case.title.contains(&only)) {
        let found = check(&builders, case);
        if !found.is_empty() {
            wrong.push(format!("{} {}\n{}", case.place, case.title, found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ\n\n{}\n", wrong.len(), wrong.join("\n\n"));
}

fn check(builders: &Builders, case: &Case) -> Vec<String> {
    builders.prepare(case);
    let (outcome, built) = builders.keel(case);
    let mut wrong = Vec::new();
    match &built {
        Some(_) if !case.errors.is_empty() => wrong.push("it must fail, and is built".to_owned()),
        Some(built) => {
            compare_with_case(case, built, &mut wrong);
            compare_graph(case, &outcome, &mut wrong);
        }
        None if case.errors.is_empty() => {
            wrong.push(format!("it must build\n{}", outcome.report()));
        }
        None => {}
    }
    if let Some(error) = case.errors.iter().find(|error| !outcome.stderr.contains(*error)) {
        wrong.push(format!("the error must be\n{error}\n\nand is\n{}", outcome.stderr));
    }
    check_messages(case, &outcome, &mut wrong);
    if case.without_buildah.is_none() {
        // A build may have changed what it was given, and must not have.
        let (peer, other) = builders.peer(case);
        match (built, other) {
            (Some(built), Some(other)) => compare_with_peer(&built, &other, &mut wrong),
            (None, None) => {}
            (built, _) => {
                let what = if built.is_some() { "buildah fails" } else { "buildah builds it" };
                wrong.push(format!("{what}\n{}", peer.report()));
            }
        }
    }
    wrong
}

fn compare_with_case(case: &Case, built: &Built, wrong: &mut Vec<String>) {
    let pairs = [
        ("config", &case.config, &built.config),
        ("files", &case.files, &built.files),
        ("history", &case.history, &built.history),
    ];
    for (what, wanted, seen) in pairs {
        let Some(wanted) = wanted else { continue };
        let wanted = if what == "history" { wanted.clone() } else { sorted(wanted) };
        if wanted != *seen {
            wrong.push(format!("{what} must be\n{wanted}\nand is\n{seen}"));
        }
    }
    if case.config.is_none() && case.files.is_none() && case.history.is_none() {
        // A case that nothing is expected of shows nothing.
        let told = case.output.is_some() || case.warnings.is_some();
        assert!(told, "{} expects nothing", case.place);
    }
}

fn compare_graph(case: &Case, outcome: &Outcome, wrong: &mut Vec<String>) {
    let seen = graph::read(&outcome.stdout);
    if case.graph != seen {
        let text = |graph: &Option<String>| graph.clone().unwrap_or_else(|| "(none)".to_owned());
        wrong.push(format!("graph must be\n{}\nand is\n{}", text(&case.graph), text(&seen)));
    }
}

/// Entries are compared as sets: a case lists them as it is best read.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn check_messages(case: &Case, outcome: &Outcome, wrong: &mut Vec<String>) {
    for line in case.output.iter().flat_map(|text| text.lines()) {
        let written = |seen: &str| {
            let words = seen.strip_prefix('#').and_then(|rest| rest.splitn(3, ' ').nth(2));
            words == Some(line)
        };
        if !outcome.stderr.lines().any(written) {
            wrong.push(format!("no command writes {line:?}\n{}", outcome.stderr));
        }
    }
    let Some(wanted) = &case.warnings else { return };
    let seen = outcome.stderr.lines().filter_map(|line| line.strip_prefix("WARN: "));
    let seen = sorted(&seen.collect::<Vec<_>>().join("\n"));
    if sorted(wanted) != seen {
        wrong.push(format!("warnings must be\n{wanted}\nand are\n{seen}"));
    }
}

/// Places for its mounts that buildah leaves in the layer of a `RUN`.
pub(super) const LEFT_BY_BUILDAH: [&str; 4] =
    ["/etc/hostname 755 \"\"", "/etc/hosts 755 \"\"", "/etc/resolv.conf 755 \"\"", "/run/"];

fn compare_with_peer(built: &Built, other: &Built, wrong: &mut Vec<String>) {
    // An image without a command has an empty one in buildah.
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let without = |text: &str, habits: &[&str]| {
        lines(text).into_iter().filter(|line| !habits.contains(&line.as_str())).collect::<Vec<_>>()
    };
    let pairs = [
        ("config", without(&built.config, &["Cmd []"]), without(&other.config, &["Cmd []"])),
        ("files", lines(&built.files), without(&other.files, &LEFT_BY_BUILDAH)),
    ];
    for (what, own, other) in pairs.iter().filter(|(_, own, other)| own != other) {
        wrong.push(format!(
            "{what} of buildah is\n{}\nand of keel-image\n{}",
            other.join("\n"),
            own.join("\n")
        ));
    }
}
