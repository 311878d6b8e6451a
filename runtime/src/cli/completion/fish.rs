//! For fish.

use std::fmt::Write as _;

use super::super::flags::{Flag, GLOBAL, HELP, VERBS};
use super::{First, SHELLS, SIGNALS, Values, first_argument, shown, values};

const BEGIN: &str = "# fish completion for keel; load it by: keel completion fish | source
function __keel_ids
    set -l words (commandline -opc)
    set -l root
    for at in (seq (count $words))
        switch $words[$at]
            case --root
                set root --root $words[(math $at + 1)]
            case '--root=*'
                set root $words[$at]
        end
    end
    command $words[1] $root list --quiet 2>/dev/null
end
complete -c keel -f
";

pub(super) fn script() -> String {
    let mut text = BEGIN.to_owned();
    for flag in GLOBAL.iter().chain([&HELP]).filter(|flag| !flag.hidden) {
        add_flag(&mut text, "__fish_use_subcommand", flag);
    }
    for verb in &VERBS {
        let summary = quoted(verb.summary);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "complete -c keel -n __fish_use_subcommand -a {} -d {summary}",
            verb.name
        );
    }
    text.push_str(
        "complete -c keel -n __fish_use_subcommand -a help -d 'print this help, or that of a \
         command'\n",
    );
    for verb in &VERBS {
        let condition = format!("'__fish_seen_subcommand_from {}'", verb.name);
        let arguments = match first_argument(verb) {
            First::Nothing => None,
            First::Container => Some("'(__keel_ids)'".to_owned()),
            First::Shell => Some(quoted(&SHELLS.join(" "))),
        };
        let signals = (verb.name == "kill").then(|| quoted(SIGNALS));
        for words in arguments.into_iter().chain(signals) {
            let _ = writeln!(text, "complete -c keel -n {condition} -a {words}");
        }
        for flag in shown(verb) {
            add_flag(&mut text, &condition, flag);
        }
    }
    text
}

fn add_flag(text: &mut String, condition: &str, flag: &Flag) {
    let _ = write!(text, "complete -c keel -n {condition} -l {}", flag.name);
    if let Some(alias) = flag.alias {
        let _ = write!(text, " -s {alias}");
    }
    match values(flag) {
        Values::None => {}
        Values::Text => text.push_str(" -x"),
        Values::Files => text.push_str(" -r -F"),
        Values::Directories => text.push_str(" -x -a '(__fish_complete_directories)'"),
        Values::Words(words) => {
            let _ = write!(text, " -x -a {}", quoted(&words.join(" ")));
        }
    }
    let _ = writeln!(text, " -d {}", quoted(flag.help));
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
