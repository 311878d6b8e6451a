//! The door: a profile in, a program for seccomp(2) out.
//!
//! Where the specification is silent, the answers are those of runc 1.5 and libseccomp 2.6:
//!
//! - the native ABI is always filtered, listed or not; a call through any other ABI that is not
//!   listed kills the thread, x32 calls among them;
//! - a name that is unknown, or that an ABI lacks, is skipped there;
//! - a rule whose action equals the default action is skipped;
//! - the first rule on a call that has no conditions decides alone; without one, the first rule in
//!   the profile's order whose conditions all hold (libseccomp sorts such rules by argument, or
//!   refuses them; it matters only where rules of different actions overlap);
//! - two conditions on one argument make every condition of that rule a rule of its own;
//! - numbers above the highest one the profile names fail with ENOSYS, unless the default action
//!   allows, logs or traces;
//! - rules on socket(2) and semop(2) and their relatives also cover socketcall(2) and ipc(2).

use thiserror::Error;

use super::arch;
use super::numbers::Rows;
use super::profile::{self, return_value};
use super::program::{self, SockFilter};
use crate::config::seccomp::{Action, Architecture, Flag, Seccomp};
use crate::sys::credentials::SECCOMP_NEW_LISTENER;

/// What init hands to seccomp(2) with `SECCOMP_SET_MODE_FILTER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The instructions; never empty and at most 4096.
    pub program: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*`; with `NEW_LISTENER` exactly when [`Filter::listener`] is there.
    pub flags: u32,
    /// Where the file descriptor goes that seccomp(2) returns.
    pub listener: Option<Listener>,
    /// Whether sendmsg(2) is let through, whatever its arguments.
    pub lets_sendmsg: bool,
}

/// Who answers for the calls that notify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The socket that gets the container process state and the descriptor.
    pub path: String,
    /// Sent along, uninterpreted.
    pub metadata: Option<String>,
}

/// Why a profile cannot become a program.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// No numbers are known for the machine.
    #[error("linux.seccomp: not supported on a machine of architecture {}", native.name())]
    Architecture {
        /// The machine.
        native: Architecture,
    },
    /// Two rules have the same conditions on the same call and different actions.
    #[error(
        "linux.seccomp.syscalls[{}] and linux.seccomp.syscalls[{}] give system call {number} \
         different actions under the same conditions",
        rules.0, rules.1
    )]
    Contradiction {
        /// Indices into `syscalls[]`.
        rules: (usize, usize),
        /// The number of the call, or of the socketcall(2) or ipc(2) that carries it.
        number: u32,
    },
    /// The kernel takes no program this long.
    #[error(
        "linux.seccomp: the profile needs {instructions} instructions or more; the kernel takes {}",
        program::INSTRUCTIONS_MAX
    )]
    TooLong {
        /// How many were made before giving up.
        instructions: usize,
    },
}

/// The machine this program was built for, `None` where a profile cannot be compiled for it.
#[must_use]
pub fn native() -> Option<Architecture> {
    Some(match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("x86_64", _) if cfg!(target_pointer_width = "64") => Architecture::X86_64,
        ("x86", _) => Architecture::X86,
        ("aarch64", true) => Architecture::Aarch64,
        ("arm", true) => Architecture::Arm,
        ("riscv64", _) => Architecture::Riscv64,
        ("s390x", _) => Architecture::S390x,
        ("powerpc64", false) => Architecture::Powerpc64,
        ("powerpc64", true) => Architecture::Powerpc64le,
        ("loongarch64", _) => Architecture::Loongarch64,
        _ => return None,
    })
}

/// Compiles `profile` for a machine whose native ABI is `native`. ABIs in the profile that such a
/// machine cannot have are skipped.
///
/// # Errors
/// See [`SeccompError`]. Whatever the profile holds, nothing here panics.
pub fn compile(profile: &Seccomp, native: Architecture) -> Result<Filter, SeccompError> {
    let machine = arch::machine(native).ok_or(SeccompError::Architecture { native })?;
    let sections = profile::sections(profile, machine)?;
    let program = program::assemble(&sections, machine)?;
    let listener =
        profile.syscalls.iter().any(|rule| rule.action == Action::Notify).then(|| Listener {
            path: profile.listener_path.clone().unwrap_or_default(),
            metadata: profile.listener_metadata.clone(),
        });
    let mut flags = profile.flags.iter().fold(0, |flags, flag| flags | flag_bit(*flag));
    if listener.is_some() {
        flags |= FLAG_NEW_LISTENER;
    }
    let lets_sendmsg = lets_through("sendmsg", profile, native);
    Ok(Filter { program, flags, listener, lets_sendmsg })
}

const FLAG_NEW_LISTENER: u32 = SECCOMP_NEW_LISTENER;

/// Whether a call of the native ABI is let through by every rule on it, or by the default.
fn lets_through(name: &str, profile: &Seccomp, native: Architecture) -> bool {
    let lets = |action: Action| matches!(action, Action::Allow | Action::Log);
    let mut rules =
        profile.syscalls.iter().filter(|rule| rule.names.iter().any(|listed| listed == name));
    let is_known = number(name, native, native).is_some();
    let by_name = rules.clone().any(|rule| rule.args.is_empty()) || lets(profile.default_action);
    is_known && by_name && rules.all(|rule| lets(rule.action))
}

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
fn flag_bit(flag: Flag) -> u32 {
    match flag {
        // The container process has one thread when it loads the filter.
        Flag::Tsync => 0,
        Flag::Log => 1 << 1,
        Flag::SpecAllow => 1 << 2,
        Flag::WaitKillableRecv => 1 << 5,
    }
}

/// The number of the system call `name` on the ABI `abi` of a machine that has it.
#[must_use]
pub fn number(name: &str, native: Architecture, abi: Architecture) -> Option<u32> {
    let machine = arch::machine(native)?;
    let abi = machine.abis.iter().find(|known| known.name == abi)?;
    abi.number(Rows::default().find(name)?)
}

/// The value with which a filter returns `action` (seccomp(2)).
#[must_use]
pub fn action_value(action: Action) -> u32 {
    return_value(action)
}
