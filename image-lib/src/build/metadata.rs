//! The instructions that change only the configuration: they cost nothing and have no cache.

use super::arguments::BuildArguments;
use super::dockerfile::instruction::{Argument, Command, CommandLine, Pair};
use super::dockerfile::word::did_you_mean;
use super::error::StepError;
use super::state::StageState;
use crate::spec::Healthcheck;

/// The signals of Linux by name, as `STOPSIGNAL` takes them.
const SIGNALS: [&str; 34] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV",
    "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU",
    "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "UNUSED",
];

/// The highest signal number of Linux.
const SIGNAL_MAX: u32 = 64;

/// Carries out `command` on the configuration; `false` if it is none of these instructions.
///
/// # Errors
/// A word cannot be expanded, or a value makes no sense.
pub fn apply(
    state: &mut StageState,
    command: &Command,
    arguments: &BuildArguments,
    escape: char,
) -> Result<bool, StepError> {
    match command {
        Command::Arg(declared) => declare(state, declared, arguments, escape)?,
        Command::Env(pairs) => env(state, pairs, escape)?,
        Command::Label(pairs) => label(state, pairs, escape)?,
        Command::User(user) => {
            let user = state.expand(user, escape)?.text;
            state.config().user.clone_from(&user);
            state.record(format!("USER {user}"), None);
        }
        Command::Expose(ports) => expose(state, ports, escape)?,
        Command::Volume(paths) => volume(state, paths, escape)?,
        Command::Cmd(line) => cmd(state, line),
        Command::Entrypoint(line) => entrypoint(state, line),
        Command::Shell(shell) => {
            state.config().shell = Some(shell.clone());
            state.record(format!("SHELL [{}]", shell.join(" ")), None);
        }
        Command::StopSignal(signal) => {
            let signal = state.expand(signal, escape)?.text;
            check_signal(&signal)?;
            state.config().stop_signal = Some(signal.clone());
            state.record(format!("STOPSIGNAL {signal}"), None);
        }
        Command::Healthcheck(check) => {
            let check = Healthcheck {
                test: check.test.clone(),
                interval: check.interval,
                timeout: check.timeout,
                start_period: check.start_period,
                start_interval: check.start_interval,
                retries: check.retries,
            };
            state.record(format!("HEALTHCHECK {}", shown_healthcheck(&check)), None);
            state.config().healthcheck = Some(check);
        }
        Command::Onbuild(trigger) => {
            state.config().on_build.get_or_insert_default().push(trigger.clone());
            state.record(format!("ONBUILD {trigger}"), None);
        }
        Command::Maintainer(author) => {
            state.image.author = Some(author.clone());
            state.record(format!("MAINTAINER {author}"), None);
        }
        Command::Run(_) | Command::Transfer(_) | Command::Workdir(_) => return Ok(false),
    }
    Ok(true)
}

fn declare(
    state: &mut StageState,
    declared: &[Argument],
    arguments: &BuildArguments,
    escape: char,
) -> Result<(), StepError> {
    // Every default sees the variables as they were before the instruction.
    let before = state.clone();
    let mut shown = Vec::new();
    for argument in declared {
        let Argument { name, default } = argument;
        let default = match default {
            Some(word) => Some(before.expand(word, escape)?.text),
            None => None,
        };
        let given = arguments.given(name).map(str::to_owned);
        let global = || arguments.globals().get(name).cloned();
        let value = match (given, &default) {
            (Some(value), _) => Some(value),
            (None, Some(value)) => Some(value.clone()),
            (None, None) => global(),
        };
        shown.push(match &default {
            Some(default) => format!("{name}={}", value.as_ref().unwrap_or(default)),
            None => value.as_ref().map_or(name.clone(), |value| format!("{name}={value}")),
        });
        if let Some(value) = &value {
            state.environment.set(name, value);
        }
        state.arguments.retain(|(known, _)| known != name);
        state.arguments.push((name.clone(), value));
    }
    state.record(format!("ARG {}", shown.join(" ")), None);
    Ok(())
}

fn expand_pairs(state: &StageState, pairs: &[Pair], escape: char) -> Result<Vec<Pair>, StepError> {
    let word = |word: &str| Ok::<_, StepError>(state.expand(word, escape)?.text);
    pairs.iter().map(|p| Ok(Pair { name: word(&p.name)?, value: word(&p.value)? })).collect()
}

fn shown_pairs(word: &str, pairs: &[Pair]) -> String {
    let shown = pairs.iter().map(|pair| format!(" {}={}", pair.name, pair.value));
    shown.fold(word.to_owned(), |text, pair| text + &pair)
}

fn env(state: &mut StageState, pairs: &[Pair], escape: char) -> Result<(), StepError> {
    let pairs = expand_pairs(state, pairs, escape)?;
    let mut own = super::environment::Environment::read(&state.config().env);
    for pair in &pairs {
        own.set(&pair.name, &pair.value);
        state.environment.set(&pair.name, &pair.value);
    }
    state.config().env = own.entries();
    state.record(shown_pairs("ENV", &pairs), None);
    Ok(())
}

fn label(state: &mut StageState, pairs: &[Pair], escape: char) -> Result<(), StepError> {
    let pairs = expand_pairs(state, pairs, escape)?;
    for pair in &pairs {
        state.config().labels.insert(pair.name.clone(), pair.value.clone());
    }
    state.record(shown_pairs("LABEL", &pairs), None);
    Ok(())
}

fn expose(state: &mut StageState, ports: &[String], escape: char) -> Result<(), StepError> {
    let mut words = Vec::new();
    for word in ports {
        words.extend(state.expand(word, escape)?.words);
    }
    words.sort();
    let mut exposed = Vec::new();
    for word in &words {
        exposed.extend(parse_ports(word)?);
    }
    for port in &exposed {
        state.config().exposed_ports.insert(port.clone(), Default::default());
    }
    let shown: Vec<String> = exposed.iter().map(|port| format!("{port}:{{}}")).collect();
    state.record(format!("EXPOSE map[{}]", shown.join(" ")), None);
    Ok(())
}

/// `[[ip:]host:]port[-last][/protocol]`, one entry per port. What stands before the last colon is
/// about publishing, which an image cannot do.
fn parse_ports(word: &str) -> Result<Vec<String>, StepError> {
    let invalid = |why: &str| StepError::Value(format!("invalid containerPort {word:?}: {why}"));
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(invalid("the protocol is none of tcp, udp, sctp"));
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid("it is no port number"));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(invalid("the range ends before it begins"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn volume(state: &mut StageState, paths: &[String], escape: char) -> Result<(), StepError> {
    let mut shown = Vec::new();
    for path in paths {
        let path = state.expand(path, escape)?.text;
        if path.is_empty() {
            return Err(StepError::Value("VOLUME specified can not be an empty string".to_owned()));
        }
        state.config().volumes.insert(path.clone(), Default::default());
        shown.push(path);
    }
    state.record(format!("VOLUME [{}]", shown.join(" ")), None);
    Ok(())
}

/// The words of a command; the shell form gets the shell in front.
fn command_words(state: &StageState, line: &CommandLine) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => {
            let mut words = state.shell();
            words.push(text.clone());
            words
        }
    }
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn cmd(state: &mut StageState, line: &CommandLine) {
    let words = command_words(state, line);
    state.record(format!("CMD {}", quoted(&words)), None);
    state.config().cmd = Some(words);
    state.config().args_escaped = Some(true);
    state.cmd_given = true;
}

fn entrypoint(state: &mut StageState, line: &CommandLine) {
    let words = command_words(state, line);
    state.record(format!("ENTRYPOINT {}", quoted(&words)), None);
    // An inherited command was written for the old entrypoint.
    if !state.cmd_given {
        state.config().cmd = None;
    }
    state.config().entrypoint = Some(words).filter(|words| !words.is_empty());
}

/// The check as BuildKit's history has it: Go's printing of a structure, quoted.
fn shown_healthcheck(check: &Healthcheck) -> String {
    let durations = [check.interval, check.timeout, check.start_period, check.start_interval];
    let durations = durations.map(|nanoseconds| format!("{:?}", go_duration(nanoseconds)));
    let retries = u8::try_from(check.retries).unwrap_or(u8::MAX);
    let retries = match retries {
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x20..=0x7e => char::from(retries).to_string(),
        other => format!("\\x{other:02x}"),
    };
    format!("&{{{} {} '{retries}'}}", quoted(&check.test), durations.join(" "))
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `500ms`, `0s`.
fn go_duration(nanoseconds: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let fraction = |value: i64, unit: i64| {
        let digits = format!("{:0width$}", value % unit, width = unit.to_string().len() - 1);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("{}{point}{digits}", value / unit)
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000)),
        1_000_000..SECOND => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanoseconds / (60 * SECOND), nanoseconds % (60 * SECOND));
            let seconds = fraction(rest, SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

fn check_signal(text: &str) -> Result<(), StepError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char, most: u32| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            let offset = rest.strip_prefix(sign).and_then(|digits| digits.parse::<u32>().ok());
            rest.is_empty() || offset.is_some_and(|offset| offset <= most)
        })
    };
    let known = text.parse::<u32>().is_ok_and(|number| (1..=SIGNAL_MAX).contains(&number))
        || SIGNALS.contains(&name)
        || real_time("RTMIN", '+', 30)
        || real_time("RTMAX", '-', 30);
    if known {
        return Ok(());
    }
    let near = did_you_mean(name, SIGNALS)
        .map_or(String::new(), |near| format!(" (did you mean SIG{near}?)"));
    Err(StepError::Value(format!("invalid signal: {text}{near}")))
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
