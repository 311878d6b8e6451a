//! `linux.seccomp`: which system calls the container process may make (runtime-spec,
//! config-linux.md, "Seccomp").
//!
//! Names of system calls are not looked up here: a name that this program does not know is skipped
//! when the profile is compiled, because profiles list the calls of newer kernels than ours.

use super::error::Kind;
use super::field::Field;

/// A checked profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// What happens to a system call that no rule matches.
    pub default_action: Action,
    /// The ABIs that may be used beside the native one, which always may.
    pub architectures: Vec<Architecture>,
    /// Flags of seccomp(2). Absent in the config means [`Flag::SpecAllow`], as runc has it.
    pub flags: Vec<Flag>,
    /// The socket that receives the listener, when a rule notifies.
    pub listener_path: Option<String>,
    /// Opaque text for whoever listens on that socket.
    pub listener_metadata: Option<String>,
    /// The rules, in the order of `syscalls[]`.
    pub syscalls: Vec<Rule>,
}

/// One element of `syscalls[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Names of system calls, known or not.
    pub names: Vec<String>,
    /// What happens when the rule matches.
    pub action: Action,
    /// Conditions on the arguments; none means that the name alone decides.
    pub args: Vec<Arg>,
}

/// One element of `syscalls[].args[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arg {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What it is compared with; the mask, for [`Operator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument is compared with; unused by the other operators.
    pub value_two: u64,
    /// How it is compared; all comparisons are unsigned.
    pub op: Operator,
}

/// What the kernel does with a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `SCMP_ACT_KILL_PROCESS`.
    KillProcess,
    /// `SCMP_ACT_KILL_THREAD` and its older name `SCMP_ACT_KILL`.
    KillThread,
    /// `SCMP_ACT_TRAP`: the thread gets SIGSYS.
    Trap,
    /// `SCMP_ACT_ERRNO` with the errno, EPERM where the config names none.
    Errno(u16),
    /// `SCMP_ACT_NOTIFY`: the listener decides.
    Notify,
    /// `SCMP_ACT_TRACE` with the message for the tracer.
    Trace(u16),
    /// `SCMP_ACT_LOG`: allowed, and logged.
    Log,
    /// `SCMP_ACT_ALLOW`.
    Allow,
}

impl Action {
    /// Every name the specification gives an action, sorted, as `features` prints them.
    pub const NAMES: [&'static str; 9] = [
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ];
}

/// Declares an enum whose values have the specification's names.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$about:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $enum {
            $($(#[$about])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl $enum {
            /// Every known name, sorted as declared.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The specification's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

named! {
    /// How an argument is compared.
    Operator {
        Equal = "SCMP_CMP_EQ",
        GreaterEqual = "SCMP_CMP_GE",
        Greater = "SCMP_CMP_GT",
        LessEqual = "SCMP_CMP_LE",
        Less = "SCMP_CMP_LT",
        /// The argument is masked with `value` and compared with `valueTwo`.
        MaskedEqual = "SCMP_CMP_MASKED_EQ",
        NotEqual = "SCMP_CMP_NE",
    }
}

named! {
    /// An ABI of system calls. Those of machines that Keel does not run on are legal in a profile
    /// and never met.
    Architecture {
        Aarch64 = "SCMP_ARCH_AARCH64",
        Arm = "SCMP_ARCH_ARM",
        Loongarch64 = "SCMP_ARCH_LOONGARCH64",
        Mips = "SCMP_ARCH_MIPS",
        Mips64 = "SCMP_ARCH_MIPS64",
        Mips64N32 = "SCMP_ARCH_MIPS64N32",
        Mipsel = "SCMP_ARCH_MIPSEL",
        Mipsel64 = "SCMP_ARCH_MIPSEL64",
        Mipsel64N32 = "SCMP_ARCH_MIPSEL64N32",
        M68k = "SCMP_ARCH_M68K",
        Parisc = "SCMP_ARCH_PARISC",
        Parisc64 = "SCMP_ARCH_PARISC64",
        Powerpc = "SCMP_ARCH_PPC",
        Powerpc64 = "SCMP_ARCH_PPC64",
        Powerpc64le = "SCMP_ARCH_PPC64LE",
        Riscv64 = "SCMP_ARCH_RISCV64",
        S390 = "SCMP_ARCH_S390",
        S390x = "SCMP_ARCH_S390X",
        Sh = "SCMP_ARCH_SH",
        Sheb = "SCMP_ARCH_SHEB",
        X32 = "SCMP_ARCH_X32",
        X86 = "SCMP_ARCH_X86",
        X86_64 = "SCMP_ARCH_X86_64",
    }
}

named! {
    /// A flag of seccomp(2).
    Flag {
        /// Actions other than allow are logged.
        Log = "SECCOMP_FILTER_FLAG_LOG",
        /// The mitigation of speculative store bypass stays off.
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        /// Accepted for old configs; the container process has one thread.
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC",
        /// A notified call waits killably once the listener has received it.
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
}

const EPERM: u16 = 1;

/// The kernel's `MAX_ERRNO`; it lowers anything above, so that a larger value is a mistake.
const ERRNO_MAX: u16 = 4095;

impl Seccomp {
    /// Reads `linux.seccomp`. `None` when the config has no profile, or one so wrong that nothing
    /// can be made of it; whatever is wrong has been refused at its field.
    ///
    /// A profile with neither a default action nor a rule is none, as in runc.
    #[must_use]
    pub fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let default_field = field.get("defaultAction");
        let rules_field = field.get("syscalls");
        let named = default_field.is_present() && default_field.string() != Some("");
        let mut rules = 0_usize;
        rules_field.for_each(|_| rules += 1);
        if !named && rules == 0 {
            return None;
        }
        let default_action = read_action(&default_field, &field.get("defaultErrnoRet"));
        if default_action == Some(Action::Notify) {
            // The listener travels to the parent by a write that would itself wait for it.
            default_field.refuse(Kind::Conflict, "SCMP_ACT_NOTIFY cannot be the default action");
        }
        let syscalls = rules_field.collect(read_rule);
        let notifies = syscalls.iter().any(|rule| rule.action == Action::Notify);
        let profile = Self {
            default_action: default_action?,
            architectures: field.get("architectures").collect(|item| {
                known(item, "architecture", Architecture::parse, Architecture::NAMES)
            }),
            flags: read_flags(&field.get("flags"), notifies),
            listener_path: field.get("listenerPath").string().and_then(non_empty),
            listener_metadata: field.get("listenerMetadata").string().and_then(non_empty),
            syscalls,
        };
        profile.check_listener(field, notifies);
        Some(profile)
    }

    fn check_listener(&self, field: &Field<'_>, notifies: bool) {
        if self.listener_path.is_some() {
            return;
        }
        if notifies {
            let detail = "a rule says SCMP_ACT_NOTIFY, so someone has to listen";
            field.get("listenerPath").refuse(Kind::Missing, detail);
        }
        if self.listener_metadata.is_some() {
            let detail = "there is no listenerPath to send it to";
            field.get("listenerMetadata").refuse(Kind::Conflict, detail);
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn read_flags(field: &Field<'_>, notifies: bool) -> Vec<Flag> {
    if !field.is_present() {
        return vec![Flag::SpecAllow];
    }
    field.collect(|item| {
        let flag = known(item, "flag", Flag::parse, Flag::NAMES)?;
        if flag == Flag::WaitKillableRecv && !notifies {
            // The kernel says EINVAL, after the container has been made.
            item.refuse(Kind::Conflict, format!("{} needs a SCMP_ACT_NOTIFY rule", flag.name()));
            return None;
        }
        Some(flag)
    })
}

fn read_rule(field: &Field<'_>) -> Option<Rule> {
    field.object()?;
    let names_field = field.get("names");
    let mut listed = 0_usize;
    let names = names_field.collect(|item| {
        listed += 1;
        match item.string()? {
            "" => {
                item.refuse(Kind::Invalid, "the empty string names no system call");
                None
            }
            name => Some(name.to_owned()),
        }
    });
    if listed == 0 {
        names_field.refuse(Kind::Missing, "a rule needs at least one name");
    }
    let action = read_action(&field.get("action"), &field.get("errnoRet"));
    if action == Some(Action::Notify) && names.iter().any(|name| name == "write") {
        let detail = "SCMP_ACT_NOTIFY cannot be used for the write syscall: it would block the \
                      start of the container for ever";
        names_field.refuse(Kind::Conflict, detail);
    }
    let args = field.get("args").collect(read_arg);
    Some(Rule { names, action: action?, args })
}

fn read_action(action: &Field<'_>, errno: &Field<'_>) -> Option<Action> {
    let name = action.required_string()?;
    let parsed = match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_ERRNO" => Action::Errno(read_errno(errno, ERRNO_MAX)?),
        "SCMP_ACT_TRACE" => Action::Trace(read_errno(errno, u16::MAX)?),
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ALLOW" => Action::Allow,
        _ => return unknown(action, "action", name, &Action::NAMES),
    };
    let carries_errno = matches!(parsed, Action::Errno(_) | Action::Trace(_));
    if errno.is_present() && !carries_errno {
        // The specification demands the refusal where an action supports no errno.
        errno.refuse(Kind::Conflict, format!("{name} returns no errno"));
        return None;
    }
    Some(parsed)
}

fn read_errno(field: &Field<'_>, highest: u16) -> Option<u16> {
    if !field.is_present() {
        return Some(EPERM);
    }
    let errno = field.integer::<u32>()?;
    let narrow = u16::try_from(errno).ok().filter(|errno| *errno <= highest);
    if narrow.is_none() {
        field.refuse(Kind::Invalid, format!("{errno} is above {highest}"));
    }
    narrow
}

fn read_arg(field: &Field<'_>) -> Option<Arg> {
    field.object()?;
    let index_field = field.get("index");
    let value_field = field.get("value");
    let index = index_field.require().and_then(|()| index_field.integer::<u32>());
    let value = value_field.require().and_then(|()| value_field.integer::<u64>());
    let two_field = field.get("valueTwo");
    // Absent is zero; refused is neither.
    let value_two = if two_field.is_present() { two_field.integer::<u64>() } else { Some(0) };
    let op_field = field.get("op");
    let op = op_field
        .require()
        .and_then(|()| known(&op_field, "operator", Operator::parse, Operator::NAMES));
    let index = index.and_then(|index| {
        let narrow = u8::try_from(index).ok().filter(|index| *index < 6);
        if narrow.is_none() {
            index_field
                .refuse(Kind::Invalid, format!("{index}: a system call has arguments 0 to 5"));
        }
        narrow
    });
    Some(Arg { index: index?, value: value?, value_two: value_two?, op: op? })
}

fn known<T>(
    field: &Field<'_>,
    noun: &str,
    parse: impl Fn(&str) -> Option<T>,
    names: &[&str],
) -> Option<T> {
    let name = field.string()?;
    parse(name).or_else(|| unknown(field, noun, name, names))
}

fn unknown<T>(field: &Field<'_>, noun: &str, name: &str, names: &[&str]) -> Option<T> {
    let known = names.join(", ");
    field.refuse(Kind::Unsupported, format!("{noun} {name:?} (known: {known})"));
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::field::Findings;
    use crate::config::json::Json;

    fn check(profile: &Value, expected: &[&str]) -> Option<Seccomp> {
        let document = json!({ "linux": { "seccomp": profile } });
        let (document, findings) = (Json::from(&document), Findings::default());
        let root = Field::root(&document, &findings);
        let linux = root.get("linux");
        let read = Seccomp::read(&linux.get("seccomp"));
        let texts: Vec<_> = findings.into_parts().0.iter().map(ToString::to_string).collect();
        let short: Vec<_> =
            texts.iter().map(|text| text.split(" (known").next().unwrap_or("")).collect();
        assert_eq!(short, expected);
        read
    }

    #[test]
    fn reads_defaults() {
        let read = check(
            &json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X32"],
                "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_TRACE", "args":
                    [{"index": 5, "value": u64::MAX, "op": "SCMP_CMP_NE"}]}]}),
            &[],
        )
        .unwrap();
        assert_eq!(read.default_action, Action::Errno(1));
        assert_eq!(read.flags, [Flag::SpecAllow]);
        assert_eq!(read.architectures, [Architecture::X32]);
        assert_eq!(read.syscalls[0].action, Action::Trace(1));
        let arg = Arg { index: 5, value: u64::MAX, value_two: 0, op: Operator::NotEqual };
        assert_eq!(read.syscalls[0].args, [arg]);
        let unflagged = check(&json!({"defaultAction": "SCMP_ACT_LOG", "flags": []}), &[]).unwrap();
        assert_eq!(unflagged.flags, []);
    }

    #[test]
    fn takes_an_empty_profile_for_none() {
        assert_eq!(check(&Value::Null, &[]), None);
        assert_eq!(check(&json!({}), &[]), None);
        assert_eq!(check(&json!({"defaultAction": "", "syscalls": null}), &[]), None);
    }

    #[test]
    fn refuses_what_is_unknown_or_contradictory_by_path() {
        check(
            &json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerMetadata": "x",
            "architectures": ["SCMP_ARCH_Z80"], "flags": ["SECCOMP_FILTER_FLAG_NEW"],
            "syscalls": [
                {"names": ["write"], "action": "SCMP_ACT_NOTIFY"},
                {"names": ["", "read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1},
                {"action": "SCMP_ACT_NOTHING"},
                {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096,
                    "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_SPACESHIP"}, {}]},
            ]}),
            &[
                "linux.seccomp.defaultAction: conflict: SCMP_ACT_NOTIFY cannot be the default action",
                "linux.seccomp.syscalls[0].names: conflict: SCMP_ACT_NOTIFY cannot be used for \
                    the write syscall: it would block the start of the container for ever",
                "linux.seccomp.syscalls[1].names[0]: invalid: the empty string names no system call",
                "linux.seccomp.syscalls[1].errnoRet: conflict: SCMP_ACT_ALLOW returns no errno",
                "linux.seccomp.syscalls[2].names: missing: a rule needs at least one name",
                "linux.seccomp.syscalls[2].action: not supported: action \"SCMP_ACT_NOTHING\"",
                "linux.seccomp.syscalls[3].errnoRet: invalid: 4096 is above 4095",
                "linux.seccomp.syscalls[3].args[0].op: not supported: operator \"SCMP_CMP_SPACESHIP\"",
                "linux.seccomp.syscalls[3].args[0].index: invalid: 6: a system call has arguments 0 to 5",
                "linux.seccomp.syscalls[3].args[1].index: missing",
                "linux.seccomp.syscalls[3].args[1].value: missing",
                "linux.seccomp.syscalls[3].args[1].op: missing",
                "linux.seccomp.architectures[0]: not supported: architecture \"SCMP_ARCH_Z80\"",
                "linux.seccomp.flags[0]: not supported: flag \"SECCOMP_FILTER_FLAG_NEW\"",
                "linux.seccomp.listenerPath: missing: a rule says SCMP_ACT_NOTIFY, so someone has to listen",
                "linux.seccomp.listenerMetadata: conflict: there is no listenerPath to send it to",
            ],
        );
        check(
            &json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 38,
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            &["linux.seccomp.defaultErrnoRet: conflict: SCMP_ACT_ALLOW returns no errno"],
        );
        check(
            &json!({"defaultAction": "SCMP_ACT_ALLOW",
                "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            &["linux.seccomp.flags[0]: conflict: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a \
                SCMP_ACT_NOTIFY rule"],
        );
    }
}
