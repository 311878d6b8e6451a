//! `--call` and `--check`: what a Dockerfile says of itself, without building it.

use std::process::ExitCode;

use keel_image::build::BuildOptions;
use keel_image::build::outline::{self, Outline, TargetStage};
use serde_json::json;

use super::flags::Arguments;
use crate::failure::Failure;
use crate::output;

/// What is asked instead of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
}

/// A question, and how the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    is_json: bool,
}

impl Call {
    /// What the command line asks; nothing if it is a build.
    pub(super) fn read(arguments: &Arguments) -> Result<Option<Self>, String> {
        let mut words = arguments.call.split(',');
        let method = match words.next().unwrap_or_default() {
            "build" | "" => None,
            "check" | "lint" => Some(Method::Check),
            "outline" => Some(Method::Outline),
            "targets" => Some(Method::Targets),
            other => {
                return Err(format!(
                    "--call={other}: it is none of build, check, outline, targets"
                ));
            }
        };
        let mut is_json = false;
        for word in words {
            match word {
                "format=json" => is_json = true,
                "format=text" => is_json = false,
                other => return Err(format!("--call: {other} is not known")),
            }
        }
        let method = match (method, arguments.check) {
            (None | Some(Method::Check), true) => Some(Method::Check),
            (Some(_), true) => return Err("--check and --call exclude one another".to_owned()),
            (method, false) => method,
        };
        Ok(method.map(|method| Self { method, is_json }))
    }

    /// Prints the answer. A check that finds something ends with 1.
    pub(super) fn run(self, options: &BuildOptions) -> Result<ExitCode, Failure> {
        let dockerfile = outline::read_dockerfile(options)?;
        match self.method {
            Method::Check => {
                let warnings: Vec<String> =
                    dockerfile.warnings.iter().map(ToString::to_string).collect();
                self.print_check(&warnings)
            }
            Method::Outline => self.print_outline(&outline::outline(&dockerfile, options)?),
            Method::Targets => self.print_targets(&outline::targets(&dockerfile)),
        }
    }

    fn print_check(self, warnings: &[String]) -> Result<ExitCode, Failure> {
        if self.is_json {
            output::json(&json!({ "warnings": warnings }))?;
        } else {
            for warning in warnings {
                output::line(&format!("\nWARNING: {warning}"))?;
            }
            output::line(&match warnings.len() {
                0 => "Check complete, no warnings found.".to_owned(),
                1 => "\nCheck complete, 1 warning has been found!".to_owned(),
                count => format!("\nCheck complete, {count} warnings have been found!"),
            })?;
        }
        Ok(if warnings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn print_targets(self, targets: &[TargetStage]) -> Result<ExitCode, Failure> {
        if self.is_json {
            let default = targets.iter().find(|target| target.is_default).map(|t| t.name.clone());
            let list: Vec<_> = targets
                .iter()
                .map(|t| {
                    json!({ "name": t.name, "base": t.base, "default": t.is_default, "line": t.line })
                })
                .collect();
            output::json(&json!({ "default": default, "targets": list }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = vec![vec!["TARGET".to_owned(), "FROM".to_owned()]];
        for target in targets {
            let mark = if target.is_default { " (default)" } else { "" };
            rows.push(vec![format!("{}{mark}", target.name), target.base.clone()]);
        }
        print_table(&rows)
    }

    fn print_outline(self, outline: &Outline) -> Result<ExitCode, Failure> {
        if self.is_json {
            output::json(&json!({
                "name": outline.target,
                "args": outline.arguments,
                "secrets": outline.secrets,
                "ssh": outline.agents,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::line(&format!("TARGET: {}", outline.target))?;
        let mut rows = vec![vec!["BUILD ARG".to_owned(), "VALUE".to_owned()]];
        for (name, value) in &outline.arguments {
            rows.push(vec![name.clone(), value.clone().unwrap_or_default()]);
        }
        for (head, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
            if list.is_empty() {
                continue;
            }
            rows.push(vec![String::new()]);
            rows.push(vec![head.to_owned(), "REQUIRED".to_owned()]);
            let mark = |required: bool| if required { "true" } else { "false" };
            rows.extend(
                list.iter().map(|(id, required)| vec![id.clone(), mark(*required).to_owned()]),
            );
        }
        if rows.len() > 1 {
            output::line("")?;
            return print_table(&rows);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_table(rows: &[Vec<String>]) -> Result<ExitCode, Failure> {
    let first = |row: &Vec<String>| row.first().map_or(0, |cell| cell.chars().count());
    let width = rows.iter().map(first).max().unwrap_or_default();
    for row in rows {
        let line = match &row[..] {
            [name, value] => format!("{name:width$}   {value}"),
            _ => row.join(""),
        };
        output::line(line.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
