//! Nodes and a value to text.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::parse::{Node, Operand, Pipeline};
use super::printf::printf;

/// The most spaces that one word is padded with.
pub(super) const PAD_MAX: usize = 10_000;

struct Scope<'v> {
    root: &'v Value,
    variables: Vec<(String, Value)>,
}

pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, String> {
    let mut output = String::new();
    let mut scope = Scope { root: value, variables: Vec::new() };
    scope.render(nodes, value, &mut output)?;
    Ok(output)
}

/// Go prints lists in brackets and maps with `map`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", text(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn field(value: &Value, names: &[String]) -> Result<Value, String> {
    let mut value = value;
    for name in names {
        value = match value {
            Value::Object(map) => {
                map.get(name).ok_or_else(|| format!("map has no entry for key \"{name}\""))?
            }
            // As Go: a field of nothing is nothing.
            Value::Null => return Ok(Value::Null),
            _ => return Err(format!("can't evaluate field {name}")),
        };
    }
    Ok(value.clone())
}

impl Scope<'_> {
    fn render(&mut self, nodes: &[Node], dot: &Value, output: &mut String) -> Result<(), String> {
        let outer = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => output.push_str(text),
                Node::Print(pipeline) => output.push_str(&text(&self.pipeline(pipeline, dot)?)),
                Node::Set { variable, value } => {
                    let value = self.pipeline(value, dot)?;
                    self.variables.push((variable.clone(), value));
                }
                Node::If { condition, moves_dot, then, otherwise } => {
                    let value = self.pipeline(condition, dot)?;
                    let dot = if *moves_dot && truth(&value) { &value } else { dot };
                    let branch = if truth(&value) { then } else { otherwise };
                    self.render(branch, dot, output)?;
                }
                Node::Range { variables, list, body, otherwise } => {
                    let list = self.pipeline(list, dot)?;
                    let items = items(list)?;
                    if items.is_empty() {
                        self.render(otherwise, dot, output)?;
                    }
                    for (key, item) in items {
                        let inner = self.variables.len();
                        match &variables[..] {
                            [] => {}
                            [one] => self.variables.push((one.clone(), item.clone())),
                            [first, second, ..] => {
                                self.variables.push((first.clone(), key));
                                self.variables.push((second.clone(), item.clone()));
                            }
                        }
                        self.render(body, &item, output)?;
                        self.variables.truncate(inner);
                    }
                }
            }
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut result = None;
        for command in pipeline {
            result = Some(self.command(command, dot, result)?);
        }
        Ok(result.unwrap_or(Value::Null))
    }

    fn command(
        &self,
        command: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Null) };
        let Operand::Word(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err("only a function takes arguments".to_owned());
            }
            return self.operand(first, dot);
        };
        match name.as_str() {
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "nil" => return Ok(Value::Null),
            _ => {}
        }
        let mut arguments =
            rest.iter().map(|o| self.operand(o, dot)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        call(name, &arguments)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Field(names) => field(dot, names),
            Operand::Variable(name, names) if name.is_empty() => field(self.root, names),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| format!("undefined variable \"${name}\""))?;
                field(value, names)
            }
            Operand::Text(text) => Ok(json!(text)),
            Operand::Number(number) => Ok(json!(number)),
            Operand::Word(_) => self.command(std::slice::from_ref(operand), dot, None),
            Operand::Group(pipeline, names) => field(&self.pipeline(pipeline, dot)?, names),
        }
    }
}

fn items(list: Value) -> Result<Vec<(Value, Value)>, String> {
    match list {
        Value::Array(list) => {
            Ok(list.into_iter().enumerate().map(|(at, item)| (json!(at), item)).collect())
        }
        Value::Object(map) => Ok(map.into_iter().map(|(key, item)| (json!(key), item)).collect()),
        Value::Null => Ok(Vec::new()),
        other => Err(format!("range can't iterate over {other}")),
    }
}

fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let all = || arguments.iter().map(text).collect::<Vec<_>>().join(" ");
    let string = |at: usize| arguments.get(at).map(text).ok_or_else(|| wrong_count(name));
    let value = |at: usize| arguments.get(at).ok_or_else(|| wrong_count(name));
    Ok(match name {
        "json" => json!(value(0)?.to_string()),
        "index" => return index(arguments),
        "join" => {
            let list = value(0)?.as_array().cloned().unwrap_or_default();
            json!(list.iter().map(text).collect::<Vec<_>>().join(&string(1)?))
        }
        "split" => json!(string(0)?.split(&string(1)?).collect::<Vec<_>>()),
        "lower" => json!(string(0)?.to_lowercase()),
        "upper" => json!(string(0)?.to_uppercase()),
        "title" => {
            // As Go: every word begins with a capital.
            let mut inside = false;
            let title = |character: char| {
                let is_letter = character.is_alphanumeric() || matches!(character, '_' | '\'');
                let was_inside = std::mem::replace(&mut inside, is_letter);
                if is_letter && !was_inside {
                    character.to_uppercase().to_string()
                } else {
                    character.to_string()
                }
            };
            json!(string(0)?.chars().map(title).collect::<String>())
        }
        "pad" => {
            let spaces = |at: usize| -> Result<String, String> {
                let count = value(at)?.as_u64().and_then(|n| usize::try_from(n).ok());
                let count = count.filter(|n| *n <= PAD_MAX).ok_or("pad: not a number of spaces")?;
                Ok(" ".repeat(count))
            };
            match string(0)? {
                // As docker: nothing is not padded.
                text if text.is_empty() => json!(text),
                text => json!(format!("{}{text}{}", spaces(1)?, spaces(2)?)),
            }
        }
        "truncate" => {
            let most = value(1)?.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            json!(string(0)?.chars().take(most).collect::<String>())
        }
        "print" => json!(all()),
        "println" => json!(format!("{}\n", all())),
        "printf" => json!(printf(&string(0)?, &arguments[1..])),
        "len" => json!(length(value(0)?)?),
        "not" => json!(!truth(value(0)?)),
        "and" => {
            arguments.iter().find(|v| !truth(v)).or(arguments.last()).cloned().unwrap_or_default()
        }
        "or" => {
            arguments.iter().find(|v| truth(v)).or(arguments.last()).cloned().unwrap_or_default()
        }
        "eq" => {
            let (first, others) = (value(0)?, arguments.get(1..).unwrap_or_default());
            json!(others.contains(first))
        }
        "ne" => json!(value(0)? != value(1)?),
        "lt" => json!(compare(value(0)?, value(1)?)? == Ordering::Less),
        "le" => json!(compare(value(0)?, value(1)?)? != Ordering::Greater),
        "gt" => json!(compare(value(0)?, value(1)?)? == Ordering::Greater),
        "ge" => json!(compare(value(0)?, value(1)?)? != Ordering::Less),
        _ => return Err(format!("function \"{name}\" not defined")),
    })
}

fn wrong_count(name: &str) -> String {
    format!("wrong number of args for {name}")
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (mut value, keys) = arguments.split_first().ok_or_else(|| wrong_count("index"))?;
    for key in keys {
        value = match (value, key) {
            (Value::Array(list), Value::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| list.get(at)).ok_or("error calling index: index out of range")?
            }
            // A key that a map lacks gives nothing.
            (Value::Object(map), Value::String(key)) => match map.get(key) {
                Some(found) => found,
                None => return Ok(json!("")),
            },
            (Value::Null, _) => return Ok(json!("")),
            _ => return Err("error calling index: cannot index this value".to_owned()),
        };
    }
    Ok(value.clone())
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(list) => Ok(list.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("len of {other}")),
    }
}

fn compare(left: &Value, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let order = a.as_f64().partial_cmp(&b.as_f64());
            order.ok_or_else(|| "incomparable numbers".to_owned())
        }
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}
