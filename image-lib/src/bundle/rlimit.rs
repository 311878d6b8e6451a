//! Limits of a container's processes, as docker's `--ulimit` says them.

use std::str::FromStr;

use serde::Serialize;

/// Docker's names; the runtime's begin with `RLIMIT_`.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// A limit of a container's processes (runtime-spec config.md, "POSIX process").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// Such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The bound of the soft limit.
    pub hard: u64,
    /// What is enforced.
    pub soft: u64,
}

/// Why a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RlimitError {
    /// It has not the form.
    #[error("invalid ulimit argument: {text} (it is NAME=SOFT[:HARD])")]
    Form {
        /// The refused text.
        text: String,
    },
    /// The kernel has no such limit.
    #[error("invalid ulimit type: {name} (known: {})", NAMES.join(" "))]
    Name {
        /// The refused name.
        name: String,
    },
    /// The soft limit is above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    Order {
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
}

impl FromStr for Rlimit {
    type Err = RlimitError;

    /// Reads `NAME=SOFT[:HARD]`; -1 is no limit.
    fn from_str(text: &str) -> Result<Self, RlimitError> {
        let form = || RlimitError::Form { text: text.to_owned() };
        let (name, values) = text.split_once('=').ok_or_else(form)?;
        if !NAMES.contains(&name) {
            return Err(RlimitError::Name { name: name.to_owned() });
        }
        let number = |text: &str| match text {
            "-1" => Ok(u64::MAX),
            text => text.parse::<u64>().map_err(|_| form()),
        };
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        if soft > hard {
            return Err(RlimitError::Order { soft, hard });
        }
        Ok(Self { kind: format!("RLIMIT_{}", name.to_ascii_uppercase()), hard, soft })
    }
}

#[cfg(test)]
mod tests {
    use super::Rlimit;

    #[test]
    fn reads_what_docker_reads() {
        let limit = |text: &str| text.parse::<Rlimit>();
        let nofile = limit("nofile=1024:2048").unwrap();
        assert_eq!((nofile.kind.as_str(), nofile.soft, nofile.hard), ("RLIMIT_NOFILE", 1024, 2048));
        let core = limit("core=-1").unwrap();
        assert_eq!((core.soft, core.hard), (u64::MAX, u64::MAX));
        for text in ["nofile", "nofile=", "nofile=a", "nofile=2:1", "files=1", "core=-1:5"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
