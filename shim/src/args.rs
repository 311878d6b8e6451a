//! The shim's command line, as containerd writes it: flags with one dash or two, then a word.

use std::ffi::OsString;

/// What the shim is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Begin a shim, or find the pod's, and say where it listens.
    Start,
    /// Clean up after a shim.
    Delete,
    /// Serve on the socket that standard input is.
    Serve,
    /// Print name and version.
    Version,
    /// Print what the shim is, as a message.
    Info,
    /// Be the process of a sandbox.
    Pause,
}

/// The flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    /// containerd's namespace.
    pub namespace: String,
    /// containerd's socket.
    pub address: String,
    /// The container's id, or the pod's.
    pub id: String,
    /// The bundle, for `delete`.
    pub bundle: String,
    /// The shim's own socket, for serving.
    pub socket: String,
}

/// Reads the words behind the program's name.
pub fn parse(words: impl Iterator<Item = OsString>) -> Result<(Word, Args), String> {
    let mut args = Args::default();
    let mut word = Word::Serve;
    let mut words =
        words.map(|word| word.into_string().map_err(|word| format!("{word:?} is not UTF-8")));
    while let Some(next) = words.next() {
        let next = next?;
        let Some(flag) = next.strip_prefix("--").or_else(|| next.strip_prefix('-')) else {
            match next.as_str() {
                "start" => word = Word::Start,
                "delete" => word = Word::Delete,
                "pause" => word = Word::Pause,
                other => return Err(format!("{other:?} is neither start nor delete")),
            }
            // As in Go's flag package, the first word ends the flags.
            break;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "v" | "version" => return Ok((Word::Version, args)),
            "info" => word = Word::Info,
            "debug" => {}
            "namespace" | "address" | "id" | "bundle" | "publish-binary" | "socket" => {
                let value = match value {
                    Some(value) => value,
                    None => words.next().ok_or(format!("-{name} needs a value"))??,
                };
                match name {
                    "namespace" => args.namespace = value,
                    "address" => args.address = value,
                    "id" => args.id = value,
                    "bundle" => args.bundle = value,
                    "socket" => args.socket = value,
                    _ => {}
                }
            }
            _ => return Err(format!("-{name} is no flag of a shim")),
        }
    }
    if !matches!(word, Word::Info | Word::Pause) {
        check_id("-namespace", &args.namespace)?;
        check_id("-id", &args.id)?;
    }
    Ok((word, args))
}

/// Ids become names of files: letters and digits, with single `.`, `_` and `-` between them, as containerd has them.
pub fn check_id(what: &str, id: &str) -> Result<(), String> {
    if id.is_empty() || id.len() > crate::limits::ID_BYTES {
        return Err(format!("{what}: {id:?} is empty or longer than {}", crate::limits::ID_BYTES));
    }
    let parts = id.split(['.', '_', '-']);
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if parts.into_iter().all(plain) {
        return Ok(());
    }
    Err(format!("{what}: {id:?} is no id: letters and digits, with one of . _ - between them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Word, Args), String> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn reads_containerds_lines() {
        let (word, args) = read(
            "-namespace default -address /c.sock -publish-binary /usr/bin/containerd -id a2 start",
        )
        .expect("a line");
        assert_eq!(word, Word::Start);
        assert_eq!((args.namespace.as_str(), args.id.as_str()), ("default", "a2"));
        assert_eq!(args.address, "/c.sock");
        let (word, args) = read("--namespace=n -id a -debug -bundle=/b delete").expect("a line");
        assert_eq!((word, args.bundle.as_str()), (Word::Delete, "/b"));
        assert_eq!(read("-v").map(|it| it.0), Ok(Word::Version));
        assert_eq!(read("-info").map(|it| it.0), Ok(Word::Info));
    }

    #[test]
    fn refuses_what_is_no_line() {
        for line in [
            "-namespace",
            "-namespace n -id a stop",
            "-namespace n -id ../a start",
            "-x",
            "-id a start",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn ids_are_names_of_files() {
        for id in ["a", "a.b_c-d", "0"] {
            assert_eq!(check_id("id", id), Ok(()));
        }
        for id in ["", ".", "a..b", "a/b", "-a", "a-", "ü", &"a".repeat(77)] {
            assert!(check_id("id", id).is_err(), "{id}");
        }
    }
}
