//! Logical lines to a [`Dockerfile`]: global arguments, stages, and their instructions.
//!
//! This room knows the grammar of each instruction. It expands nothing and reads no file.

use std::sync::Arc;

use super::checks::Checks;
use super::device;
use super::directive::Directives;
use super::flag::{self, FlagError, Flags};
use super::healthcheck;
use super::heredoc;
use super::instruction::{
    Argument, Command, CommandLine, From, Instruction, Network, Pair, Run, Transfer, Verb, WORDS,
};
use super::lexer::{LogicalLine, lex, split_instruction};
use super::lint;
use super::mount;
use super::place::{DockerfileError, Place, Source};
use super::word::{JsonForm, did_you_mean, json_form, split_blank, split_quoted};

/// A whole Dockerfile.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// Its text and name, for errors that are found later.
    pub source: Arc<Source>,
    /// What its directives say.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub global_arguments: Vec<Instruction>,
    /// The stages; there is at least one.
    pub stages: Vec<Stage>,
    /// What the checks found.
    pub warnings: Vec<DockerfileError>,
    /// What of it is told.
    checks: Checks,
    /// What the lexer found.
    lexed: Vec<DockerfileError>,
}

impl Dockerfile {
    /// What is to be told of a rule, unless it is not to be told.
    #[must_use]
    pub fn finding(&self, place: Place, rule: &str, text: &str) -> Option<DockerfileError> {
        let comments = self.source.comments_above(place.line);
        let is_told = self.checks.tells(rule, &comments);
        is_told.then(|| self.source.error(place, format!("{rule}: {text}")))
    }

    /// Whether what the checks find ends the build.
    #[must_use]
    pub fn findings_are_errors(&self) -> bool {
        self.checks.is_error
    }

    /// Checks again, as another value of the `check` directive says.
    ///
    /// # Errors
    /// The value is none.
    pub fn check_by(&mut self, text: &str) -> Result<(), String> {
        self.checks = Checks::read(text)?;
        self.check();
        Ok(())
    }

    fn check(&mut self) {
        let rule = "NoEmptyContinuation";
        let mut found: Vec<DockerfileError> = self
            .lexed
            .iter()
            .filter_map(|found| self.finding(found.at.place, rule, &found.message))
            .collect();
        found.extend(lint::check(self));
        found.sort_by_key(|finding| finding.at.place);
        self.warnings = found;
    }
}

/// A stage: `FROM` and what follows it.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Where it starts.
    pub from: From,
    /// Where its `FROM` stands.
    pub place: Place,
    /// Its `FROM`, as written.
    pub text: String,
    /// Its other instructions.
    pub instructions: Vec<Instruction>,
}

/// Reads a Dockerfile that errors call `name`.
///
/// # Errors
/// The first thing that is no Dockerfile language, with its place.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, DockerfileError> {
    let lexed = lex(name, text)?;
    let escape = lexed.directives.escape;
    let mut dockerfile = Dockerfile {
        source: lexed.source,
        directives: lexed.directives,
        global_arguments: Vec::new(),
        stages: Vec::new(),
        warnings: Vec::new(),
        checks: Checks::default(),
        lexed: lexed.warnings,
    };
    if let Some(text) = &dockerfile.directives.check {
        dockerfile.checks = Checks::read(text).map_err(|message| {
            let line = dockerfile.directives.check_line;
            dockerfile.source.error(Place { line, column: 1 }, message)
        })?;
    }
    for line in &lexed.lines {
        let source = Arc::clone(&dockerfile.source);
        let statement = Statement::read(line, escape)
            .and_then(|statement| statement.parse(escape))
            .map_err(|refusal| source.error(line.place(refusal.offset), refusal.message))?;
        let place = line.place(0);
        match (statement, dockerfile.stages.last_mut()) {
            (Parsed::From(from), _) => dockerfile.stages.push(Stage {
                from,
                place,
                text: line.text.clone(),
                instructions: Vec::new(),
            }),
            (Parsed::Command(command), Some(stage)) => {
                stage.instructions.push(Instruction { place, text: line.text.clone(), command });
            }
            (Parsed::Command(command @ Command::Arg(_)), None) => {
                let instruction = Instruction { place, text: line.text.clone(), command };
                dockerfile.global_arguments.push(instruction);
            }
            (Parsed::Command(_), None) => {
                let text = "no build stage in current context: only ARG may stand before FROM";
                return Err(source.error(place, text));
            }
        }
    }
    if dockerfile.stages.is_empty() {
        let end = Place { line: 1, column: 1 };
        let text = if lexed.lines.is_empty() {
            "file with no instructions"
        } else {
            "no build stage: there is no FROM"
        };
        return Err(dockerfile.source.error(end, text));
    }
    dockerfile.check();
    Ok(dockerfile)
}

/// Reads one trigger, as an image's `OnBuild` holds it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_trigger(text: &str) -> Result<Command, String> {
    let lexed = lex("ONBUILD", text).map_err(|error| error.message)?;
    let [line] = lexed.lines.as_slice() else {
        return Err("a trigger is exactly one instruction".to_owned());
    };
    let statement = Statement::read(line, '\\').map_err(|refusal| refusal.message)?;
    refuse_trigger_word(&statement.word).map_err(|refusal| refusal.message)?;
    match statement.parse('\\').map_err(|refusal| refusal.message)? {
        Parsed::Command(command) => Ok(command),
        Parsed::From(_) => Err("FROM isn't allowed as an ONBUILD trigger".to_owned()),
    }
}

enum Parsed {
    From(From),
    Command(Command),
}

/// What is refused, and where in the logical line.
struct Refusal {
    offset: usize,
    message: String,
}

/// An instruction cut into word, flags and arguments.
struct Statement<'a> {
    line: &'a LogicalLine,
    word: String,
    flags: Flags,
    /// Where the arguments begin in the line.
    offset: usize,
    /// The text after word and flags.
    rest: &'a str,
    /// The text after the word.
    after_word: &'a str,
}

impl<'a> Statement<'a> {
    fn read(line: &'a LogicalLine, escape: char) -> Result<Self, Refusal> {
        Self::read_at(line, 0, escape)
    }

    fn read_at(line: &'a LogicalLine, start: usize, escape: char) -> Result<Self, Refusal> {
        let text = &line.text[start..];
        let (written, after_word) = split_instruction(text);
        let word = written.to_ascii_uppercase();
        if !WORDS.contains(&word.as_str()) {
            let mut message = format!("unknown instruction: {written:?}");
            if let Some(near) = did_you_mean(&word, WORDS) {
                message.push_str(&format!(" (did you mean {near}?)"));
            }
            return Err(Refusal { offset: start, message });
        }
        let after_offset = line.text.len() - after_word.len();
        let (mut flags, skipped) = flag::split(after_word, escape);
        for flag in &mut flags {
            flag.offset += after_offset;
        }
        let rest = &after_word[skipped..];
        let offset = after_offset + skipped;
        Ok(Self { line, word, flags: Flags::new(flags), offset, rest, after_word })
    }

    fn parse(mut self, escape: char) -> Result<Parsed, Refusal> {
        let command = match self.word.as_str() {
            "FROM" => {
                let from = self.from()?;
                self.finish()?;
                return Ok(Parsed::From(from));
            }
            "ARG" => Command::Arg(self.arguments(escape)?),
            "RUN" => Command::Run(self.run()?),
            "COPY" => Command::Transfer(self.transfer(Verb::Copy)?),
            "ADD" => Command::Transfer(self.transfer(Verb::Add)?),
            "ENV" => Command::Env(self.pairs(escape)?),
            "LABEL" => Command::Label(self.pairs(escape)?),
            "WORKDIR" => Command::Workdir(self.one_argument()?),
            "USER" => Command::User(self.one_argument()?),
            "MAINTAINER" => Command::Maintainer(self.one_argument()?),
            "STOPSIGNAL" => Command::StopSignal(self.one_argument()?),
            "EXPOSE" => Command::Expose(self.some(self.blank_words())?),
            "VOLUME" => Command::Volume(self.volumes()?),
            "CMD" => Command::Cmd(self.command_line()?),
            "ENTRYPOINT" => Command::Entrypoint(self.command_line()?),
            "SHELL" => Command::Shell(self.shell()?),
            "HEALTHCHECK" => {
                let check = healthcheck::parse(&mut self.flags, self.rest);
                Command::Healthcheck(check.map_err(|message| self.refuse(message))?)
            }
            _ => return self.onbuild(escape),
        };
        self.finish()?;
        Ok(Parsed::Command(command))
    }

    fn finish(self) -> Result<(), Refusal> {
        self.flags.finish().map_err(refuse_flag)
    }

    fn refuse(&self, message: impl Into<String>) -> Refusal {
        Refusal { offset: self.offset.min(self.line.text.len()), message: message.into() }
    }

    fn blank_words(&self) -> Vec<String> {
        split_blank(self.rest).into_iter().map(|range| self.rest[range].to_owned()).collect()
    }

    fn some(&self, words: Vec<String>) -> Result<Vec<String>, Refusal> {
        if words.is_empty() {
            return Err(self.refuse(format!("{} requires at least one argument", self.word)));
        }
        Ok(words)
    }

    fn one_argument(&self) -> Result<String, Refusal> {
        if self.rest.is_empty() {
            return Err(self.refuse(format!("{} requires exactly one argument", self.word)));
        }
        Ok(self.rest.to_owned())
    }

    fn from(&mut self) -> Result<From, Refusal> {
        let platform = self.flags.string("platform").map_err(refuse_flag)?;
        let words = self.blank_words();
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, between, name] if between.eq_ignore_ascii_case("AS") => (base, Some(name)),
            _ => {
                let text = "FROM requires either one argument, or three: FROM <source> [as <name>]";
                return Err(self.refuse(text));
            }
        };
        let name = name.map(|name| name.to_ascii_lowercase());
        if let Some(name) = &name {
            let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if !valid {
                return Err(self.refuse(format!(
                    "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
                )));
            }
        }
        Ok(From { platform, base: base.clone(), name })
    }

    fn arguments(&self, escape: char) -> Result<Vec<Argument>, Refusal> {
        let ranges = split_quoted(self.rest, escape);
        if ranges.is_empty() {
            return Err(self.refuse("ARG requires at least one argument"));
        }
        ranges
            .into_iter()
            .map(|range| {
                let offset = self.offset + range.start;
                let word = &self.rest[range];
                let (name, default) = match word.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (word, None),
                };
                if name.is_empty() {
                    let message = "ARG names can not be blank".to_owned();
                    return Err(Refusal { offset, message });
                }
                Ok(Argument { name: name.to_owned(), default })
            })
            .collect()
    }

    /// `name=value …`, or the old `name the rest`.
    fn pairs(&self, escape: char) -> Result<Vec<Pair>, Refusal> {
        let ranges = split_quoted(self.rest, escape);
        let Some(first) = ranges.first() else {
            return Err(self.refuse(format!("{} requires at least one argument", self.word)));
        };
        if !self.rest[first.clone()].contains('=') {
            let (name, value) = self
                .rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| self.refuse(format!("{} must have two arguments", self.word)))?;
            let value = value.trim_start().to_owned();
            return Ok(vec![Pair { name: name.to_owned(), value }]);
        }
        ranges
            .into_iter()
            .map(|range| {
                let offset = self.offset + range.start;
                let word = &self.rest[range];
                match word.split_once('=') {
                    None => Err(Refusal {
                        offset,
                        message: format!(
                            "can't find = in {word:?}, must be of the form: name=value"
                        ),
                    }),
                    Some(("", _)) => {
                        let message = format!("{} names can not be blank", self.word);
                        Err(Refusal { offset, message })
                    }
                    Some((name, value)) => {
                        Ok(Pair { name: name.to_owned(), value: value.to_owned() })
                    }
                }
            })
            .collect()
    }

    fn json(&self) -> Result<Option<Vec<String>>, Refusal> {
        match json_form(self.rest) {
            JsonForm::Strings(strings) => Ok(Some(strings)),
            JsonForm::Absent => Ok(None),
            JsonForm::NotStrings => Err(self
                .refuse("when using JSON array syntax, arrays must be comprised of strings only")),
        }
    }

    fn command_line(&self) -> Result<CommandLine, Refusal> {
        Ok(match self.json()? {
            Some(strings) => CommandLine::Exec(strings),
            None if self.rest.is_empty() => CommandLine::Exec(Vec::new()),
            None => CommandLine::Shell(self.rest.to_owned()),
        })
    }

    fn shell(&self) -> Result<Vec<String>, Refusal> {
        match self.json()? {
            Some(strings) if strings.is_empty() => {
                Err(self.refuse("SHELL requires at least one argument"))
            }
            Some(strings) => Ok(strings),
            None => Err(self.refuse("SHELL requires the arguments to be in JSON form")),
        }
    }

    fn volumes(&self) -> Result<Vec<String>, Refusal> {
        let words = match self.json()? {
            Some(strings) => strings,
            None => self.blank_words(),
        };
        let words: Vec<String> = words.into_iter().map(|word| word.trim().to_owned()).collect();
        if words.iter().any(String::is_empty) {
            return Err(self.refuse("VOLUME specified can not be an empty string"));
        }
        self.some(words)
    }

    fn run(&mut self) -> Result<Run, Refusal> {
        let mut mounts = Vec::new();
        for (offset, value) in self.flags.strings("mount").map_err(refuse_flag)? {
            mounts.push(mount::parse(&value).map_err(|message| Refusal { offset, message })?);
        }
        let at = |offset| move |message| Refusal { offset, message };
        let network = match self.flags.string_at("network").map_err(refuse_flag)? {
            None => None,
            Some((offset, text)) => Some(Network::parse(&text).ok_or_else(|| {
                at(offset)(format!("unknown network mode {text:?} (default, none, host)"))
            })?),
        };
        let insecure = match self.flags.string_at("security").map_err(refuse_flag)? {
            None => false,
            Some((offset, text)) => match text.as_str() {
                "sandbox" => false,
                "insecure" => true,
                _ => {
                    let text = format!("unknown security mode {text:?} (sandbox, insecure)");
                    return Err(at(offset)(text));
                }
            },
        };
        let devices = self.flags.strings("device").map_err(refuse_flag)?.into_iter();
        let devices = devices.map(|(offset, value)| device::parse(&value).map_err(at(offset)));
        let devices = devices.collect::<Result<_, _>>()?;
        let command = self.command_line()?;
        if command == CommandLine::Exec(Vec::new()) {
            return Err(self.refuse("RUN requires at least one argument"));
        }
        let heredocs = self.line.heredocs.clone();
        Ok(Run { command, heredocs, mounts, network, insecure, devices })
    }

    fn transfer(&mut self, verb: Verb) -> Result<Transfer, Refusal> {
        let mut transfer = self.transfer_flags(verb)?;
        let mut words = match self.json()? {
            Some(strings) => strings,
            None => self.blank_words(),
        };
        let word = verb.word();
        let Some(destination) = words.pop() else {
            return Err(self.refuse(format!("{word} requires at least two arguments")));
        };
        if words.is_empty() {
            return Err(self.refuse(format!(
                "{word} requires at least two arguments, but only one was provided; destination could not be determined"
            )));
        }
        let mut documents = self.line.heredocs.iter();
        if !self.line.heredocs.is_empty() {
            if heredoc::marker(&destination).is_some() {
                return Err(self.refuse(format!("{word} cannot accept a heredoc as a destination")));
            }
            for source in words {
                match heredoc::marker(&source).and_then(|_| documents.next()) {
                    Some(document) => transfer.documents.push(document.clone()),
                    None => transfer.sources.push(source),
                }
            }
        } else {
            transfer.sources = words;
        }
        transfer.destination = destination;
        Ok(transfer)
    }

    fn transfer_flags(&mut self, verb: Verb) -> Result<Transfer, Refusal> {
        let flags = &mut self.flags;
        let mut read = || -> Result<Transfer, FlagError> {
            let copy = verb == Verb::Copy;
            let add = verb == Verb::Add;
            Ok(Transfer {
                verb,
                sources: Vec::new(),
                documents: Vec::new(),
                destination: String::new(),
                chown: flags.string("chown")?,
                chmod: flags.string("chmod")?,
                link: flags.boolean("link")?.unwrap_or(false),
                exclude: flags.strings("exclude")?.into_iter().map(|(_, value)| value).collect(),
                from: if copy { flags.string("from")? } else { None },
                parents: copy && flags.boolean("parents")?.unwrap_or(false),
                checksum: if add { flags.string("checksum")? } else { None },
                unpack: if add { flags.boolean("unpack")? } else { None },
                keep_git_dir: if add { flags.boolean("keep-git-dir")? } else { None },
            })
        };
        read().map_err(refuse_flag)
    }

    /// The trigger is read now, so that a mistake in it is found by its author and not by the
    /// first who builds on the image; its raw text is what the image keeps.
    fn onbuild(self, escape: char) -> Result<Parsed, Refusal> {
        if self.after_word.is_empty() {
            return Err(self.refuse("ONBUILD requires at least one argument"));
        }
        let start = self.line.text.len() - self.after_word.len();
        let trigger = Statement::read_at(self.line, start, escape)?;
        refuse_trigger_word(&trigger.word)
            .map_err(|refusal| Refusal { offset: start, ..refusal })?;
        trigger.parse(escape)?;
        let mut text = self.after_word.to_owned();
        for document in &self.line.heredocs {
            text.push_str(&format!("\n{}{}", document.body, document.name));
        }
        Ok(Parsed::Command(Command::Onbuild(text)))
    }
}

fn refuse_flag(error: FlagError) -> Refusal {
    Refusal { offset: error.offset, message: error.message }
}

fn refuse_trigger_word(word: &str) -> Result<(), Refusal> {
    let message = match word {
        "ONBUILD" => "chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        "FROM" | "MAINTAINER" => format!("{word} isn't allowed as an ONBUILD trigger"),
        _ => return Ok(()),
    };
    Err(Refusal { offset: 0, message })
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
