//! An error in parts, for programs: which kind, which field, which call, which errno, and what to do.

use std::error::Error;

use super::error::RuntimeError;
use crate::causes::with_causes;
use crate::cgroup::CgroupError;
use crate::config::load::LoadError;
use crate::container::state_dir::StateError;
use crate::failure::{Failure, Finding};
use crate::init::error::InitError;
use crate::sys::error::SyscallError;

/// The parts of an error. The words of [`Report::code`] are listed in keel(8) and stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The kind of error.
    pub code: &'static str,
    /// The field of `config.json` it is about, such as `mounts[3].source`.
    pub field: Option<String>,
    /// The system call that failed.
    pub syscall: Option<String>,
    /// The name of its errno, such as `EPERM`.
    pub errno: Option<String>,
    /// What the user may do about it.
    pub hint: Option<String>,
}

/// Every code, with what it means: the list of keel(8) is made from it. A word keeps its meaning.
pub const CODES: [(&str, &str); 23] = [
    ("usage", "the command line is not understood"),
    ("file", "a file of the caller's cannot be used"),
    ("refused", "the container is in another state, or what is asked for cannot be had"),
    ("invalid-id", "the id is no name"),
    ("config-not-found", "there is no config.json"),
    ("config-unreadable", "config.json cannot be read"),
    ("invalid-config", "config.json is not valid"),
    ("not-found", "there is no such container"),
    ("already-exists", "there is one already"),
    ("state", "the container's record cannot be read or written"),
    ("cgroup", "a cgroup cannot be made, limited, frozen or removed"),
    ("intel-rdt", "the resctrl file system lacks what linux.intelRdt asks for, or refuses it"),
    ("systemd", "systemd cannot be reached, or refuses what it is asked for"),
    ("seccomp", "the seccomp profile cannot be compiled"),
    ("setup", "a step between the config and the program failed"),
    ("program-not-found", "the program, or the interpreter it names, is not in the container"),
    ("program-denied", "the program may not be executed"),
    ("program", "the program cannot be executed for another reason"),
    ("died", "the container's process ended before its program"),
    ("timeout", "the container's process does not answer"),
    ("criu", "criu is missing, or could not save or restore the processes"),
    ("hook", "a hook failed"),
    ("system", "another system call failed"),
];

impl RuntimeError {
    /// The error in parts.
    #[must_use]
    pub fn report(&self) -> Report {
        if let Self::Uncleaned { first, .. } = self {
            return first.report();
        }
        let failed = self.failed_call();
        let errno = failed.map(|call| call.errno_name()).or_else(|| self.plain_errno());
        Report {
            code: self.code(),
            field: self.field(),
            syscall: failed.map(|call| call.call.name().to_owned()),
            errno,
            hint: self.hint().map(str::to_owned),
        }
    }

    /// The error with its causes, and its parts, as one JSON object; `command` is what failed.
    #[must_use]
    pub fn to_record(&self, command: &str) -> String {
        let report = self.report();
        serde_json::json!({
            "time": crate::timestamp::rfc3339_nano(std::time::SystemTime::now()),
            "command": command,
            "msg": with_causes(self),
            "code": report.code,
            "field": report.field,
            "syscall": report.syscall,
            "errno": report.errno,
            "hint": report.hint,
        })
        .to_string()
    }

    /// The failed system call, wherever it stands among the causes.
    fn failed_call(&self) -> Option<SyscallError> {
        if let Self::Init(InitError::Program(_, Failure::Syscall(error), _)) = self {
            return Some(*error);
        }
        let mut causes = std::iter::successors(Some(self as &dyn Error), |&error| error.source());
        causes.find_map(|cause| match cause.downcast_ref::<Failure>() {
            Some(Failure::Syscall(error)) => Some(*error),
            _ => cause.downcast_ref::<SyscallError>().copied(),
        })
    }

    /// The errno of a failure in the standard library, which does not tell the call.
    fn plain_errno(&self) -> Option<String> {
        let mut causes = std::iter::successors(Some(self as &dyn Error), |&error| error.source());
        let failed = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>())?;
        Some(format!("{:?}", nix::errno::Errno::from_raw(failed.raw_os_error()?)))
    }

    fn field(&self) -> Option<String> {
        let text = match self {
            Self::Init(InitError::Parent { what, .. }) => what.clone(),
            Self::Init(InitError::NetDevice(error)) => error.to_string(),
            Self::Init(InitError::NotGivenBack { lost, .. }) => lost.to_string(),
            Self::Init(InitError::Mapping { field, .. }) => (*field).to_owned(),
            Self::Init(InitError::Step { step, .. }) => step.clone(),
            Self::Init(InitError::Program(..)) => "process.args".to_owned(),
            Self::Init(InitError::Hook(error)) | Self::Hook(error) => error.origin.to_string(),
            Self::Config(errors) | Self::Load(LoadError::Invalid(errors)) => {
                errors.0.first()?.field.clone()
            }
            Self::Cgroup(
                CgroupError::Limit { origin, .. } | CgroupError::LeftOut { origin, .. },
            ) => origin.to_string(),
            Self::CgroupLocation(_) => "linux.cgroupsPath".to_owned(),
            Self::CgroupPlan(errors) => errors.to_string(),
            Self::Seccomp(error) => error.to_string(),
            Self::Refused(text) => text.clone(),
            _ => return None,
        };
        // Words begin with their field, where they have one.
        let field = text.split(": ").next().unwrap_or_default().split(' ').next()?;
        is_field(field).then(|| field.to_owned())
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Id(_) => "invalid-id",
            Self::Load(LoadError::NotFound { .. } | LoadError::NoFolder { .. }) => {
                "config-not-found"
            }
            Self::Load(LoadError::Read { .. }) => "config-unreadable",
            Self::Load(_) | Self::Config(_) => "invalid-config",
            Self::State(StateError::NotFound) => "not-found",
            Self::State(StateError::Exists) => "already-exists",
            Self::State(_) => "state",
            Self::CgroupLocation(_) | Self::CgroupPlan(_) | Self::Cgroup(_) => "cgroup",
            Self::Systemd(_) => "systemd",
            Self::Resctrl(_) => "intel-rdt",
            Self::Seccomp(_) => "seccomp",
            Self::Init(error) => of_init(error),
            Self::Criu(_) => "criu",
            Self::Hook(_) => "hook",
            Self::Refused(_) => "refused",
            Self::Procfs(_) | Self::System { .. } => "system",
            Self::Uncleaned { first, .. } => first.code(),
        }
    }
}

fn of_init(error: &InitError) -> &'static str {
    match error {
        InitError::Program(_, Failure::Found(Finding::CommandNotFound), _) => "program-not-found",
        InitError::Program(_, Failure::Syscall(error), _) => match error.errno {
            libc::ENOENT | libc::ENOTDIR => "program-not-found",
            libc::EACCES | libc::EISDIR | libc::EPERM => "program-denied",
            _ => "program",
        },
        InitError::Program(..) => "program",
        InitError::Hook(_) => "hook",
        InitError::Died(_) => "died",
        InitError::Silent => "timeout",
        InitError::NotGivenBack { first, .. } => of_init(first),
        _ => "setup",
    }
}

/// Whether a word is the path of a field: it begins with a member of the document.
fn is_field(word: &str) -> bool {
    const ROOTS: [&str; 9] = [
        "ociVersion",
        "process",
        "root",
        "hostname",
        "domainname",
        "mounts",
        "hooks",
        "linux",
        "annotations",
    ];
    let root = word.split(['.', '[']).next().unwrap_or_default();
    ROOTS.contains(&root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::error::Call;

    #[test]
    fn finds_the_call_behind_a_chain_and_keeps_the_first_error() {
        let call = SyscallError { call: Call::Mount, errno: libc::EPERM };
        let step = InitError::Step {
            doing: "",
            step: "mounts[3]: mount proc".to_owned(),
            source: call.into(),
            hint: Some("do this"),
        };
        let second = RuntimeError::Refused("busy".to_owned());
        let report = RuntimeError::Init(step).and_cleaning_up(&second).report();
        let expected = Report {
            code: "setup",
            field: Some("mounts[3]".to_owned()),
            syscall: Some("mount".to_owned()),
            errno: Some("EPERM".to_owned()),
            hint: Some("do this".to_owned()),
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn takes_no_word_for_a_field_that_is_none() {
        assert!(is_field("linux.seccomp.syscalls[0]") && is_field("root.path"));
        assert!(!is_field("--preserve-fds") && !is_field("cannot") && !is_field("linuxes"));
        assert_eq!(RuntimeError::Refused("cannot start".into()).report().field, None);
    }
}
