//! The messages between criu and whoever started it (criu, images/rpc.proto): requests are written,
//! responses read. Only the fields that a container runtime needs are here. Pure.

use super::wire::{Fields, Malformed, Value, Writer};

/// What criu is asked to do, or answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write the images of a process tree.
    Dump,
    /// Make a process tree from images.
    Restore,
    /// Write the memory alone, and let the processes run on.
    PreDump,
    /// A point was reached; whoever asked may act on it.
    Notify,
    /// Which features are there?
    FeatureCheck,
    /// Which criu is it?
    Version,
}

const KINDS: [(Kind, i32, &str); 6] = [
    (Kind::Dump, 1, "DUMP"),
    (Kind::Restore, 2, "RESTORE"),
    (Kind::PreDump, 4, "PRE_DUMP"),
    (Kind::Notify, 6, "NOTIFY"),
    (Kind::FeatureCheck, 9, "FEATURE_CHECK"),
    (Kind::Version, 10, "VERSION"),
];

impl Kind {
    /// The name in criu's definition, which error messages show.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., name)| name)
    }

    fn number(self) -> i32 {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, number, _)| *number)
    }

    fn of(number: i32) -> Option<Self> {
        KINDS.iter().find(|(_, known, _)| *known == number).map(|(kind, ..)| *kind)
    }
}

/// How criu deals with cgroups (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupsMode {
    /// Leave them alone.
    Ignore,
    /// Make those that are missing and set the properties of these.
    Soft,
    /// Make all, and set all properties.
    Full,
    /// All must be missing.
    Strict,
    /// criu's own choice, which is soft.
    #[default]
    Default,
}

impl CgroupsMode {
    /// Reads the word of the command line; nothing means criu's choice.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "" => Self::Default,
            "ignore" => Self::Ignore,
            "soft" => Self::Soft,
            "full" => Self::Full,
            "strict" => Self::Strict,
            _ => return None,
        })
    }

    fn number(self) -> u64 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
            Self::Default => 6,
        }
    }
}

/// The options of a dump or a restore (`criu_opts`). What is absent or false is not sent, so that an
/// older criu is asked for nothing it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The directory of the images: a descriptor of the asking process.
    pub images: i32,
    /// The directory of the log, where it is another.
    pub work: Option<i32>,
    /// The name of the log in that directory.
    pub log_file: String,
    /// The root file system.
    pub root: String,
    /// The first process of the tree.
    pub pid: Option<i32>,
    /// The images of an earlier dump, relative to the images.
    pub parent: Option<String>,
    /// A configuration file whose settings win over these.
    pub config_file: Option<String>,
    /// The directory of a cgroup by which processes are stopped.
    pub freezer: Option<String>,
    /// Address and port of a server that takes the memory.
    pub page_server: Option<(String, u16)>,
    /// A descriptor of the asking process that is told when pages can be had.
    pub status_fd: Option<i32>,
    /// How cgroups are dealt with.
    pub cgroups: CgroupsMode,
    /// Controller and path of the cgroups in which the tree is restored.
    pub cgroup_roots: Vec<(String, String)>,
    /// Mounts from outside: the mount point, and what criu shall take it for.
    pub mounts: Vec<(String, String)>,
    /// Resources from outside, in criu's words.
    pub external: Vec<String>,
    /// Descriptors of criu's that stand for resources from outside: key, number.
    pub inherited: Vec<(String, i32)>,
    /// Namespaces to join: type, file.
    pub joined: Vec<(String, String)>,
    /// Namespaces whose content is not looked at, as `CLONE_NEW*`.
    pub empty_namespaces: u32,
    /// The security label of restored processes.
    pub lsm_profile: Option<String>,
    /// The security label of restored mounts.
    pub lsm_mount_context: Option<String>,
    /// Let the processes run on after a dump.
    pub leave_running: bool,
    /// Take unix sockets to processes outside.
    pub ext_unix_sk: bool,
    /// Take TCP connections.
    pub tcp_established: bool,
    /// Leave out TCP connections that are being made.
    pub tcp_skip_in_flight: bool,
    /// Restore TCP connections closed.
    pub tcp_close: bool,
    /// Take processes of a session that was begun outside.
    pub shell_job: bool,
    /// Take file locks.
    pub file_locks: bool,
    /// Link deleted files back.
    pub link_remap: bool,
    /// Keep track of memory that is written to.
    pub track_memory: bool,
    /// Drop pages from the parent's images that are in newer ones.
    pub auto_dedup: bool,
    /// Hand over memory when it is wanted.
    pub lazy_pages: bool,
    /// Open devices by whatever path leads to them.
    pub evasive_devices: bool,
    /// Restore the first process as a child of the asking one.
    pub as_sibling: bool,
}

/// How much criu logs: 4 is everything.
const LOG_LEVEL: i32 = 4;

impl Options {
    fn encode(&self) -> Writer {
        let mut to = Writer::default();
        to.int32(1, self.images);
        let numbers = [(2, self.pid), (17, self.work), (49, self.status_fd)];
        for (field, number) in numbers {
            number.into_iter().for_each(|number| to.int32(field, number));
        }
        to.int32(9, LOG_LEVEL);
        to.text(10, &self.log_file);
        // Notifications are what a runtime acts on; a terminal's other end goes to the caller.
        let switches = [
            (3, self.leave_running),
            (4, self.ext_unix_sk),
            (5, self.tcp_established),
            (6, self.evasive_devices),
            (7, self.shell_job),
            (8, self.file_locks),
            (12, true),
            (15, self.track_memory),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (24, true),
            (26, self.as_sibling),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (50, true),
            (52, self.tcp_close),
        ];
        switches.into_iter().filter(|(_, on)| *on).for_each(|(field, on)| to.boolean(field, on));
        let texts = [
            (13, Some(&self.root)),
            (14, self.parent.as_ref()),
            (44, self.freezer.as_ref()),
            (51, self.config_file.as_ref()),
            (53, self.lsm_profile.as_ref()),
            (63, self.lsm_mount_context.as_ref()),
        ];
        for (field, text) in texts {
            text.into_iter().for_each(|text| to.text(field, text));
        }
        if let Some((address, port)) = &self.page_server {
            to.message(11, &pair((1, address), |to| to.int32(2, i32::from(*port))));
        }
        for (at, source) in &self.mounts {
            to.message(23, &pair((1, at), |to| to.text(2, source)));
        }
        for (controller, path) in &self.cgroup_roots {
            to.message(25, &pair((1, controller), |to| to.text(2, path)));
        }
        for (key, number) in &self.inherited {
            to.message(27, &pair((1, key), |to| to.int32(2, *number)));
        }
        to.unsigned(34, self.cgroups.number());
        self.external.iter().for_each(|resource| to.text(37, resource));
        to.unsigned(38, self.empty_namespaces.into());
        for (kind, file) in &self.joined {
            to.message(39, &pair((1, kind), |to| to.text(2, file)));
        }
        to
    }
}

fn pair((field, first): (u32, &str), second: impl FnOnce(&mut Writer)) -> Writer {
    let mut writer = Writer::default();
    writer.text(field, first);
    second(&mut writer);
    writer
}

/// Features that a kernel or a criu may lack (`criu_features`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Memory that is written to can be told from other memory.
    pub memory_tracking: bool,
    /// Memory can be handed over when it is wanted.
    pub lazy_pages: bool,
}

/// A request (`criu_req`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which criu is it? More requests follow.
    Version,
    /// Which of these features are there? More requests follow.
    Check(Features),
    /// One of the kinds that have options.
    Do(Kind, Box<Options>),
    /// The answer to a notification.
    Noted {
        /// Whether criu may go on.
        go_on: bool,
    },
}

impl Request {
    /// The request as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        match self {
            Self::Version => {
                to.int32(1, Kind::Version.number());
                to.boolean(4, true);
            }
            Self::Check(features) => {
                to.int32(1, Kind::FeatureCheck.number());
                to.boolean(4, true);
                let mut wanted = Writer::default();
                let all = [(1, features.memory_tracking), (2, features.lazy_pages)];
                all.into_iter()
                    .filter(|(_, on)| *on)
                    .for_each(|(field, on)| wanted.boolean(field, on));
                to.message(5, &wanted);
            }
            Self::Do(kind, options) => {
                to.int32(1, kind.number());
                to.message(2, &options.encode());
            }
            Self::Noted { go_on } => {
                to.int32(1, Kind::Notify.number());
                to.boolean(3, *go_on);
            }
        }
        to.into_bytes()
    }
}

/// A response (`criu_resp`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// What it answers; `None` for something not asked for here.
    pub kind: Option<Kind>,
    /// Whether it was done.
    pub success: bool,
    /// The first restored process.
    pub restored: Option<i32>,
    /// The point that was reached, and the process that it is about.
    pub notice: Option<(String, i32)>,
    /// Why it was not done, as an errno.
    pub errno: i32,
    /// Why it was not done, in words.
    pub message: Option<String>,
    /// What was asked about features.
    pub features: Features,
    /// The version, as major × 10 000 + minor × 100 + sublevel.
    pub version: Option<u32>,
}

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        let (mut kind, mut success) = (None, None);
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => kind = Some(int32(1, value)?),
                (2, value) => success = Some(number(2, value)? != 0),
                (4, value) => response.restored = find(4, value, 1)?,
                (5, value) => response.notice = Some(notice(bytes_of(5, value)?)?),
                (7, value) => response.errno = int32(7, value)?,
                (8, value) => response.features = features(bytes_of(8, value)?)?,
                (9, value) => response.message = Some(text(9, value)?),
                (10, value) => response.version = Some(version(bytes_of(10, value)?)?),
                // Newer fields.
                _ => {}
            }
        }
        response.kind = Kind::of(kind.ok_or(Malformed::Unexpected(1))?);
        response.success = success.ok_or(Malformed::Unexpected(2))?;
        Ok(response)
    }
}

fn number(field: u32, value: Value<'_>) -> Result<u64, Malformed> {
    match value {
        Value::Number(number) => Ok(number),
        _ => Err(Malformed::Unexpected(field)),
    }
}

/// The low 32 bits count, as in every reader of the encoding.
fn int32(field: u32, value: Value<'_>) -> Result<i32, Malformed> {
    let low = u32::try_from(number(field, value)? & u64::from(u32::MAX)).unwrap_or(0);
    Ok(low.cast_signed())
}

fn bytes_of(field: u32, value: Value<'_>) -> Result<&[u8], Malformed> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        _ => Err(Malformed::Unexpected(field)),
    }
}

fn text(field: u32, value: Value<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(bytes_of(field, value)?).into_owned())
}

/// One `int32` of a message within.
fn find(field: u32, value: Value<'_>, wanted: u32) -> Result<Option<i32>, Malformed> {
    let mut found = None;
    for inner in Fields::of(bytes_of(field, value)?) {
        let (number, value) = inner?;
        if number == wanted {
            found = Some(int32(number, value)?);
        }
    }
    Ok(found)
}

fn notice(bytes: &[u8]) -> Result<(String, i32), Malformed> {
    let (mut script, mut pid) = (String::new(), 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => script = text(1, value)?,
            (2, value) => pid = int32(2, value)?,
            _ => {}
        }
    }
    Ok((script, pid))
}

fn features(bytes: &[u8]) -> Result<Features, Malformed> {
    let mut features = Features::default();
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => features.memory_tracking = number(1, value)? != 0,
            (2, value) => features.lazy_pages = number(2, value)? != 0,
            _ => {}
        }
    }
    Ok(features)
}

fn version(bytes: &[u8]) -> Result<u32, Malformed> {
    let (mut major, mut minor, mut sublevel, mut from_git) = (0_u32, 0_u32, 0_u32, false);
    for field in Fields::of(bytes) {
        let part = |field, value| Ok(u32::try_from(int32(field, value)?).unwrap_or(0).min(9_999));
        match field? {
            (1, value) => major = part(1, value)?,
            (2, value) => minor = part(2, value)?,
            (3, _) => from_git = true,
            (4, value) => sublevel = part(4, value)?,
            _ => {}
        }
    }
    // A build between two releases has what the next one has.
    let (minor, sublevel) = if from_git { (minor + 1, 0) } else { (minor, sublevel) };
    Ok(major * 10_000 + minor * 100 + sublevel)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
