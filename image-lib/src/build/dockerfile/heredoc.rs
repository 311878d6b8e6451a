//! Here-documents: `<<NAME` words and the bodies that follow the instruction.

use super::word::split_quoted;

/// One here-document of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, which is also the name of the file in `COPY` and `ADD`.
    pub name: String,
    /// Whether variables in the body are expanded: no part of the word was quoted.
    pub expand: bool,
    /// Whether `<<-` asked for leading tabs to be dropped.
    pub chomp: bool,
    /// The body, line ends included, as it stands in the file.
    pub body: String,
}

impl Heredoc {
    /// The body as its reader sees it: without leading tabs where `<<-` was written.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Whether `line`, without its end, ends this document.
    #[must_use]
    pub fn is_ended_by(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The markers in `text`, in the order in which their bodies follow.
#[must_use]
pub fn markers(text: &str) -> Vec<Heredoc> {
    // Here the escape is always the backslash, whatever the escape directive says.
    split_quoted(text, '\\').into_iter().filter_map(|range| marker(&text[range])).collect()
}

/// Whether `text` is one marker and nothing else: then its body is the command itself.
#[must_use]
pub fn is_whole(text: &str) -> bool {
    let words = split_quoted(text, '\\');
    matches!(words.as_slice(), [only] if marker(&text[only.clone()]).is_some())
}

/// Reads `[fd]<<[-]WORD`; `None` when the word is none.
#[must_use]
pub fn marker(word: &str) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = unquote(rest)?;
    if name.is_empty() {
        return None;
    }
    let expand = name == rest;
    Some(Heredoc { name, expand, chomp, body: String::new() })
}

/// `word` without quotes and escapes; `None` when a quote stays open.
fn unquote(word: &str) -> Option<String> {
    let mut plain = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == '\\' && quote != Some('\'') => plain.extend(chars.next()),
            _ => plain.push(c),
        }
    }
    quote.is_none().then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::{is_whole, marker, markers};

    #[test]
    fn reads_markers() {
        let found = marker("<<EOF").unwrap();
        assert!(found.expand && !found.chomp && found.name == "EOF");
        let found = marker("3<<-'E F'").unwrap();
        assert!(!found.expand && found.chomp && found.name == "E F");
        assert!(!marker("<<E\"O\"F").unwrap().expand);
        for none in ["<<<EOF", "<<", "a<<b", "<EOF", "<<'x", "<<''"] {
            assert_eq!(marker(none), None, "{none}");
        }
    }

    #[test]
    fn finds_several_in_order() {
        let names: Vec<String> =
            markers("cat <<A 2<<'B' > out \"<<C\" <<-D").into_iter().map(|h| h.name).collect();
        assert_eq!(names, ["A", "B", "D"]);
    }

    #[test]
    fn tells_a_marker_alone() {
        assert!(is_whole(" <<EOF ") && is_whole("<<-'E F'"));
        assert!(!is_whole("<<EOF sh") && !is_whole("cat <<EOF") && !is_whole("<<A <<B"));
    }

    #[test]
    fn drops_only_leading_tabs() {
        let mut document = marker("<<-E").unwrap();
        document.body = "\t\ta\tb\n  \tc\n".into();
        assert_eq!(document.content(), "a\tb\n  \tc\n");
        assert!(document.is_ended_by("\t\tE") && !document.is_ended_by(" E"));
    }
}
