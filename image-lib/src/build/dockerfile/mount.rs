//! `RUN --mount`: comma-separated keys and values.

use super::word::did_you_mean;

/// What a mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image; writes are thrown away.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret, as a file or a variable.
    Secret,
    /// An agent's socket.
    Ssh,
}

impl MountKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// One mount, values as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What it shows.
    pub kind: MountKind,
    /// Stage, image or context that `source` is in.
    pub from: Option<String>,
    /// What is mounted.
    pub source: Option<String>,
    /// Where it appears.
    pub target: Option<String>,
    /// Whether it can be written; each kind has its own default.
    pub read_only: Option<bool>,
    /// The name of a cache, a secret or an agent.
    pub id: Option<String>,
    /// How a cache is shared.
    pub sharing: Option<String>,
    /// The bound of a tmpfs.
    pub size: Option<String>,
    /// Permissions, octal.
    pub mode: Option<String>,
    /// Owner.
    pub uid: Option<String>,
    /// Group.
    pub gid: Option<String>,
    /// The variable that a secret is put into.
    pub env: Option<String>,
    /// Whether a missing secret ends the build.
    pub required: bool,
}

const KEYS: [&str; 18] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "size",
    "mode",
    "uid",
    "gid",
    "required",
];

/// Reads the value of one `--mount`.
///
/// # Errors
/// An unknown key, a key that does not fit the kind, or a bad value.
pub fn parse(text: &str) -> Result<Mount, String> {
    let fields = split_csv(text);
    let mut mount = Mount {
        kind: MountKind::Bind,
        from: None,
        source: None,
        target: None,
        read_only: None,
        id: None,
        sharing: None,
        size: None,
        mode: None,
        uid: None,
        gid: None,
        env: None,
        required: false,
    };
    let mut env_bare = false;
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => mount.read_only = Some(truth(&key, value)?),
            ("readwrite" | "rw", value) => mount.read_only = Some(!truth(&key, value)?),
            ("required", value) if matches!(mount.kind, MountKind::Secret | MountKind::Ssh) => {
                mount.required = truth(&key, value)?;
            }
            ("required", _) => return Err(not_for(&key, mount.kind)),
            ("env", None) => env_bare = true,
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            ("type", Some(value)) => mount.kind = kind(value)?,
            ("from", Some(value)) => {
                if value.contains('$') {
                    return Err(format!(
                        "'from' doesn't support variable expansion, define an alias stage instead of {value:?}"
                    ));
                }
                mount.from = Some(value.to_owned());
            }
            ("source" | "src", Some(value)) => mount.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", Some(value)) => {
                mount.target = Some(value.to_owned());
            }
            ("id", Some(value)) => mount.id = Some(value.to_owned()),
            ("sharing", Some(value)) => mount.sharing = Some(value.to_owned()),
            ("size", Some(value)) if mount.kind == MountKind::Tmpfs => {
                mount.size = Some(value.to_owned());
            }
            ("size", _) => return Err(not_for(&key, mount.kind)),
            ("mode", Some(value)) => mount.mode = Some(value.to_owned()),
            ("uid", Some(value)) => mount.uid = Some(value.to_owned()),
            ("gid", Some(value)) => mount.gid = Some(value.to_owned()),
            ("env", Some(value)) => mount.env = Some(value.to_owned()),
            _ => {
                let near = did_you_mean(&key, KEYS)
                    .map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                return Err(format!("unexpected key '{key}' in '{field}'{near}"));
            }
        }
    }
    if env_bare && mount.env.is_none() {
        mount.env = mount.id.clone().or_else(|| mount.source.clone());
    }
    check(&mount)?;
    Ok(mount)
}

fn check(mount: &Mount) -> Result<(), String> {
    let file_keys = [("mode", &mount.mode), ("uid", &mount.uid), ("gid", &mount.gid)];
    if matches!(mount.kind, MountKind::Bind | MountKind::Tmpfs)
        && let Some((key, _)) = file_keys.iter().find(|(_, value)| value.is_some())
    {
        return Err(not_for(key, mount.kind));
    }
    if mount.sharing.is_some() && mount.kind != MountKind::Cache {
        return Err(not_for("sharing", mount.kind));
    }
    let needs_target = matches!(mount.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
    if needs_target && mount.target.as_deref().is_none_or(str::is_empty) {
        return Err(format!("target is required for a mount of type {}", mount.kind.word()));
    }
    let named = mount.id.is_some() || mount.source.is_some() || mount.target.is_some();
    if mount.kind == MountKind::Secret && !named {
        return Err("invalid secret mount. one of source, target required".to_owned());
    }
    Ok(())
}

fn kind(word: &str) -> Result<MountKind, String> {
    let all =
        [MountKind::Bind, MountKind::Cache, MountKind::Tmpfs, MountKind::Secret, MountKind::Ssh];
    all.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word)).ok_or_else(|| {
        let near = did_you_mean(word, all.map(MountKind::word))
            .map_or(String::new(), |near| format!(" (did you mean {near}?)"));
        format!("unsupported mount type {word:?}{near}")
    })
}

fn not_for(key: &str, kind: MountKind) -> String {
    format!("unexpected key '{key}' for mount type '{}'", kind.word())
}

pub(super) fn truth(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("invalid value for {key}: {other:?}")),
    }
}

/// Fields between commas; a field in double quotes may hold commas, and two of them mean one.
pub(super) fn split_csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::{MountKind, parse};

    #[test]
    fn reads_mounts() {
        let mount = parse("type=cache,target=/c,id=x,sharing=locked,uid=5").unwrap();
        assert_eq!((mount.kind, mount.id.as_deref()), (MountKind::Cache, Some("x")));
        let mount = parse("from=build,src=/a,dst=/b,rw").unwrap();
        assert_eq!((mount.kind, mount.read_only), (MountKind::Bind, Some(false)));
        let mount = parse("type=tmpfs,size=1m,\"target=/a,b\"").unwrap();
        assert_eq!(mount.target.as_deref(), Some("/a,b"));
    }

    #[test]
    fn refuses_bad_ones() {
        for (text, expected) in [
            ("type=cahce,target=/c", "did you mean cache?"),
            ("type=bind,tarjet=/c", "did you mean target?"),
            ("type=bind,target=/c,mode=0700", "'mode' for mount type 'bind'"),
            ("size=5,type=tmpfs,target=/t", "'size' for mount type 'bind'"),
            ("target=/x,from=$A", "doesn't support variable expansion"),
            ("type=cache", "target is required"),
            ("type=secret", "one of source, target required"),
            ("target", "must be a key=value pair"),
            ("target=/x,ro=maybe", "invalid value for ro"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
