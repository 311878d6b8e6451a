//! `keel-image login`: credentials are tried at the registry and kept.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use keel_image::auth::{AuthFile, Credential, Kept};
use keel_image::registry::Client;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::output;
use crate::registry_flags::RegistryFlags;

/// The most bytes of a password that is read.
const PASSWORD_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The registry; without it, docker.io
    registry: Option<String>,
    /// The user's name
    #[arg(short, long)]
    username: Option<String>,
    /// The password; other users of this machine may see it
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from the standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    flags: RegistryFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let registry = registry_name(arguments.registry.as_deref())?;
    let (username, password) = credentials(arguments)?;
    let credential = Credential::password(username, password);
    let mut options = arguments.flags.options()?;
    options.keyring = options.keyring.with(&registry, credential.clone());
    Client::new(options)?.log_in(&registry)?;
    let path = match &arguments.flags.authfile {
        Some(path) => path.clone(),
        None => AuthFile::default_path()?,
    };
    if let Kept::InFile(path) = AuthFile::login(&path, &registry, &credential)? {
        output::error_line(&format!(
            "WARNING! The password is kept unencrypted in {path:?}; a credential helper (credsStore) keeps it better."
        ));
    }
    output::line("Login Succeeded")
}

/// A registry as people name it: with a scheme, with a path, or not at all.
pub(crate) fn registry_name(text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else { return Ok("docker.io".to_owned()) };
    let name = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let name = name.unwrap_or(text).trim_end_matches('/');
    let name = name.strip_suffix("/v1").or_else(|| name.strip_suffix("/v2")).unwrap_or(name);
    let name = match name {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    };
    if name.is_empty() || name.contains('/') {
        return Err(Failure::new(format!("{text:?} is no registry: it is a host and a port")));
    }
    Ok(name.to_owned())
}

fn credentials(arguments: &Arguments) -> Result<(String, String), Failure> {
    if arguments.password_stdin {
        if arguments.password.is_some() {
            return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
        }
        let username = arguments.username.clone();
        let username = username
            .ok_or_else(|| Failure::new("Must provide --username with --password-stdin"))?;
        let mut password = String::new();
        let read = io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut password);
        read.map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
        return checked(username, password.trim_end_matches(['\n', '\r']).to_owned());
    }
    if arguments.password.is_some() {
        output::error_line(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        );
    }
    let (username, password) = (arguments.username.clone(), arguments.password.clone());
    if (username.is_none() || password.is_none()) && !io::stdin().is_terminal() {
        return Err(Failure::new("cannot ask for credentials: the standard input is no terminal")
            .with_hint("use --username and --password-stdin"));
    }
    let username = match username {
        Some(username) => username,
        None => ask("Username: ")?,
    };
    let password = match password {
        Some(password) => password,
        None => ask_hidden("Password: ")?,
    };
    checked(username, password)
}

/// Asks for the password of a user whose name was given.
pub(crate) fn ask_password(user: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(format!("no password was given for the user {user:?}"))
            .with_hint("write USER:PASSWORD, or log in and leave the user out"));
    }
    ask_hidden(&format!("Password of {user}: "))
}

fn checked(username: String, password: String) -> Result<(String, String), Failure> {
    if username.is_empty() || username.contains(':') {
        return Err(Failure::new("a user's name is not empty and has no colon"));
    }
    if password.is_empty() {
        return Err(Failure::new("the password is empty"));
    }
    Ok((username, password))
}

fn ask(prompt: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot ask for credentials: {error}"));
    let mut stderr = io::stderr().lock();
    stderr.write_all(prompt.as_bytes()).and_then(|()| stderr.flush()).map_err(failed)?;
    let mut line = String::new();
    let mut stdin = io::stdin().lock().take(PASSWORD_BYTES_MAX);
    stdin.read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks while the terminal shows nothing of what is typed.
fn ask_hidden(prompt: &str) -> Result<String, Failure> {
    let failed = |errno: rustix::io::Errno| {
        Failure::new(format!("cannot hide the password on the terminal: {errno}"))
    };
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(failed)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(failed)?;
    let answer = ask(prompt);
    tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(failed)?;
    answer
}
