//! Values of the form `key=value,key=value`, as docker's flags have them: a line of CSV, in which quotes
//! keep a comma.

/// One pair; a word without a sign of equality has no value.
pub(super) type Field = (String, Option<String>);

/// Splits a value. Keys are lower-case; white space around a pair does not count.
pub(super) fn read(text: &str) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    for word in split(text)? {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        fields.push((key.trim().to_ascii_lowercase(), value));
    }
    Ok(fields)
}

/// The cells of one line of CSV (RFC 4180): a cell in quotes may have commas, and quotes twice.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                quoted_cell(quoted).ok_or_else(|| format!("{text:?}: a quote is not closed"))?
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(cells),
            None => return Err(format!("{text:?}: a comma is missing behind a quote")),
        }
    }
}

fn quoted_cell(text: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => return Some((cell, after)),
        }
    }
}

/// Reads a truth value as docker does.
pub(super) fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("1" | "t" | "true") => Ok(true),
        Some("0" | "f" | "false") => Ok(false),
        Some(other) => Err(format!("{key}={other}: it is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::{read, truth};

    #[test]
    fn keeps_commas_in_quotes() {
        let pairs = |text: &str| {
            let fields = read(text).unwrap();
            let shown = fields.into_iter().map(|(k, v)| format!("{k}|{}", v.unwrap_or_default()));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(pairs("type=image,name=a"), ["type|image", "name|a"]);
        assert_eq!(pairs("Type=image,\"name=a,b\",push"), ["type|image", "name|a,b", "push|"]);
        assert_eq!(pairs("\"a=say \"\"x\"\"\""), ["a|say \"x\""]);
        assert!(read("\"a").is_err() && read("\"a\"b").is_err());
        assert!(truth("push", None).unwrap() && !truth("push", Some("False")).unwrap());
        assert!(truth("push", Some("yes")).is_err());
    }
}
