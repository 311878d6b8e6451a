//! For zsh, by its own `_arguments`.

use std::fmt::Write as _;

use super::super::flags::{Flag, GLOBAL, HELP, Kind, Order, VERBS};
use super::{First, SHELLS, SIGNALS, Values, first_argument, shown, values};

const BEGIN: &str = "#compdef keel
# zsh completion for keel; load it by: source <(keel completion zsh)
_keel_ids() {
    local -a ids
    ids=(${(f)\"$(command keel ${opt_args[--root]:+--root} ${opt_args[--root]} list --quiet \
                     2>/dev/null)\"})
    compadd -a ids
}
_keel() {
    local curcontext=$curcontext state line
    typeset -A opt_args
    _arguments -C \\
";

const END: &str = "        esac ;;
    esac
}
if [[ $funcstack[1] == _keel ]]; then _keel \"$@\"; else compdef _keel keel; fi
";

pub(super) fn script() -> String {
    let mut text = BEGIN.to_owned();
    for flag in GLOBAL.iter().chain([&HELP]).filter(|flag| !flag.hidden) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "        {} \\", specification(flag));
    }
    text.push_str("        '1:command:->command' '*::argument:->arguments'\n");
    text.push_str("    case $state in\n    command)\n        local -a commands=(\n");
    for verb in &VERBS {
        let _ =
            writeln!(text, "            {}", quoted(&format!("{}:{}", verb.name, verb.summary)));
    }
    text.push_str("            'help:print a help text'\n        )\n");
    text.push_str("        _describe command commands ;;\n");
    text.push_str("    arguments)\n        case $words[1] in\n");
    for verb in &VERBS {
        let stop = if verb.order == Order::FlagsFirst { " -A '-*'" } else { "" };
        let _ = write!(text, "        {}) _arguments{stop}", verb.name);
        for flag in shown(verb) {
            let _ = write!(text, " \\\n            {}", specification(flag));
        }
        match first_argument(verb) {
            First::Nothing => {}
            First::Container => text.push_str(" \\\n            '1:container:_keel_ids'"),
            First::Shell => {
                let _ = write!(text, " \\\n            '1:shell:({})'", SHELLS.join(" "));
            }
        }
        if verb.name == "kill" {
            let _ = write!(text, " \\\n            '2:signal:({SIGNALS})'");
        }
        text.push_str(" ;;\n");
    }
    text.push_str(END);
    text
}

fn specification(flag: &Flag) -> String {
    let (several, name) = (matches!(flag.kind, Kind::List(_)), flag.name);
    let spellings = match flag.alias {
        Some(alias) if several => format!("'*'{{--{name},-{alias}}}"),
        Some(alias) => format!("'(--{name} -{alias})'{{--{name},-{alias}}}"),
        None if several => format!("'*'--{name}"),
        None => format!("--{name}"),
    };
    let help = flag.help.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let action = match values(flag) {
        Values::None => String::new(),
        Values::Text => format!(":{name}: "),
        Values::Files => format!(":{name}:_files"),
        Values::Directories => format!(":{name}:_files -/"),
        Values::Words(words) => format!(":{name}:({})", words.join(" ")),
    };
    format!("{spellings}{}", quoted(&format!("[{help}]{action}")))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
