//! Which rule of a profile answers for a call, and what the compiled program returns for it.

use super::arch;
use super::filter::{SeccompError, compile, native};
use super::numbers::Rows;
use super::profile::return_value;
use super::simulate::{ByteOrder, Call, run};
use crate::config::seccomp::{Action, Arg, Operator, Rule, Seccomp};

/// What a profile does with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the program returns (seccomp(2), `SECCOMP_RET_*`).
    pub value: u32,
    /// Why.
    pub reason: Reason,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The rule at this index of `syscalls[]`.
    Rule(usize),
    /// No rule names the call, or none whose conditions hold.
    Default,
    /// The call is newer than every call that the profile names.
    Newer,
}

/// What `profile` does with the call `name`; `None` where this machine has no such call.
///
/// # Errors
/// The profile cannot be compiled.
pub fn answer(
    profile: &Seccomp,
    name: &str,
    args: [u64; 6],
) -> Result<Option<Answer>, SeccompError> {
    let Some(call) = native_call(name, args) else { return Ok(None) };
    let Some(machine) = native() else { return Ok(None) };
    let program = compile(profile, machine)?.program;
    let Some(value) = run(&program, &call, byte_order()) else { return Ok(None) };
    let reason = match deciding_rule(profile, name, &args) {
        Some(index) => Reason::Rule(index),
        None if value == return_value(profile.default_action) => Reason::Default,
        None => Reason::Newer,
    };
    Ok(Some(Answer { value, reason }))
}

/// Whether a program ends the process that calls `name`, with whatever arguments it does.
#[must_use]
pub fn kills(program: &[super::SockFilter], name: &str) -> bool {
    let value = native_call(name, [0; 6]).and_then(|call| run(program, &call, byte_order()));
    let deadly = [Action::KillProcess, Action::KillThread, Action::Trap].map(return_value);
    value.is_some_and(|value| deadly.contains(&value))
}

/// The value in the words of a profile, as `SCMP_ACT_ERRNO(EPERM)`.
#[must_use]
pub fn show(value: u32) -> String {
    let data = value & 0xffff;
    match value & 0xffff_0000 {
        0x8000_0000 => "SCMP_ACT_KILL_PROCESS".to_owned(),
        0 => "SCMP_ACT_KILL_THREAD".to_owned(),
        0x0003_0000 => "SCMP_ACT_TRAP".to_owned(),
        0x0005_0000 => {
            let errno = nix::errno::Errno::from_raw(i32::try_from(data).unwrap_or(0));
            format!("SCMP_ACT_ERRNO ({errno:?})")
        }
        0x7fc0_0000 => "SCMP_ACT_NOTIFY".to_owned(),
        0x7ff0_0000 => "SCMP_ACT_TRACE".to_owned(),
        0x7ffc_0000 => "SCMP_ACT_LOG".to_owned(),
        _ => "SCMP_ACT_ALLOW".to_owned(),
    }
}

/// Whether the kernel goes on with the call.
#[must_use]
pub fn lets_through(value: u32) -> bool {
    [Action::Allow, Action::Log].map(return_value).contains(&value)
}

fn native_call(name: &str, args: [u64; 6]) -> Option<Call> {
    let abi = arch::machine(native()?)?.abis.first()?;
    let number = abi.number(Rows::default().find(name)?)?;
    Some(Call { number, arch: abi.audit, args })
}

fn byte_order() -> ByteOrder {
    if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big }
}

/// The rule that decides, by the order that `filter.rs` states.
fn deciding_rule(profile: &Seccomp, name: &str, args: &[u64; 6]) -> Option<usize> {
    let default = return_value(profile.default_action);
    let of_call = |rule: &Rule| {
        return_value(rule.action) != default && rule.names.iter().any(|listed| listed == name)
    };
    let rules = || profile.syscalls.iter().enumerate().filter(|(_, rule)| of_call(rule));
    let unconditional = rules().find(|(_, rule)| rule.args.is_empty());
    let matching = || rules().find(|(_, rule)| matches(rule, args));
    unconditional.or_else(matching).map(|(index, _)| index)
}

fn matches(rule: &Rule, args: &[u64; 6]) -> bool {
    let mut indices: Vec<u8> = rule.args.iter().map(|arg| arg.index).collect();
    indices.sort_unstable();
    let repeats = indices.windows(2).any(|pair| pair.first() == pair.last());
    let hold = |arg: &Arg| holds(arg, args);
    // Two conditions on one argument make each of them a rule of its own.
    if repeats { rule.args.iter().any(hold) } else { rule.args.iter().all(hold) }
}

fn holds(arg: &Arg, args: &[u64; 6]) -> bool {
    let actual = args.get(usize::from(arg.index)).copied().unwrap_or_default();
    match arg.op {
        Operator::Equal => actual == arg.value,
        Operator::NotEqual => actual != arg.value,
        Operator::Less => actual < arg.value,
        Operator::LessEqual => actual <= arg.value,
        Operator::Greater => actual > arg.value,
        Operator::GreaterEqual => actual >= arg.value,
        Operator::MaskedEqual => actual & arg.value == arg.value & arg.value_two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Seccomp {
        let rule = |names: &[&str], action, args: Vec<Arg>| Rule {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            action,
            args,
        };
        let clone = Arg { index: 0, value: 0x1000_0000, value_two: 0, op: Operator::MaskedEqual };
        Seccomp {
            default_action: Action::Errno(1),
            architectures: Vec::new(),
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            syscalls: vec![
                rule(&["read", "execve"], Action::Allow, Vec::new()),
                rule(&["clone"], Action::Allow, vec![clone]),
                rule(&["ptrace"], Action::KillProcess, Vec::new()),
            ],
        }
    }

    #[test]
    fn names_the_rule_that_decides() {
        let ask = |name, first| {
            let answer = answer(&profile(), name, [first, 0, 0, 0, 0, 0]).unwrap().unwrap();
            (show(answer.value), answer.reason)
        };
        assert_eq!(ask("read", 0), ("SCMP_ACT_ALLOW".to_owned(), Reason::Rule(0)));
        assert_eq!(ask("clone", 0), ("SCMP_ACT_ALLOW".to_owned(), Reason::Rule(1)));
        let denied = "SCMP_ACT_ERRNO (EPERM)".to_owned();
        assert_eq!(ask("clone", 0x1000_0000), (denied.clone(), Reason::Default));
        assert_eq!(ask("chroot", 0), ("SCMP_ACT_ERRNO (ENOSYS)".to_owned(), Reason::Newer));
        assert_eq!(ask("getpid", 0), (denied, Reason::Default));
        assert_eq!(ask("ptrace", 0), ("SCMP_ACT_KILL_PROCESS".to_owned(), Reason::Rule(2)));
        assert!(answer(&profile(), "nosuchcall", [0; 6]).unwrap().is_none());
    }

    #[test]
    fn knows_a_deadly_program() {
        let program = compile(&profile(), native().unwrap()).unwrap().program;
        assert!(kills(&program, "ptrace") && !kills(&program, "execve"));
    }
}
