//! The messages of the task API, versions 2 and 3 (they are the same), as containerd publishes them.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::protobuf::{Fields, Malformed, Writer};

/// A message with the name of its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Any {
    /// `containerd.runc.v1.Options`; what stands before the last slash says nothing.
    pub type_url: String,
    /// The message.
    pub value: Vec<u8>,
}

impl Any {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut any = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => any.type_url = value.text()?.to_owned(),
                2 => any.value = value.bytes()?.to_vec(),
                _ => {}
            }
        }
        Ok(any)
    }

    /// Its kind without the host that may stand before it.
    pub fn kind(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// As a message.
    pub fn encode(&self) -> Writer {
        Writer::new().text(1, &self.type_url).bytes(2, &self.value)
    }
}

/// A moment, as protobuf writes it.
pub fn timestamp(at: SystemTime) -> Writer {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Writer::new().number(1, since.as_secs()).number32(2, since.subsec_nanos())
}

/// A file system to mount below the bundle's `rootfs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Type: `overlay`, `bind`.
    pub kind: String,
    /// Device or folder.
    pub source: String,
    /// Below the root; almost always empty.
    pub target: String,
    /// As mount(8) has them.
    pub options: Vec<String>,
}

impl Mount {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut mount = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => mount.kind = value.text()?.to_owned(),
                2 => mount.source = value.text()?.to_owned(),
                3 => mount.target = value.text()?.to_owned(),
                4 => mount.options.push(value.text()?.to_owned()),
                _ => {}
            }
        }
        Ok(mount)
    }

    /// As a message.
    pub fn encode(&self) -> Writer {
        let head = Writer::new().text(1, &self.kind).text(2, &self.source).text(3, &self.target);
        self.options.iter().fold(head, |writer, option| writer.message(4, Writer::raw(option)))
    }
}

/// The ends of a process's standard streams, as the client named them: FIFOs, files, URIs, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamNames {
    /// Standard input.
    pub stdin: String,
    /// Standard output; with a terminal both of its directions but input.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether the process gets a terminal.
    pub terminal: bool,
}

/// `Create`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// The container's id.
    pub id: String,
    /// The folder with config.json.
    pub bundle: String,
    /// What is mounted on `rootfs`.
    pub rootfs: Vec<Mount>,
    /// The streams.
    pub streams: StreamNames,
    /// A folder of criu's images to begin from.
    pub checkpoint: String,
    /// Of the runtime.
    pub options: Option<Any>,
}

impl Create {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut create = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => create.id = value.text()?.to_owned(),
                2 => create.bundle = value.text()?.to_owned(),
                3 => create.rootfs.push(Mount::parse(value.bytes()?)?),
                4 => create.streams.terminal = value.flag()?,
                5 => create.streams.stdin = value.text()?.to_owned(),
                6 => create.streams.stdout = value.text()?.to_owned(),
                7 => create.streams.stderr = value.text()?.to_owned(),
                8 => create.checkpoint = value.text()?.to_owned(),
                10 => create.options = Some(Any::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(create)
    }
}

/// `CreateSandbox` of the sandbox service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateSandbox {
    /// The sandbox's id.
    pub id: String,
    /// A folder of its own; config.json is in it where the client has one.
    pub bundle: String,
    /// What is mounted on `rootfs`, with such a client.
    pub rootfs: Vec<Mount>,
    /// What the pod shall be.
    pub options: Option<Any>,
    /// Its network; empty for the host's, or a new one.
    pub network_namespace: String,
}

impl CreateSandbox {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut create = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => create.id = value.text()?.to_owned(),
                2 => create.bundle = value.text()?.to_owned(),
                3 => create.rootfs.push(Mount::parse(value.bytes()?)?),
                4 => create.options = Some(Any::parse(value.bytes()?)?),
                5 => create.network_namespace = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(create)
    }
}

/// `Exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// The container's id.
    pub id: String,
    /// The new process's id.
    pub exec_id: String,
    /// The streams.
    pub streams: StreamNames,
    /// The process, in JSON as the runtime-spec has it.
    pub spec: Any,
}

impl Exec {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut exec = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => exec.id = value.text()?.to_owned(),
                2 => exec.exec_id = value.text()?.to_owned(),
                3 => exec.streams.terminal = value.flag()?,
                4 => exec.streams.stdin = value.text()?.to_owned(),
                5 => exec.streams.stdout = value.text()?.to_owned(),
                6 => exec.streams.stderr = value.text()?.to_owned(),
                7 => exec.spec = Any::parse(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(exec)
    }
}

/// What most requests are: a container's id, a process's id, and two numbers or a message.
///
/// | method | field 1 | 2 | 3 | 4 |
/// |---|---|---|---|---|
/// | State Start Delete Wait | id | exec id | | |
/// | Pids Pause Resume Stats Connect | id | | | |
/// | Kill | id | exec id | signal | all |
/// | CloseIO | id | exec id | stdin | |
/// | ResizePty | id | exec id | width | height |
/// | Checkpoint | id | path | options | |
/// | Update | id | resources | annotations | |
/// | Shutdown | id | now | | |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The container's id.
    pub id: String,
    /// The process's id; for `Checkpoint` the path. Empty for the container's own process.
    pub second: String,
    /// Signal or width.
    pub number: u32,
    /// `all`, or height.
    pub fourth: u32,
    /// Options of a checkpoint, resources of an update.
    pub any: Option<Any>,
}

impl Call {
    /// Reads one of a method that names a process.
    pub fn of_process(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut call = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => call.id = value.text()?.to_owned(),
                2 => call.second = value.text()?.to_owned(),
                3 => call.number = value.number32()?,
                4 => call.fourth = value.number32()?,
                _ => {}
            }
        }
        Ok(call)
    }

    /// Reads one of a method that names a container alone.
    pub fn of_container(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut call = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            if field == 1 {
                call.id = value.text()?.to_owned();
            }
        }
        Ok(call)
    }

    /// Reads a `Checkpoint`.
    pub fn of_checkpoint(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut call = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => call.id = value.text()?.to_owned(),
                2 => call.second = value.text()?.to_owned(),
                3 => call.any = Some(Any::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(call)
    }

    /// Reads an `Update`.
    pub fn of_update(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut call = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => call.id = value.text()?.to_owned(),
                2 => call.any = Some(Any::parse(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(call)
    }
}

/// How a checkpoint is made: `containerd.runc.v1.CheckpointOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// End the container afterwards.
    pub exit: bool,
    /// Flags of the runtime that are switches.
    pub switches: Vec<&'static str>,
    /// Namespaces that are made empty.
    pub empty_namespaces: Vec<String>,
    /// `soft`, `full`, `strict`, `ignore`.
    pub cgroups_mode: String,
    /// Where the images go, in place of the request's path.
    pub image_path: String,
    /// Where criu's log goes.
    pub work_path: String,
}

impl CheckpointOptions {
    /// Reads them.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut options = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            let switch = match field {
                2 => Some("--tcp-established"),
                3 => Some("--ext-unix-sk"),
                4 => Some("--shell-job"),
                5 => Some("--file-locks"),
                _ => None,
            };
            match (field, switch) {
                (_, Some(switch)) if value.flag()? => options.switches.push(switch),
                (1, _) => options.exit = value.flag()?,
                (6, _) => options.empty_namespaces.push(value.text()?.to_owned()),
                (7, _) => options.cgroups_mode = value.text()?.to_owned(),
                (8, _) => options.image_path = value.text()?.to_owned(),
                (9, _) => options.work_path = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_create_is_read() {
        let mount = Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec!["ro".to_owned(), String::new()],
        };
        let any = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: vec![1] };
        let bytes = Writer::new()
            .text(1, "c1")
            .text(2, "/b")
            .message(3, mount.encode())
            .flag(4, true)
            .text(5, "in")
            .message(10, any.encode())
            .text(99, "newer")
            .done();
        let create = Create::parse(&bytes).expect("a message");
        assert_eq!(create.id, "c1");
        assert_eq!(create.rootfs, [mount]);
        assert_eq!(create.streams.stdin, "in");
        assert!(create.streams.terminal);
        assert_eq!(create.options, Some(any));
    }

    #[test]
    fn kinds_are_known_behind_any_host() {
        let any = |url: &str| Any { type_url: url.to_owned(), value: Vec::new() };
        assert_eq!(any("types.containerd.io/a.b.C").kind(), "a.b.C");
        assert_eq!(any("a.b.C").kind(), "a.b.C");
    }

    #[test]
    fn a_field_of_another_kind_is_told() {
        assert!(Create::parse(b"\x08\x01").is_err());
        assert!(Call::of_process(b"\x1a\x01a").is_err());
    }
}
