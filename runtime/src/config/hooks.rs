//! `hooks`: programs of the operator, run at fixed points of a container's life.

use super::error::Kind;
use super::field::Field;

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program, absolute.
    pub path: String,
    /// Its arguments, the first being its name for itself; empty means the path alone.
    pub args: Vec<String>,
    /// Its whole environment; `None` where the config does not say.
    pub env: Option<Vec<String>>,
    /// After how many seconds it is killed; `None` for never.
    pub timeout_seconds: Option<u32>,
}

/// The points at which hooks run, in the order of a container's life
/// (runtime-spec, config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Deprecated; before pivot_root, in the runtime namespace.
    Prestart,
    /// Before pivot_root, in the runtime namespace.
    CreateRuntime,
    /// Before pivot_root, in the container namespace.
    CreateContainer,
    /// Before the program is executed, in the container namespace.
    StartContainer,
    /// After the program was executed, in the runtime namespace.
    Poststart,
    /// After the container was deleted, in the runtime namespace.
    Poststop,
}

impl Point {
    /// The name of the config field.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// All hooks of a config.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
}

impl Hooks {
    /// The hooks of one point, in listed order.
    #[must_use]
    pub fn at(&self, point: Point) -> &[Hook] {
        match point {
            Point::Prestart => &self.prestart,
            Point::CreateRuntime => &self.create_runtime,
            Point::CreateContainer => &self.create_container,
            Point::StartContainer => &self.start_container,
            Point::Poststart => &self.poststart,
            Point::Poststop => &self.poststop,
        }
    }

    /// Reads the object.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let list = |point: Point| field.get(point.name()).collect(hook);
        Some(Self {
            prestart: list(Point::Prestart),
            create_runtime: list(Point::CreateRuntime),
            create_container: list(Point::CreateContainer),
            start_container: list(Point::StartContainer),
            poststart: list(Point::Poststart),
            poststop: list(Point::Poststop),
        })
    }
}

fn hook(field: &Field<'_>) -> Option<Hook> {
    let path_field = field.get("path");
    let path = path_field.required_string()?;
    if !path.starts_with('/') {
        path_field.refuse(Kind::Invalid, format!("{path:?} is not an absolute path"));
    }
    let timeout = field.get("timeout");
    let timeout_seconds = timeout.integer::<u32>();
    if timeout_seconds == Some(0) {
        timeout.refuse(Kind::Invalid, "must be greater than zero");
    }
    Some(Hook {
        path: path.to_owned(),
        args: field.get("args").strings(),
        env: field.get("env").is_present().then(|| field.get("env").strings()),
        timeout_seconds,
    })
}
