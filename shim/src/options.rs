//! The options of the runtime: which binary with which flags, from any of the forms in which they come.

use std::fs::File;
use std::io::Read as _;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::limits;
use crate::messages::Any;
use crate::protobuf::{Fields, Malformed};

/// What `containerd.runc.v1.Options` can say. In TOML and JSON the names are those of containerd's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Options {
    /// Change the root without pivot_root.
    pub no_pivot_root: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// A cgroup for the shim itself.
    pub shim_cgroup: String,
    /// Who owns the streams.
    pub io_uid: u32,
    /// Whose group the streams have.
    pub io_gid: u32,
    /// The runtime; `keel` of PATH where it is empty.
    pub binary_name: String,
    /// Where the runtime keeps its state, without the namespace.
    pub root: String,
    /// criu.
    pub criu_path: String,
    /// Let systemd make the cgroups.
    pub systemd_cgroup: bool,
    /// Where images of checkpoints go.
    pub criu_image_path: String,
    /// Where criu works.
    pub criu_work_path: String,
}

/// `containerd.runc.v1.Options`.
const RUNC: &str = "containerd.runc.v1.Options";
/// What dockerd and CRI send for a runtime that is not runc's.
const GENERIC: &str = "runtimeoptions.v1.Options";

impl Options {
    /// Reads whichever kind it is.
    pub fn parse(any: &Any) -> Result<Self, Error> {
        match any.kind() {
            "" if any.value.is_empty() => Ok(Self::default()),
            RUNC => Ok(Self::of_runc(&any.value)?),
            GENERIC => Self::of_any_runtime(&any.value),
            other => {
                Err(invalid(format!("options of the kind {other}; known are {RUNC} and {GENERIC}")))
            }
        }
    }

    fn of_runc(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => options.no_pivot_root = value.flag()?,
                2 => options.no_new_keyring = value.flag()?,
                3 => options.shim_cgroup = value.text()?.to_owned(),
                4 => options.io_uid = value.number32()?,
                5 => options.io_gid = value.number32()?,
                6 => options.binary_name = value.text()?.to_owned(),
                7 => options.root = value.text()?.to_owned(),
                8 => options.criu_path = value.text()?.to_owned(),
                9 => options.systemd_cgroup = value.flag()?,
                10 => options.criu_image_path = value.text()?.to_owned(),
                11 => options.criu_work_path = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(options)
    }

    /// A text in TOML or JSON, in the message or in a file that it names.
    fn of_any_runtime(bytes: &[u8]) -> Result<Self, Error> {
        let (mut path, mut body) = (String::new(), Vec::new());
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                2 => path = value.text()?.to_owned(),
                3 => body = value.bytes()?.to_vec(),
                _ => {}
            }
        }
        if body.is_empty() && !path.is_empty() {
            let read = |path: &str| -> std::io::Result<Vec<u8>> {
                let mut text = Vec::new();
                File::open(path)?.take(limits::CONFIG_BYTES).read_to_end(&mut text)?;
                Ok(text)
            };
            body = read(&path).map_err(|error| invalid(format!("options of {path}: {error}")))?;
        }
        let text = std::str::from_utf8(&body).map_err(|_| invalid("options that are not UTF-8"))?;
        Self::of_text(text)
    }

    /// Reads JSON (it begins with a brace) or TOML.
    pub fn of_text(text: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text)
                .map_err(|error| invalid(format!("options: {error}")));
        }
        toml::from_str(text).map_err(|error| invalid(format!("options: {}", error.message())))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Writer;

    fn expected() -> Options {
        Options {
            binary_name: "/usr/bin/crun".to_owned(),
            root: "/run/x".to_owned(),
            systemd_cgroup: true,
            io_uid: 7,
            ..Options::default()
        }
    }

    #[test]
    fn all_forms_say_the_same() {
        let runc = Writer::new()
            .number(4, 7)
            .text(6, "/usr/bin/crun")
            .text(7, "/run/x")
            .flag(9, true)
            .number(13, 3)
            .done();
        let any = Any { type_url: format!("types.containerd.io/{RUNC}"), value: runc };
        assert_eq!(Options::parse(&any), Ok(expected()));
        for text in [
            "BinaryName = \"/usr/bin/crun\"\nRoot = \"/run/x\"\nSystemdCgroup = true\nIoUid = 7\nOther = 1\n",
            r#"{"BinaryName": "/usr/bin/crun", "Root": "/run/x", "SystemdCgroup": true, "IoUid": 7}"#,
        ] {
            let generic = Writer::new().text(1, "kind").text(3, text).done();
            let any = Any { type_url: GENERIC.to_owned(), value: generic };
            assert_eq!(Options::parse(&any), Ok(expected()));
        }
        assert_eq!(Options::parse(&Any::default()), Ok(Options::default()));
    }

    #[test]
    fn others_are_refused() {
        let any = |url: &str, value: &[u8]| Any { type_url: url.to_owned(), value: value.to_vec() };
        for any in [
            any("other.Options", b""),
            any(RUNC, b"\x0a\x01a"),
            any(GENERIC, b"\x1a\x02=="),
            any(GENERIC, b"\x12\x08/no/such"),
            any("", b"\x0a\x01a"),
        ] {
            assert_eq!(Options::parse(&any).map_err(|e| e.code), Err(Code::InvalidArgument));
        }
    }
}
