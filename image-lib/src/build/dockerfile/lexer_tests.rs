//! Cases of the lexer: a text and the logical lines that it must become.

use super::lex;

/// `text` must lex into these lines.
fn check(text: &str, expected: &[&str]) {
    let lexed = lex("Dockerfile", text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let lines: Vec<&str> = lexed.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, expected, "{text:?}");
}

#[test]
fn joins_continuations() {
    check("FROM a\nRUN b\n", &["FROM a", "RUN b"]);
    check("RUN a \\\n  b\\\nc\nCMD d", &["RUN a   bc", "CMD d"]);
    check("RUN a \\ \t \n b", &["RUN a  b"]);
    check("RUN a\\\\\nRUN b", &["RUN a\\\\", "RUN b"]);
    check("RUN a\\\\\\\nRUN b", &["RUN a\\\\\\", "RUN b"]);
    check("\\\nRUN a", &["RUN a"]);
    check("RUN a \\\n", &["RUN a"]);
    check("RUN a \\", &["RUN a"]);
}

#[test]
fn drops_comments_and_blank_lines_everywhere_but_in_words() {
    check("# x\n\n  # y\nRUN a # b\n", &["RUN a # b"]);
    check("RUN a \\\n# c\n  # d\n  b", &["RUN a   b"]);
    check("RUN a \\\n\n\n  b\nRUN c", &["RUN a   b", "RUN c"]);
    check("   \t RUN a   \n", &["RUN a"]);
}

#[test]
fn reads_bom_crlf_and_other_escape() {
    check("\u{feff}# escape=`\r\nRUN a `\r\n  b\\\r\nCMD c\r\n", &["RUN a   b\\", "CMD c"]);
}

#[test]
fn warns_of_blank_continuation_lines() {
    let lexed = lex("Dockerfile", "RUN a \\\n\n b\n").unwrap();
    assert_eq!(lexed.warnings[0].at.place.line, 2);
}

#[test]
fn attaches_heredocs_in_order() {
    let text = "RUN <<A cat <<-'B' && \\\n  true\nx \\\n# kept\nA\n\ty $z\n\tB\nCMD a\n";
    let lexed = lex("Dockerfile", text).unwrap();
    let run = &lexed.lines[0];
    assert_eq!(run.heredocs[0].body, "x \\\n# kept\n");
    assert_eq!(run.heredocs[1].content(), "y $z\n");
    assert_eq!((run.first_line, run.last_line), (1, 7));
    assert_eq!(lexed.lines[1].text, "CMD a");
}

#[test]
fn knows_where_heredocs_are_none() {
    check("CMD <<A\nENV a=<<B\n", &["CMD <<A", "ENV a=<<B"]);
    check("RUN [\"cat\", \"<<A\"]\nCMD x", &["RUN [\"cat\", \"<<A\"]", "CMD x"]);
    check("RUN cat <<<word\nCMD x", &["RUN cat <<<word", "CMD x"]);
    let lexed = lex("Dockerfile", "ONBUILD COPY --chown=1 <<A /\nx\nA\n").unwrap();
    assert_eq!(lexed.lines[0].heredocs[0].body, "x\n");
}

#[test]
fn refuses_an_open_heredoc() {
    let error = lex("Dockerfile", "FROM a\nRUN cat <<E\nx\n").unwrap_err();
    assert!(error.to_string().starts_with("Dockerfile:2:9: unterminated heredoc \"E\""), "{error}");
}

#[test]
fn keeps_places_through_continuations() {
    let lexed = lex("Dockerfile", "\n  RUN é \\\n# c\n\tfoo bar\n").unwrap();
    let line = &lexed.lines[0];
    let at = |word: &str| {
        let place = line.place(line.text.find(word).unwrap());
        (place.line, place.column)
    };
    assert_eq!((at("RUN"), at("é"), at("foo"), at("bar")), ((2, 3), (2, 7), (4, 2), (4, 6)));
}
