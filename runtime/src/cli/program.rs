//! The name this program was started by. Under the name `runc` it is what callers of runc look for: the
//! same state root and the same first word of the version.

use std::ffi::OsStr;
use std::path::Path;

/// How the program was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// `argv[0]`, as it stands before messages about usage.
    pub argv0: String,
    /// Which runtime the caller believes to have started.
    pub name: Name,
}

/// A runtime that this program is, or stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Itself, under whatever other name.
    Keel,
    /// Installed in the place of runc.
    Runc,
}

impl Program {
    /// Reads `argv[0]`, which a caller may have left out.
    #[must_use]
    pub fn from_argv0(argv0: Option<&OsStr>) -> Self {
        let argv0 = argv0.unwrap_or(OsStr::new("keel"));
        let name = match Path::new(argv0).file_name() {
            Some(name) if name == "runc" => Name::Runc,
            _ => Name::Keel,
        };
        Self { argv0: argv0.to_string_lossy().into_owned(), name }
    }
}

impl Name {
    /// The name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keel => "keel",
            Self::Runc => "runc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_runc_only_where_it_is_called_so() {
        for (argv0, name) in [
            (Some("keel"), Name::Keel),
            (Some("/usr/bin/keel"), Name::Keel),
            (Some("runc"), Name::Runc),
            (Some("/usr/local/sbin/runc"), Name::Runc),
            (Some("./runc"), Name::Runc),
            (Some("/opt/runc/keel"), Name::Keel),
            (Some("runc-1.1"), Name::Keel),
            (Some(""), Name::Keel),
            (None, Name::Keel),
        ] {
            assert_eq!(Program::from_argv0(argv0.map(OsStr::new)).name, name, "{argv0:?}");
        }
    }
}
