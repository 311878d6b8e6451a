//! What a build has done: its stages, what each starts from, and of every step what it takes beside the step before
//! it. A stage that nothing needs is not there.

use serde_json::Value;

/// The graph in what `--explain=json` printed, a stage to a line: `NAME:LINE < BASE; LINE VERB < SOURCE, SOURCE; …`.
/// Nothing if that is no explanation.
pub(super) fn read(explanation: &str) -> Option<String> {
    let explanation: Value = serde_json::from_str(explanation).ok()?;
    let mut lines: Vec<String> = Vec::new();
    for step in explanation["steps"].as_array()? {
        let text = |key: &str| step[key].as_str().expect("a text");
        let inputs = step["inputs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let inputs: Vec<&str> = inputs.collect();
        let taken =
            if inputs.is_empty() { String::new() } else { format!(" < {}", inputs.join(", ")) };
        if step["step"] == 0 {
            lines.push(format!("{}:{}{taken}", text("stage"), step["line"]));
            continue;
        }
        let verb = text("instruction").split_whitespace().next().unwrap_or_default();
        let line = lines.last_mut().expect("a stage begins with what it starts from");
        line.push_str(&format!("; {} {}{taken}", step["line"], verb.to_ascii_uppercase()));
    }
    Some(lines.join("\n"))
}
