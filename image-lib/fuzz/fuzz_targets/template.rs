//! Go templates of `--format`: parsing and rendering end, and nothing is printed beside what is rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;

// The command's own room, which no library has.
#[path = "../../cli/src/template/evaluate.rs"]
mod evaluate;
#[path = "../../cli/src/template/parse.rs"]
mod parse;
#[path = "../../cli/src/template/printf.rs"]
mod printf;

fn render(text: &str, value: &serde_json::Value) -> Result<String, String> {
    evaluate::render(&parse::parse(text)?, value)
}

fuzz_target!(|text: &str| {
    let value = json!({
        "Id": "sha256:ab", "Size": 12, "Tags": ["a:1", "b:2"], "None": null,
        "Config": { "Env": ["A=1"], "Labels": { "x.y": "z" }, "User": "" },
    });
    if let Ok(rendered) = render(text, &value)
        && !text.contains("{{")
    {
        assert_eq!(rendered, text);
    }
});
