//! Compiled filters against a second, slow reading of the same rules, on every machine, for Docker's
//! profile and for random ones; and the promise that no profile makes the compiler panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failing test panics"
)]

use std::fs;
use std::path::Path;

use keel::config::field::{Field, Findings};
use keel::config::json::Json;
use keel::config::seccomp::{Action, Architecture as Arch, Arg, Flag, Operator, Rule, Seccomp};
use keel::seccomp::simulate::{ByteOrder, Call, run};
use keel::seccomp::{SeccompError, action_value, compile, number};
use serde_json::Value;

/// An ABI as this test knows it: name, audit architecture, 64-bit arguments.
struct Abi(Arch, u32, bool);

/// Machines with their ABIs; the native one first.
const MACHINES: &[(Arch, ByteOrder, &[Abi])] = &[
    (
        Arch::X86_64,
        ByteOrder::Little,
        &[
            Abi(Arch::X86_64, 0xc000_003e, true),
            Abi(Arch::X86, 0x4000_0003, false),
            Abi(Arch::X32, 0xc000_003e, false),
        ],
    ),
    (
        Arch::Aarch64,
        ByteOrder::Little,
        &[Abi(Arch::Aarch64, 0xc000_00b7, true), Abi(Arch::Arm, 0x4000_0028, false)],
    ),
    (Arch::Riscv64, ByteOrder::Little, &[Abi(Arch::Riscv64, 0xc000_00f3, true)]),
    (Arch::S390x, ByteOrder::Big, &[Abi(Arch::S390x, 0x8000_0016, true)]),
    (Arch::Powerpc64, ByteOrder::Big, &[Abi(Arch::Powerpc64, 0x8000_0015, true)]),
    (Arch::Powerpc64le, ByteOrder::Little, &[Abi(Arch::Powerpc64le, 0xc000_0015, true)]),
];

const ENOSYS: u32 = 0x0005_0026;

fn holds(arg: &Arg, call: &Call, wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (found, value) = (cut(call.args[usize::from(arg.index)]), cut(arg.value));
    match arg.op {
        Operator::Equal => found == value,
        Operator::NotEqual => found != value,
        Operator::Less => found < value,
        Operator::LessEqual => found <= value,
        Operator::Greater => found > value,
        Operator::GreaterEqual => found >= value,
        Operator::MaskedEqual => found & value == cut(arg.value_two) & value,
    }
}

fn empty_mask(arg: &Arg, wide: bool) -> bool {
    arg.op == Operator::MaskedEqual && (if wide { arg.value } else { arg.value & 0xffff_ffff }) == 0
}

/// The rules with the numbers that their names have on one ABI.
struct Reading<'a> {
    rules: Vec<(Vec<u32>, &'a Rule)>,
    highest: u32,
}

impl<'a> Reading<'a> {
    fn new(profile: &'a Seccomp, native: Arch, abi: &Abi) -> Self {
        let numbers = |rule: &Rule| -> Vec<u32> {
            rule.names.iter().filter_map(|name| number(name, native, abi.0)).collect()
        };
        let rules: Vec<_> = profile.syscalls.iter().map(|rule| (numbers(rule), rule)).collect();
        let highest = rules.iter().flat_map(|(numbers, _)| numbers).max().copied().unwrap_or(0);
        Self { rules, highest }
    }
}

/// What the rules say of a call of `abi`; multiplexed calls are left to the comparison with runc.
fn expected(profile: &Seccomp, reading: &Reading<'_>, abi: &Abi, call: &Call) -> u32 {
    let default = action_value(profile.default_action);
    let highest = reading.highest;
    let permissive =
        matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace(_));
    if !permissive && highest > 0 {
        let setup = abi.0 == Arch::S390x && call.number == 0;
        if call.number > highest || setup {
            return ENOSYS;
        }
    }
    let mut matches = Vec::new();
    for (numbers, rule) in &reading.rules {
        if !numbers.contains(&call.number) || action_value(rule.action) == default {
            continue;
        }
        let conditions: Vec<&Arg> = rule.args.iter().collect();
        let repeats = (0..6).any(|i| conditions.iter().filter(|arg| arg.index == i).count() > 1);
        let alternatives: Vec<Vec<&Arg>> = if repeats {
            conditions.iter().map(|arg| vec![*arg]).collect()
        } else {
            vec![conditions]
        };
        for conditions in alternatives {
            if conditions.iter().all(|arg| empty_mask(arg, abi.2)) {
                return action_value(rule.action);
            }
            if conditions.iter().all(|arg| holds(arg, call, abi.2)) {
                matches.push(action_value(rule.action));
            }
        }
    }
    matches.first().copied().unwrap_or(default)
}

/// A small generator (xorshift), so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }

    fn value(&mut self) -> u64 {
        let value =
            self.pick(&[0, 1, 2, 1 << 31, 1 << 32, 1 << 63, u64::MAX, 0xffff_ffff, 0x7e02_0000]);
        value.wrapping_add(self.roll(3)).wrapping_sub(1)
    }
}

const NAMES: &[&str] = &[
    "read",
    "write",
    "close",
    "mmap",
    "clone",
    "clone3",
    "personality",
    "add_key",
    "keyctl",
    "openat2",
    "io_uring_setup",
    "getpid",
    "execve",
    "ioctl",
    "rt_sigaction",
    "set_tls",
    "no_such_call",
    "reboot",
    "prctl",
    "bpf",
    "statmount",
    "futex_waitv",
    "ptrace",
    "setns",
    "unshare",
    "mount",
    "kexec_load",
];

const ACTIONS: &[Action] = &[
    Action::Allow,
    Action::Errno(1),
    Action::Errno(38),
    Action::KillProcess,
    Action::KillThread,
    Action::Log,
    Action::Trace(5),
    Action::Trap,
];

const OPERATORS: &[Operator] = &[
    Operator::Equal,
    Operator::NotEqual,
    Operator::Less,
    Operator::LessEqual,
    Operator::Greater,
    Operator::GreaterEqual,
    Operator::MaskedEqual,
];

fn random_profile(dice: &mut Dice) -> Seccomp {
    let mut syscalls = Vec::new();
    for _ in 0..dice.roll(60) {
        let names = (0..=dice.roll(4)).map(|_| dice.pick(NAMES).to_owned()).collect();
        let args = (0..dice.roll(4))
            .map(|_| Arg {
                index: u8::try_from(dice.roll(6)).unwrap(),
                value: dice.value(),
                value_two: dice.value(),
                op: dice.pick(OPERATORS),
            })
            .collect();
        syscalls.push(Rule { names, action: dice.pick(ACTIONS), args });
    }
    Seccomp {
        default_action: dice.pick(ACTIONS),
        architectures: vec![Arch::X86_64, Arch::X86, Arch::X32, Arch::Arm, Arch::Mips],
        flags: vec![Flag::Log],
        listener_path: None,
        listener_metadata: None,
        syscalls,
    }
}

fn check(profile: &Seccomp, dice: &mut Dice, calls_per_number: u64) -> bool {
    let mut interesting: Vec<u64> = profile
        .syscalls
        .iter()
        .flat_map(|r| &r.args)
        .flat_map(|a| [a.value, a.value_two])
        .collect();
    interesting.extend([0, 1, u64::MAX]);
    for (native, order, abis) in MACHINES {
        let program = match compile(profile, *native) {
            Ok(filter) => filter.program,
            Err(SeccompError::Contradiction { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        for abi in *abis {
            let reading = Reading::new(profile, *native, abi);
            let bit = if abi.0 == Arch::X32 { 0x4000_0000 } else { 0 };
            for number in (0..620).chain([0xf_0005, 0xf_0006, 0x1000_0000]) {
                for _ in 0..calls_per_number {
                    let mut args = [0; 6];
                    for arg in &mut args {
                        *arg = dice.pick(&interesting).wrapping_add(dice.roll(3)).wrapping_sub(1);
                    }
                    let call = Call { number: number | bit, arch: abi.1, args };
                    let found = run(&program, &call, *order);
                    let expected = expected(profile, &reading, abi, &call);
                    assert_eq!(found, Some(expected), "{native:?} {call:x?} {profile:#?}");
                }
            }
        }
        let stranger = Call { number: 0, arch: 0x1234, args: [0; 6] };
        assert_eq!(run(&program, &stranger, *order), Some(0), "another machine's call is killed");
    }
    true
}

#[test]
fn decides_as_the_rules_say_for_random_profiles() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let compiled = (0..300)
        .filter(|_| {
            let profile = random_profile(&mut dice);
            check(&profile, &mut dice, 2)
        })
        .count();
    assert!(compiled > 100, "only {compiled} profiles were free of contradictions");
}

#[test]
fn decides_as_the_rules_say_for_docker_on_every_machine() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/captures/docker28.5-default-config.json");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let config: Value = serde_json::from_slice(&text).unwrap();
    let findings = Findings::default();
    let mut profile =
        Seccomp::read(&Field::root(&Json::from(&config["linux"]["seccomp"]), &findings))
            .expect("a profile");
    profile.architectures.extend([Arch::Arm, Arch::S390, Arch::Mips64N32]);
    // Their carriers would need the evaluator to know socketcall(2) and ipc(2).
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| name != "socket");
    }
    assert!(check(&profile, &mut Dice(7), 1));
}

#[test]
fn answers_every_call_alike_without_rules() {
    let mut profile = random_profile(&mut Dice(3));
    profile.syscalls.clear();
    for action in ACTIONS {
        profile.default_action = *action;
        assert!(check(&profile, &mut Dice(5), 1));
    }
}

#[test]
fn jumps_over_any_distance() {
    let rule = |name: &str, value: u64, op: Operator| Rule {
        names: vec![name.to_owned()],
        action: Action::Allow,
        args: vec![
            Arg { index: 0, value, value_two: 0, op },
            Arg { index: 5, value: !value, value_two: 0, op },
        ],
    };
    let mut profile = random_profile(&mut Dice(3));
    profile.default_action = Action::Errno(1);
    profile.syscalls =
        (0..150).map(|i| rule(NAMES[i % 9], i as u64 * 0x1_0000_0001, OPERATORS[i % 7])).collect();
    assert!(compile(&profile, Arch::X86_64).unwrap().program.len() > 1000);
    for (native, ..) in MACHINES {
        assert!(compile(&profile, *native).is_ok());
    }
    assert!(check(&profile, &mut Dice(11), 4));
}

#[test]
fn refuses_what_the_kernel_cannot_hold() {
    let mut profile = random_profile(&mut Dice(3));
    let rule = |value| Rule {
        names: vec!["mount".to_owned()],
        action: Action::Trace(9),
        args: vec![Arg { index: 0, value, value_two: 0, op: Operator::Equal }],
    };
    profile.default_action = Action::Allow;
    profile.syscalls = (0..5000).map(rule).collect();
    let error = compile(&profile, Arch::X86_64).unwrap_err();
    assert!(error.to_string().contains("the kernel takes 4096"), "{error}");
    assert!(compile(&profile, Arch::Mips).unwrap_err().to_string().contains("SCMP_ARCH_MIPS"));
}

#[test]
fn refuses_two_actions_under_one_condition() {
    let mut profile = random_profile(&mut Dice(3));
    let rule = |action| Rule {
        names: vec!["mount".to_owned()],
        action,
        args: vec![Arg { index: 0, value: 1, value_two: 0, op: Operator::Equal }],
    };
    profile.default_action = Action::Allow;
    profile.syscalls = vec![rule(Action::Trap), rule(Action::Trap), rule(Action::Log)];
    assert_eq!(
        compile(&profile, Arch::X86_64).unwrap_err().to_string(),
        "linux.seccomp.syscalls[0] and linux.seccomp.syscalls[2] give system call 165 different \
         actions under the same conditions"
    );
}
