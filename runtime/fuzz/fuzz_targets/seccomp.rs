//! A seccomp profile for every machine: compiling ends, and the program that comes out gives every
//! call an answer that the profile, or the rules of `seccomp::compile`, know.
#![no_main]

use keel::config::seccomp::{Action, Architecture, Arg, Flag, Operator, Rule, Seccomp};
use keel::seccomp::simulate::{ByteOrder, Call, run};
use keel::seccomp::{action_value, compile};
use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// With and without conditions worth having, multiplexed and not, on all machines and on some.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "openat",
    "clone",
    "clone3",
    "socket",
    "accept",
    "connect",
    "recvmsg",
    "semop",
    "semtimedop",
    "shmat",
    "msgctl",
    "ipc",
    "socketcall",
    "setup",
    "personality",
    "arm_fadvise64_64",
    "s390_pci_mmio_read",
    "exit_group",
    "futex_time64",
    "_llseek",
    "no_such",
];
const MACHINES: [Architecture; 10] = [
    Architecture::X86_64,
    Architecture::X86,
    Architecture::Aarch64,
    Architecture::Arm,
    Architecture::Riscv64,
    Architecture::S390x,
    Architecture::Powerpc64,
    Architecture::Powerpc64le,
    Architecture::Loongarch64,
    Architecture::Mips,
];
/// `AUDIT_ARCH_*` of the machines above, and one that nobody has.
const AUDITS: [u32; 11] = [
    0xc000_003e,
    0x4000_0003,
    0xc000_00b7,
    0x4000_0028,
    0xc000_00f3,
    0x8000_0016,
    0x8000_0015,
    0xc000_0015,
    0xc000_0102,
    0x0000_0016,
    7,
];
const INSTRUCTIONS_MAX: usize = 4096;

#[derive(Debug)]
struct Input {
    profile: Seccomp,
    native: Architecture,
    calls: Vec<Call>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let native = *bytes.choose(&MACHINES)?;
        let mut profile = Seccomp {
            default_action: action(bytes)?,
            architectures: Vec::new(),
            flags: vec![Flag::SpecAllow],
            listener_path: None,
            listener_metadata: None,
            syscalls: Vec::new(),
        };
        while bytes.arbitrary()? {
            let name = *bytes.choose(Architecture::NAMES)?;
            profile.architectures.extend(MACHINES.into_iter().filter(|known| known.name() == name));
            if name == Architecture::X32.name() {
                profile.architectures.push(Architecture::X32);
            }
        }
        while bytes.arbitrary()? {
            let rule = rule(bytes)?;
            // A rule may stand many times over, as in generated profiles.
            for _ in 0..bytes.int_in_range(1..=8_u8)? {
                profile.syscalls.push(rule.clone());
            }
        }
        let mut calls = Vec::new();
        while bytes.arbitrary()? {
            let number = match bytes.arbitrary()? {
                true => u32::from(bytes.arbitrary::<u16>()? & 0x1ff),
                false => bytes.arbitrary()?,
            };
            calls.push(Call { number, arch: *bytes.choose(&AUDITS)?, args: bytes.arbitrary()? });
        }
        Ok(Self { profile, native, calls })
    }
}

fn action(bytes: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match bytes.int_in_range(0..=7_u8)? {
        0 => Action::KillProcess,
        1 => Action::KillThread,
        2 => Action::Trap,
        3 => Action::Errno(bytes.int_in_range(0..=4095)?),
        4 => Action::Notify,
        5 => Action::Trace(bytes.arbitrary()?),
        6 => Action::Log,
        _ => Action::Allow,
    })
}

fn rule(bytes: &mut Unstructured<'_>) -> Result<Rule> {
    let mut rule = Rule { names: Vec::new(), action: action(bytes)?, args: Vec::new() };
    for _ in 0..bytes.int_in_range(1..=6_u8)? {
        rule.names.push((*bytes.choose(&NAMES)?).to_owned());
    }
    for _ in 0..bytes.int_in_range(0..=4_u8)? {
        rule.args.push(Arg {
            index: bytes.int_in_range(0..=5)?,
            value: bytes.arbitrary()?,
            value_two: bytes.arbitrary()?,
            op: *bytes.choose(&[
                Operator::Equal,
                Operator::GreaterEqual,
                Operator::Greater,
                Operator::LessEqual,
                Operator::Less,
                Operator::MaskedEqual,
                Operator::NotEqual,
            ])?,
        });
    }
    Ok(rule)
}

fuzz_target!(|input: Input| {
    let Input { profile, native, calls } = input;
    let Ok(filter) = compile(&profile, native) else { return };
    assert!((1..=INSTRUCTIONS_MAX).contains(&filter.program.len()));
    let mut known = vec![
        action_value(profile.default_action),
        action_value(Action::KillThread),
        action_value(Action::Errno(38)),
    ];
    known.extend(profile.syscalls.iter().map(|rule| action_value(rule.action)));
    let order = match native {
        Architecture::S390x | Architecture::Powerpc64 => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    for call in &calls {
        let answer = run(&filter.program, call, order).expect("every call gets an answer");
        assert!(known.contains(&answer), "{answer:#x} for {call:x?}");
    }
});
