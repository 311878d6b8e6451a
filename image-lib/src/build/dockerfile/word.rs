//! Words of an instruction's text: splitting with quotes kept, and the JSON array form.

use std::ops::Range;

/// Words of `text` with their quotes and escapes still in them (the expander removes those), each
/// with its place in `text`. `ENV`, `LABEL` and `ARG` are split like this.
///
/// An escape inside single quotes is an ordinary character.
#[must_use]
pub fn split_quoted(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if start.is_none() {
            if c.is_whitespace() {
                continue;
            }
            start = Some(at);
        }
        match quote {
            None if c.is_whitespace() => {
                if let Some(from) = start.take() {
                    words.push(from..at);
                }
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape && quote != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(from..text.len());
    }
    words
}

/// Words of `text` between white space, with their places. `FROM`, `EXPOSE` and the shell form of
/// `COPY` are split like this.
#[must_use]
pub fn split_blank(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (c.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(from..text.len());
    }
    words
}

/// What an instruction's text is when looked at as a JSON array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonForm {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with something else in it, which is refused.
    NotStrings,
    /// No JSON: the shell form, whatever it looks like.
    Absent,
}

/// Reads the JSON form. What follows the closing bracket is ignored, as the reference frontend
/// does; what is no JSON (single quotes, say) is the shell form.
#[must_use]
pub fn json_form(text: &str) -> JsonForm {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return JsonForm::Absent;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let Some(Ok(serde_json::Value::Array(items))) = values.next() else {
        return JsonForm::Absent;
    };
    let strings: Option<Vec<String>> =
        items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect();
    strings.map_or(JsonForm::NotStrings, JsonForm::Strings)
}

/// A word for yes or no as Go reads it (`strconv.ParseBool`), which BuildKit does; nothing if it is neither.
#[must_use]
pub fn parse_bool(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// The candidate nearest to `word`, if it is near enough to be a slip of the finger.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let length = word.chars().count();
    let limit = if length <= 3 { 1 } else { 2 };
    known
        .into_iter()
        // A word may be as long as its file, and the distance costs the product of both lengths.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
        .map(|candidate| (edit_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{JsonForm, did_you_mean, json_form, split_blank, split_quoted};

    fn quoted(text: &str) -> Vec<&str> {
        split_quoted(text, '\\').into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn keeps_quotes_and_escapes_in_words() {
        assert_eq!(quoted(r#"a=b  c="d e" f=g\ h"#), ["a=b", r#"c="d e""#, r"f=g\ h"]);
        assert_eq!(quoted(r"a='x\' b"), [r"a='x\'", "b"]);
        assert_eq!(quoted(r#"a="x\" y" z"#), [r#"a="x\" y""#, "z"]);
        assert_eq!(quoted("tail\\"), ["tail\\"]);
        assert!(quoted("  \t ").is_empty());
    }

    #[test]
    fn splits_at_blanks() {
        let text = " a\tbé  c ";
        let words: Vec<&str> = split_blank(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["a", "bé", "c"]);
    }

    #[test]
    fn tells_json_from_shell() {
        assert_eq!(json_form(r#" ["a","b c"]"#), JsonForm::Strings(vec!["a".into(), "b c".into()]));
        assert_eq!(json_form(r#"["a"] tail"#), JsonForm::Strings(vec!["a".into()]));
        assert_eq!(json_form("[]"), JsonForm::Strings(vec![]));
        assert_eq!(json_form("['a']"), JsonForm::Absent);
        assert_eq!(json_form(r#"["a", 1]"#), JsonForm::NotStrings);
        assert_eq!(json_form(r#""a""#), JsonForm::Absent);
    }

    #[test]
    fn suggests_only_near_words() {
        let known = ["RUN", "COPY", "ENTRYPOINT"];
        assert_eq!(did_you_mean("RUUN", known), Some("RUN"));
        assert_eq!(did_you_mean("entrypiont", known), Some("ENTRYPOINT"));
        assert_eq!(did_you_mean("FLY", known), None);
        assert_eq!(did_you_mean("COP", known), Some("COPY"));
        // Were it compared, this would take gigabytes.
        assert_eq!(did_you_mean(&"COPY".repeat(1 << 22), known), None);
    }
}
