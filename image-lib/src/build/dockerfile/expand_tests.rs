//! Cases of the expander, as a table of `word | result`, where `! text` is an error.

use std::collections::BTreeMap;

use super::{Quotes, expand};

/// `V` is set, `E` is empty, `P` is a path, `N` is unset.
const TABLE: &str = r#"
plain                 | plain
$V                    | value
${V}                  | value
a${V}b                | avalueb
a$V.b                 | avalue.b
$Vx                   |
$V_                   |
$1a                   | a
'$V'                  | $V
"$V"                  | value
"a 'b' $V"            | a 'b' value
'a "b"'               | a "b"
\$V                   | $V
"\$V"                 | $V
'\$V'                 | \$V
"\a\"\\"              | \a"\
a\ b                  | a b
\\                    | \
x\                    | x
$                     | $
a$                    | a$
$.                    | $.
"$"                   | $
${N}                  |
${N:-d}               | d
${E:-d}               | d
${E-d}                |
${N-d}                | d
${V:-d}               | value
${V:+d}               | d
${E:+d}               |
${E+d}                | d
${N+d}                |
${N:-$V}              | value
${N:-${N:-x}}         | x
${N:-'a b'}           | a b
${N:-a\}b}            | a}b
${N:-"}"}             | }
${V:?no}              | value
${N:?is missing}      | ! N: is missing
${N:?}                | ! N: is not allowed to be empty
${E?x}                |
${N?}                 | ! N: is not allowed to be unset
${P#*/}               | local/lib.so.1
${P##*/}              | lib.so.1
${P%.*}               | usr/local/lib.so
${P%%.*}              | usr/local/lib
${P#usr}              | /local/lib.so.1
${P#\*}               | usr/local/lib.so.1
${V#$V}               |
${P/l/L}              | usr/Local/lib.so.1
${P//l/L}             | usr/LocaL/Lib.so.1
${P//\//-}            | usr-local-lib.so.1
${P//l/}              | usr/oca/ib.so.1
${P/./$V}             | usr/local/libvalueso.1
${N/a/b}              |
"${N:-a b}"           | a b
'open                 | ! unexpected end of statement while looking for matching single-quote
"open                 | ! unexpected end of statement while looking for matching double-quote
${V                   | ! syntax error: missing '}'
${                    | ! syntax error: missing '}'
${}                   | ! syntax error: bad substitution
${{V}}                | ! syntax error: bad substitution
${:-x}                | ! syntax error: bad substitution
${V:#x}               | ! unsupported modifier (:#) in substitution
${V^}                 | ! unsupported modifier (^) in substitution
${N:-x                | ! unexpected end of statement while looking for matching }
${V#\a}               | ! invalid escape '\a'
"#;

fn variables() -> BTreeMap<String, String> {
    [("V", "value"), ("E", ""), ("P", "usr/local/lib.so.1"), ("W", "a b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn follows_the_table() {
    for row in TABLE.lines().filter(|row| !row.is_empty()) {
        let (word, expected) = row.split_once("  ").unwrap();
        let expected = expected.trim_start().strip_prefix('|').unwrap().trim();
        let found = match expand(word, &variables(), '\\', Quotes::Remove) {
            Ok(expanded) => expanded.text,
            Err(message) => format!("! {message}"),
        };
        assert_eq!(found, expected, "{word}");
    }
}

#[test]
fn takes_the_other_escape() {
    let text = |word| expand(word, &variables(), '`', Quotes::Remove).unwrap().text;
    assert_eq!(text(r"C:\dir\$V"), r"C:\dir\value");
    assert_eq!(text("`$V"), "$V");
    assert_eq!(text("${P//`//-}"), "usr-local-lib.so.1");
}

#[test]
fn cuts_words_at_unquoted_blanks() {
    let words = |word| expand(word, &variables(), '\\', Quotes::Remove).unwrap().words;
    assert_eq!(words("$W c"), ["a", "b", "c"]);
    assert_eq!(words("\"$W\" c"), ["a b", "c"]);
    assert_eq!(words("$E ''"), [""]);
    assert!(words("$E").is_empty());
}

#[test]
fn leaves_quotes_of_heredocs() {
    let text = |body| expand(body, &variables(), '\\', Quotes::Plain).unwrap().text;
    assert_eq!(text("don't \"$V\" \\$V \\\\\n"), "don't \"value\" $V \\\n");
}

#[test]
fn names_unset_variables() {
    let expanded = expand("$N ${V} ${M:-x} ${O}", &variables(), '\\', Quotes::Remove).unwrap();
    assert_eq!(expanded.unset, ["N", "O"]);
}

#[test]
fn bounds_how_deep_substitutions_stand_in_each_other() {
    let nested = |depth| format!("{}x{}", "${N:-".repeat(depth), "}".repeat(depth));
    let text = |depth| expand(&nested(depth), &variables(), '\\', Quotes::Remove);
    assert_eq!(text(64).unwrap().text, "x");
    // Side by side they are as many as one likes.
    let many = nested(64).repeat(3);
    assert_eq!(expand(&many, &variables(), '\\', Quotes::Remove).unwrap().text, "xxx");
    for depth in [65, 1 << 20] {
        assert_eq!(text(depth).unwrap_err(), "substitutions are nested more than 64 deep");
    }
}

#[test]
fn bounds_what_a_word_expands_to() {
    let variables = std::collections::BTreeMap::from([("L".to_owned(), "x".repeat(1 << 20))]);
    let text = |word: &str| expand(word, &variables, '\\', Quotes::Remove).map(|e| e.text.len());
    assert_eq!(text("$L"), Ok(1 << 20));
    assert_eq!(text(&"$L".repeat(1000)).unwrap_err(), "expands to more than 1048576 bytes");
}
