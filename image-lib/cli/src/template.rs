//! The part of Go's template language that people use with docker: fields, pipelines, `range`,
//! `if`, `with`, and docker's functions, over JSON values.

mod evaluate;
mod parse;
mod printf;

use serde_json::Value;

use crate::failure::Failure;

/// A template, understood.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        parse::parse(text).map(|nodes| Self { nodes }).map_err(|reason| {
            Failure::new(format!("template parsing error: {reason}")).with_code(64)
        })
    }

    /// The text that it gives for `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        evaluate::render(&self.nodes, value)
            .map_err(|reason| Failure::new(format!("template: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> Result<String, Failure> {
        let value = json!({
            "Id": "sha256:ab",
            "Size": 12,
            "Tags": ["a:1", "b:2"],
            "Config": { "Env": ["A=1"], "Cmd": null, "Labels": { "x.y": "z" }, "User": "" },
        });
        Template::parse(template)?.render(&value)
    }

    #[test]
    fn renders_what_people_write() {
        for (template, expected) in [
            ("{{.Id}}", "sha256:ab"),
            ("a {{ .Size }} b", "a 12 b"),
            ("{{json .Config.Env}}", "[\"A=1\"]"),
            ("{{.Config.Env}}", "[A=1]"),
            ("{{.Config.Labels}}", "map[x.y:z]"),
            ("{{.Config.Cmd}}", "<no value>"),
            ("{{index .Tags 1}}", "b:2"),
            ("{{index .Config.Labels \"x.y\"}}", "z"),
            ("{{range .Tags}}<{{.}}>{{end}}", "<a:1><b:2>"),
            ("{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}", "0=a:1 1=b:2 "),
            ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
            ("{{join .Tags \", \"}}", "a:1, b:2"),
            ("{{if .Config.User}}u{{else if .Size}}s{{else}}n{{end}}", "s"),
            ("{{with .Config}}{{index .Env 0}}{{end}}", "A=1"),
            ("{{.Id | upper}}", "SHA256:AB"),
            ("{{len .Tags}} {{eq .Size 12}} {{not .Config.User}}", "2 true true"),
            ("{{(index .Tags 0)}}{{println}}", "a:1\n"),
            ("{{printf \"%s-%d\" .Id .Size}}", "sha256:ab-12"),
            ("{{printf \"%-10s|%5d\" .Id .Size}}", "sha256:ab |   12"),
            ("{{.Id | printf \"%.3s\"}}", "sha"),
            ("{{json (split .Id \":\")}}", "[\"sha256\",\"ab\"]"),
            ("x  {{- .Size -}}  y", "x12y"),
            ("{{/* nothing */}}{{$.Size}}", "12"),
            ("{{title \"abc d-e it's\"}}", "Abc D-E It's"),
            ("{{pad .Id 2 1}}|{{pad .Config.User 2 1}}", "  sha256:ab |"),
            ("{{truncate .Id 3}} {{lower \"AB\"}}", "sha ab"),
            ("{{if and .Size (ne .Size 3)}}y{{end}}{{if or .Config.User false}}n{{end}}", "y"),
        ] {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for template in [
            "{{.Foo}}",
            "{{eq}}",
            "{{",
            "{{range .Tags}}",
            "{{end}}",
            "{{fly .Id}}",
            "{{index .Tags 9}}",
        ] {
            assert!(render(template).is_err(), "{template}");
        }
    }
}
