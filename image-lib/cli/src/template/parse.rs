//! Text to nodes.

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `if` and `with`: the second one moves the dot.
    If {
        condition: Pipeline,
        moves_dot: bool,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        variables: Vec<String>,
        list: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Set {
        variable: String,
        value: Pipeline,
    },
}

/// Commands, each of which gets the result of the one before as its last argument.
pub(super) type Pipeline = Vec<Vec<Operand>>;

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// `.A.B`; no names means the dot itself.
    Field(Vec<String>),
    /// `$x.A`; an empty name means the whole value.
    Variable(String, Vec<String>),
    Text(String),
    Number(i64),
    Word(String),
    /// `(…).A`
    Group(Pipeline, Vec<String>),
}

/// How deep blocks and parentheses may lie in one another.
const DEPTH_MAX: usize = 64;

struct Parser<'t> {
    /// Text and actions in turn.
    parts: std::vec::IntoIter<Part<'t>>,
}

enum Part<'t> {
    Text(String),
    Action(&'t str),
}

/// How a list of nodes ended.
enum End {
    Text,
    Block,
    Else(String),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { parts: divide(text)?.into_iter() };
    match parser.nodes(0)? {
        (nodes, End::Text) => Ok(nodes),
        _ => Err("unexpected {{end}} or {{else}}".to_owned()),
    }
}

fn divide(mut text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut trims_next = false;
    while let Some(start) = text.find("{{") {
        let mut before = &text[..start];
        if trims_next {
            before = before.trim_start();
        }
        let mut rest = &text[start + 2..];
        if let Some(trimmed) = rest.strip_prefix("- ") {
            before = before.trim_end();
            rest = trimmed;
        }
        let end = closing(rest).ok_or("unclosed action")?;
        let mut action = rest[..end].trim_start();
        trims_next = action.ends_with(" -");
        if trims_next {
            action = &action[..action.len() - 2];
        }
        parts.push(Part::Text(before.to_owned()));
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            parts.push(Part::Action(action));
        }
        text = &rest[end + 2..];
    }
    let last = if trims_next { text.trim_start() } else { text };
    parts.push(Part::Text(last.to_owned()));
    Ok(parts)
}

/// Where the action ends; braces in strings do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), close) if open == close && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

impl Parser<'_> {
    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, End), String> {
        if depth > DEPTH_MAX {
            return Err("too deep".to_owned());
        }
        let mut nodes = Vec::new();
        while let Some(part) = self.parts.next() {
            let action = match part {
                Part::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Part::Action(action) => action,
            };
            let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
            let rest = rest.trim();
            match word {
                "end" => return Ok((nodes, End::Block)),
                "else" => return Ok((nodes, End::Else(rest.to_owned()))),
                "if" | "with" => nodes.push(self.condition(word == "with", rest, depth)?),
                "range" => nodes.push(self.range(rest, depth)?),
                _ => nodes.push(assignment_or_print(action)?),
            }
        }
        Ok((nodes, End::Text))
    }

    fn condition(&mut self, moves_dot: bool, text: &str, depth: usize) -> Result<Node, String> {
        let condition = pipeline(text)?;
        let (then, end) = self.nodes(depth + 1)?;
        let otherwise = self.otherwise(end, depth)?;
        Ok(Node::If { condition, moves_dot, then, otherwise })
    }

    fn otherwise(&mut self, end: End, depth: usize) -> Result<Vec<Node>, String> {
        match end {
            End::Block => Ok(Vec::new()),
            End::Text => Err("unexpected end of the template, {{end}} is missing".to_owned()),
            End::Else(rest) => {
                if let Some(rest) = rest.strip_prefix("if ") {
                    return Ok(vec![self.condition(false, rest, depth + 1)?]);
                }
                match self.nodes(depth + 1)? {
                    (nodes, End::Block) => Ok(nodes),
                    _ => Err("{{end}} is missing after {{else}}".to_owned()),
                }
            }
        }
    }

    fn range(&mut self, text: &str, depth: usize) -> Result<Node, String> {
        let (variables, list) = match text.split_once(":=") {
            Some((names, list)) if text.starts_with('$') => {
                let names = names.split(',').map(|n| n.trim().trim_start_matches('$').to_owned());
                (names.collect(), list)
            }
            _ => (Vec::new(), text),
        };
        let list = pipeline(list)?;
        let (body, end) = self.nodes(depth + 1)?;
        let otherwise = self.otherwise(end, depth)?;
        Ok(Node::Range { variables, list, body, otherwise })
    }
}

fn assignment_or_print(action: &str) -> Result<Node, String> {
    if let Some((name, value)) = action.split_once(":=")
        && let Some(name) = name.trim().strip_prefix('$')
    {
        return Ok(Node::Set { variable: name.to_owned(), value: pipeline(value)? });
    }
    Ok(Node::Print(pipeline(action)?))
}

fn pipeline(text: &str) -> Result<Pipeline, String> {
    let mut words = Words { rest: text };
    let pipeline = words.pipeline(0)?;
    if words.rest.trim().is_empty() { Ok(pipeline) } else { Err("unexpected \")\"".to_owned()) }
}

struct Words<'t> {
    rest: &'t str,
}

impl Words<'_> {
    fn pipeline(&mut self, depth: usize) -> Result<Pipeline, String> {
        if depth > DEPTH_MAX {
            return Err("too deep".to_owned());
        }
        let mut commands = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            let Some(first) = self.rest.chars().next() else { break };
            match first {
                ')' => break,
                '|' => {
                    self.rest = &self.rest[1..];
                    commands.push(Vec::new());
                }
                '(' => {
                    self.rest = &self.rest[1..];
                    let inner = self.pipeline(depth + 1)?;
                    self.rest = self.rest.strip_prefix(')').ok_or("unclosed \"(\"")?;
                    let names = self.names();
                    push(&mut commands, Operand::Group(inner, names));
                }
                '"' | '`' => {
                    let text = self.quoted(first)?;
                    push(&mut commands, Operand::Text(text));
                }
                '.' => {
                    let names = self.names();
                    push(&mut commands, Operand::Field(names));
                }
                '$' => {
                    self.rest = &self.rest[1..];
                    let name = self.name();
                    let names = self.names();
                    push(&mut commands, Operand::Variable(name, names));
                }
                _ => {
                    let end = self.rest.find(|c: char| c.is_whitespace() || "|()".contains(c));
                    let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                    self.rest = rest;
                    let number = word.parse().map(Operand::Number);
                    push(&mut commands, number.unwrap_or_else(|_| Operand::Word(word.to_owned())));
                }
            }
        }
        if commands.iter().any(Vec::is_empty) {
            return Err("missing value for command".to_owned());
        }
        Ok(commands)
    }

    fn name(&mut self) -> String {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    /// `.A.B`, or a dot alone.
    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            let name = self.name();
            if name.is_empty() {
                break;
            }
            names.push(name);
        }
        names
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = &self.rest[at + 1..];
                return Ok(text);
            }
            if character != '\\' || quote == '`' {
                text.push(character);
                continue;
            }
            let (_, escaped) = characters.next().ok_or("unterminated string")?;
            text.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
        }
        Err("unterminated string".to_owned())
    }
}

fn push(commands: &mut Pipeline, operand: Operand) {
    if let Some(command) = commands.last_mut() {
        command.push(operand);
    }
}
