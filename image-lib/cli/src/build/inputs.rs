//! What a build is given beside its context: named contexts, secrets, agents, hosts.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::str::FromStr;

use keel_image::build::remote::Remote;
use keel_image::build::{HostAddress, NamedContext, SecretSource};

use super::fields;

/// `NAME=PLACE` of `--build-context`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Context {
    pub(super) name: String,
    pub(super) place: Place,
}

/// Where a named context is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// On this host or in an image.
    Known(NamedContext),
    /// To be fetched; and how the user wrote it.
    Remote(Remote, String),
}

impl FromStr for Context {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("invalid context value: {text}, expected key=value");
        let (name, place) = text.split_once('=').ok_or_else(form)?;
        if name.is_empty() || place.is_empty() {
            return Err(form());
        }
        let after = |scheme: &str| place.strip_prefix(scheme).map(str::to_owned);
        let place = if let Some(image) = after("docker-image://") {
            Place::Known(NamedContext::Image(image))
        } else if let Some(layout) = after("oci-layout://") {
            Place::Known(NamedContext::Layout(layout))
        } else if let Some(stage) = after("target:") {
            Place::Known(NamedContext::Stage(stage))
        } else if let Some(remote) = Remote::parse(place).map_err(|error| error.to_string())? {
            Place::Remote(remote, place.to_owned())
        } else {
            let path = PathBuf::from(place);
            if !path.is_dir() {
                return Err(format!(
                    "failed to get build context path {{{place} <nil>}}: it is no directory"
                ));
            }
            Place::Known(NamedContext::Directory(path))
        };
        Ok(Self { name: name.to_owned(), place })
    }
}

/// `id=…[,src=FILE|,env=NAME]` of `--secret`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Secret {
    pub(super) id: String,
    pub(super) source: SecretSource,
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for (key, value) in fields::read(text)? {
            let value =
                value.ok_or_else(|| format!("invalid field '{key}' must be a key=value pair"))?;
            match key.as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(format!("unsupported secret type {value:?}")),
                other => return Err(format!("unexpected key '{other}' in '{text}'")),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or("a secret needs an id")?;
        // With `type=env` the source is the name of a variable.
        if kind.as_deref() == Some("env") && variable.is_none() {
            variable = file.take();
        }
        let source = match (file, variable) {
            (Some(_), Some(_)) => {
                return Err(format!("the secret {id} has both a file and a variable"));
            }
            (Some(file), None) => SecretSource::File(file.into()),
            (None, Some(variable)) => SecretSource::Variable(variable),
            // As docker: a variable of that name, or else a file of that name.
            (None, None) if std::env::var_os(&id).is_some() => SecretSource::Variable(id.clone()),
            (None, None) => SecretSource::File(PathBuf::from(&id)),
        };
        // A secret that is not there is told before anything is built.
        source.read().map_err(|error| match &source {
            SecretSource::File(path) => {
                format!("cannot read the secret {id} from {path:?}: {error}")
            }
            SecretSource::Variable(_) => format!("the secret {id}: {error}"),
        })?;
        Ok(Self { id, source })
    }
}

/// `default`, `ID=SOCKET` or `ID=KEY[,KEY]` of `--ssh`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ssh {
    pub(super) id: String,
    pub(super) keys: Keys,
}

/// Who knows the keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Keys {
    /// An agent, by its socket.
    Agent(PathBuf),
    /// Files.
    Files(Vec<PathBuf>),
}

impl FromStr for Ssh {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let paths: Vec<PathBuf> = if paths.is_empty() {
            let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
            vec![PathBuf::from(
                agent.ok_or("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")?,
            )]
        } else {
            paths.split(',').map(PathBuf::from).collect()
        };
        let (mut sockets, mut files) = (Vec::new(), Vec::new());
        for path in paths {
            let refused =
                |reason: &dyn std::fmt::Display| format!("--ssh {id}: {path:?}: {reason}");
            let metadata = std::fs::metadata(&path).map_err(|error| refused(&error))?;
            let kind = metadata.file_type();
            let path = path.canonicalize().map_err(|error| refused(&error))?;
            match () {
                () if kind.is_socket() => sockets.push(path),
                () if kind.is_file() => files.push(path),
                () => return Err(refused(&"it is neither the socket of an agent nor a key")),
            }
        }
        let keys = match (sockets.as_slice(), files.as_slice()) {
            ([socket], []) => Keys::Agent(socket.clone()),
            ([], [_, ..]) => Keys::Files(files),
            _ => return Err(format!("--ssh {id}: it is one socket, or one or more keys")),
        };
        Ok(Self { id: id.to_owned(), keys })
    }
}

/// `HOST:ADDRESS` or `HOST=ADDRESS` of `--add-host`; brackets may stand around an address, and `host-gateway` is
/// the host.
pub(super) fn host(text: &str) -> Result<(String, HostAddress), String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let at = text.find(['=', ':']).ok_or_else(bad)?;
    let (name, address) = (&text[..at], &text[at + 1..]);
    if name.is_empty() {
        return Err(bad());
    }
    if address == "host-gateway" {
        return Ok((name.to_owned(), HostAddress::Gateway));
    }
    let plain =
        address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address =
        plain.parse().map_err(|_| format!("invalid IP address in add-host: {address:?}"))?;
    Ok((name.to_owned(), HostAddress::Address(address)))
}

#[cfg(test)]
mod tests {
    use super::{Context, HostAddress, Keys, NamedContext, Place, Secret, SecretSource, Ssh, host};

    #[test]
    fn reads_contexts() {
        let place = |text: &str| text.parse::<Context>().map(|context| context.place);
        assert_eq!(place("a=/"), Ok(Place::Known(NamedContext::Directory("/".into()))));
        assert_eq!(
            place("a=docker-image://b:1"),
            Ok(Place::Known(NamedContext::Image("b:1".into())))
        );
        assert_eq!(
            place("a=oci-layout:///d:t"),
            Ok(Place::Known(NamedContext::Layout("/d:t".into())))
        );
        assert_eq!(place("a=target:b"), Ok(Place::Known(NamedContext::Stage("b".into()))));
        assert!(matches!(place("a=git@x:y"), Ok(Place::Remote(..))));
        for text in ["a", "=b", "a=", "a=/no/such/place"] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_secrets() {
        let source = |text: &str| text.parse::<Secret>().map(|secret| secret.source);
        assert_eq!(source("id=a,src=/dev/null"), Ok(SecretSource::File("/dev/null".into())));
        assert_eq!(source("type=env,id=a,src=PATH"), Ok(SecretSource::Variable("PATH".into())));
        assert_eq!(source("id=PATH"), Ok(SecretSource::Variable("PATH".into())));
        for text in ["src=/dev/null", "id=a,src=/no/such", "id=a,x=1", "id=a,src", "id=a,type=b"] {
            assert!(source(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_keys() {
        let keys = |text: &str| text.parse::<Ssh>().map(|ssh| ssh.keys);
        let file = |path: &str| std::path::PathBuf::from(path).canonicalize().unwrap();
        let (one, two) = (file("/etc/passwd"), file("/etc/group"));
        assert_eq!(keys("a=/etc/passwd,/etc/group"), Ok(Keys::Files(vec![one, two])));
        for text in ["a=/no/such", "a=/", "a=/dev/null", "a=/etc/passwd,"] {
            assert!(keys(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_hosts() {
        let read = |text: &str| {
            host(text).map(|(name, address)| match address {
                HostAddress::Address(address) => format!("{name} {address}"),
                HostAddress::Gateway => format!("{name} the host"),
            })
        };
        assert_eq!(read("a:1.2.3.4").unwrap(), "a 1.2.3.4");
        assert_eq!(read("a=::1").unwrap(), "a ::1");
        assert_eq!(read("a:[::1]").unwrap(), "a ::1");
        assert_eq!(read("a:::1").unwrap(), "a ::1");
        assert_eq!(read("a:host-gateway").unwrap(), "a the host");
        for text in ["a", "a:b", ":1.2.3.4"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
