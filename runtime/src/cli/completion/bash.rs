//! For bash, with nothing but what the shell itself has.

use std::fmt::Write as _;

use super::super::flags::{Flag, GLOBAL, HELP, VERBS};
use super::{First, SHELLS, SIGNALS, Values, first_argument, names, shown, spellings, values};

const BEGIN: &str = r#"# bash completion for keel; load it by: source <(keel completion bash)
_keel() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    local command='' arguments=0 root=() at word
    COMPREPLY=()
    # bash makes a word of its own of an equals sign.
    if [[ $current == '=' ]]; then
        current=''
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        case $command:$word in
"#;

const MIDDLE: &str = r#"                [[ ${COMP_WORDS[at+1]} == '=' ]] && ((at++))
                ((at++))
                [[ $word == --root ]] && root=(--root "${COMP_WORDS[at]}")
                ;;
            *:-* | *:=) ;;
            :*) command=$word ;;
            *) ((arguments++)) ;;
        esac
    done
    case $command:$before in
"#;

const END: &str = r#"    esac
}
complete -F _keel keel
"#;

pub(super) fn script() -> String {
    let mut text = BEGIN.to_owned();
    let globals = || GLOBAL.iter().filter(|flag| !flag.hidden);
    let all = || {
        let of_verbs = VERBS.iter().flat_map(|verb| shown(verb).map(move |flag| (verb.name, flag)));
        globals().map(|flag| ("", flag)).chain(of_verbs)
    };
    let takes_value = |flag: &Flag| values(flag) != Values::None;
    let with_values = all().filter(|(_, flag)| takes_value(flag));
    let heads: Vec<String> = with_values.map(|(command, flag)| head(command, flag)).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "            {})", heads.join(" | \\\n            "));
    text.push_str(MIDDLE);
    for (command, flag) in all() {
        let reply = match values(flag) {
            Values::None => continue,
            Values::Text => "return".to_owned(),
            Values::Files => "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$current\")); \
                              return"
                .to_owned(),
            Values::Directories => "compopt -o filenames; COMPREPLY=($(compgen -d -- \
                                    \"$current\")); return"
                .to_owned(),
            Values::Words(words) => format!("{}; return", of_words(&words.join(" "))),
        };
        let _ = writeln!(text, "        {}) {reply} ;;", head(command, flag));
    }
    text.push_str("    esac\n    case $command in\n");
    let flags = words(globals().chain([&HELP]));
    let commands = names().collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        text,
        "        '') if [[ $current == -* ]]; then {}; else {}; fi ;;",
        of_words(&flags),
        of_words(&commands)
    );
    for verb in &VERBS {
        let arguments = match (first_argument(verb), verb.name) {
            (First::Nothing, _) => ":".to_owned(),
            (First::Shell, _) => first(&of_words(&SHELLS.join(" "))),
            (First::Container, "kill") => {
                format!("if ((arguments == 1)); then {}; else {}; fi", of_words(SIGNALS), ids())
            }
            (First::Container, _) => ids(),
        };
        let _ = writeln!(
            text,
            "        {}) if [[ $current == -* ]]; then {}; else {arguments}; fi ;;",
            verb.name,
            of_words(&words(shown(verb)))
        );
    }
    let _ = writeln!(text, "        help) {} ;;", of_words(&commands));
    text.push_str(END);
    text
}

fn head(command: &str, flag: &Flag) -> String {
    spellings(flag).map(|name| format!("{command}:{name}")).collect::<Vec<_>>().join(" | ")
}

fn words<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    flags.flat_map(spellings).collect::<Vec<_>>().join(" ")
}

fn of_words(words: &str) -> String {
    format!("COMPREPLY=($(compgen -W '{words}' -- \"$current\"))")
}

fn ids() -> String {
    let list = "$(\"${COMP_WORDS[0]}\" \"${root[@]}\" list --quiet 2>/dev/null)";
    first(&format!("COMPREPLY=($(compgen -W \"{list}\" -- \"$current\"))"))
}

/// Only for the first argument.
fn first(reply: &str) -> String {
    format!("((arguments == 0)) && {reply}")
}
