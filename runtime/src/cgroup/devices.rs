//! Which devices a container may use: the rules of the config and runc's defaults → lines for v1's
//! `devices.deny` and `devices.allow`, or a program for v2 (Documentation/admin-guide/cgroup-v1/
//! devices.rst; `BPF_PROG_TYPE_CGROUP_DEVICE` in linux/bpf.h).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::{Draft, Missing, PlanError, Write};
use super::router::Controller;
use crate::config::resources::{Access, DeviceKind, DeviceRule};
use crate::sys::bpf::Instruction;

const FIELD: &str = "linux.resources.devices";

const ALL: Access = Access { read: true, write: true, mknod: true };
const MKNOD: Access = Access { read: false, write: false, mknod: true };

const fn allowed(
    kind: DeviceKind,
    major: Option<u32>,
    minor: Option<u32>,
    access: Access,
) -> DeviceRule {
    DeviceRule { allow: true, kind, major, minor, access }
}

const fn char_device(major: u32, minor: Option<u32>) -> DeviceRule {
    allowed(DeviceKind::Char, Some(major), minor, ALL)
}

/// What runc allows after all rules of the config, whatever they say: engines and images rely on it.
/// Any node may be made, since making one is not opening it.
const DEFAULTS: [DeviceRule; 11] = [
    allowed(DeviceKind::Char, None, None, MKNOD),
    allowed(DeviceKind::Block, None, None, MKNOD),
    char_device(1, Some(3)),
    char_device(1, Some(8)),
    char_device(1, Some(7)),
    char_device(5, Some(0)),
    char_device(1, Some(5)),
    char_device(1, Some(9)),
    // The terminals of /dev/pts, their ptmx, and the device of VPN programs.
    char_device(136, None),
    char_device(5, Some(2)),
    char_device(10, Some(200)),
];

/// Plans the rules for whichever version has to enforce them.
pub(super) fn plan(rules: &[DeviceRule], draft: &mut Draft<'_>) {
    let policy = match Policy::of(rules) {
        Ok(policy) => policy,
        Err((index, detail)) => {
            // Beyond the config's rules it is one of ours that does not fit to them.
            let own = rules.get(index).map(|_| format!("{FIELD}[{index}]").into());
            let field = own.unwrap_or(Cow::Borrowed(FIELD));
            draft.errors.push(PlanError::Value { field, detail });
            return;
        }
    };
    let v1 = draft.layout.v1_of(Controller::Devices);
    if let Some(directory) = draft.place(v1) {
        for (file, line) in policy.lines() {
            draft.plan.writes.push(Write {
                directory,
                file: Cow::Borrowed(file),
                value: line,
                alternative: None,
                missing: Missing::Fail,
                origin: Cow::Borrowed(FIELD),
            });
        }
    } else if let Some(directory) = draft.place(draft.layout.v2()) {
        draft.plan.device_program = Some((directory, policy.program()));
    } else {
        // Without it a container could make and open the host's disks.
        let (field, controller) = (FIELD.into(), "devices".to_owned());
        draft.errors.push(PlanError::NoController { field, controller, v2: false });
    }
}

/// What all rules come to: an answer, and its exceptions. The kernel's v1 code keeps the same.
#[derive(Debug, PartialEq, Eq)]
struct Policy {
    allow: bool,
    /// By major, minor and kind, where `None` is every number and sorts first.
    exceptions: BTreeMap<(Option<u32>, Option<u32>, DeviceKind), Access>,
}

impl Policy {
    fn of(rules: &[DeviceRule]) -> Result<Self, (usize, String)> {
        let mut policy = Self { allow: false, exceptions: BTreeMap::new() };
        for (index, rule) in rules.iter().chain(&DEFAULTS).enumerate() {
            if rule.kind == DeviceKind::All {
                policy = Self { allow: rule.allow, exceptions: BTreeMap::new() };
            } else if rule.allow != policy.allow {
                let known = policy.exceptions.entry((rule.major, rule.minor, rule.kind));
                let known = known.or_default();
                *known = union(*known, rule.access);
            } else {
                policy.withdraw(rule).map_err(|detail| (index, detail))?;
            }
        }
        Ok(policy)
    }

    /// Takes an exception back. The kernel cannot take a part out of a wider one and would silently
    /// keep it; better to say so.
    fn withdraw(&mut self, rule: &DeviceRule) -> Result<(), String> {
        let own = (rule.major, rule.minor, rule.kind);
        let wider = [(None, rule.minor), (rule.major, None), (None, None)];
        for (major, minor) in wider.into_iter().filter(|pair| *pair != (rule.major, rule.minor)) {
            let found = self.exceptions.get(&(major, minor, rule.kind));
            if found.is_some_and(|access| intersection(*access, rule.access) != Access::default()) {
                let (narrow, wide) = (line(own, rule.access), line((major, minor, rule.kind), ALL));
                return Err(format!(
                    "{narrow:?} would cut a hole into an earlier rule on {wide:?}"
                ));
            }
        }
        if let Some(access) = self.exceptions.get_mut(&own) {
            *access = difference(*access, rule.access);
            if *access == Access::default() {
                self.exceptions.remove(&own);
            }
        }
        Ok(())
    }

    /// Files of v1 with lines for them, in order.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let (answer, exception) = if self.allow {
            ("devices.allow", "devices.deny")
        } else {
            ("devices.deny", "devices.allow")
        };
        let exceptions =
            self.exceptions.iter().map(|(key, access)| (exception, line(*key, *access)));
        std::iter::once((answer, "a".to_owned())).chain(exceptions).collect()
    }

    fn program(&self) -> DeviceProgram {
        let mut program = vec![
            // r2 = kind of device, r3 = access, r4 = major, r5 = minor; r1 = the request.
            insn::load(2, 1, 0),
            insn::copy(3, 2),
            insn::and(2, 0xffff),
            insn::shift_right(3, 16),
            insn::load(4, 1, 4),
            insn::load(5, 1, 8),
        ];
        for ((major, minor, kind), access) in &self.exceptions {
            let mut tests = Vec::new();
            let kind = if *kind == DeviceKind::Block { 1 } else { 2 };
            tests.push(insn::jump_unless_equal(2, kind));
            let bits = access_bits(*access);
            tests.extend([insn::copy(1, 3), insn::and(1, bits)]);
            tests.push(if self.allow {
                // A request is denied for any part that is denied …
                insn::jump_if_equal(1, 0)
            } else {
                // … and allowed only as a whole.
                insn::jump_unless_same(1, 3)
            });
            tests.extend(major.map(|major| insn::jump_unless_equal(4, major)));
            tests.extend(minor.map(|minor| insn::jump_unless_equal(5, minor)));
            let length = tests.len();
            for (index, test) in
                tests.iter_mut().enumerate().filter(|(_, test)| insn::is_jump(**test))
            {
                // Over the remaining tests and the two instructions of the answer.
                test.offset = i16::try_from(length - index - 1 + 2).unwrap_or(i16::MAX);
            }
            program.append(&mut tests);
            program.extend([insn::answer(!self.allow), insn::EXIT]);
        }
        program.extend([insn::answer(self.allow), insn::EXIT]);
        DeviceProgram(program)
    }
}

fn union(a: Access, b: Access) -> Access {
    Access { read: a.read | b.read, write: a.write | b.write, mknod: a.mknod | b.mknod }
}

fn intersection(a: Access, b: Access) -> Access {
    Access { read: a.read & b.read, write: a.write & b.write, mknod: a.mknod & b.mknod }
}

fn difference(a: Access, b: Access) -> Access {
    Access { read: a.read & !b.read, write: a.write & !b.write, mknod: a.mknod & !b.mknod }
}

/// `BPF_DEVCG_ACC_*` of linux/bpf.h.
fn access_bits(access: Access) -> u32 {
    u32::from(access.mknod) | u32::from(access.read) << 1 | u32::from(access.write) << 2
}

/// One exception as v1 reads and prints it, such as `c 136:* rwm`.
fn line((major, minor, kind): (Option<u32>, Option<u32>, DeviceKind), access: Access) -> String {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let letter = match kind {
        DeviceKind::All => 'a',
        DeviceKind::Block => 'b',
        DeviceKind::Char => 'c',
    };
    let mut text = String::new();
    let _ = write!(text, "{letter} {}:{} ", number(major), number(minor));
    for (set, letter) in [(access.read, 'r'), (access.write, 'w'), (access.mknod, 'm')] {
        if set {
            text.push(letter);
        }
    }
    text
}

/// A program that answers 1 to a request for a device that is allowed, and 0 to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProgram(pub Vec<Instruction>);

/// The instructions a program is made of. Everything is 32 bits wide (Linux 5.1 for jumps), so that
/// no operand is sign-extended.
mod insn {
    use super::Instruction;

    pub(super) const LOAD: u8 = 0x61;
    pub(super) const COPY: u8 = 0xbc;
    pub(super) const SET: u8 = 0xb4;
    pub(super) const AND: u8 = 0x54;
    pub(super) const SHIFT_RIGHT: u8 = 0x74;
    pub(super) const JUMP_EQUAL: u8 = 0x16;
    pub(super) const JUMP_NOT_EQUAL: u8 = 0x56;
    pub(super) const JUMP_NOT_SAME: u8 = 0x5e;
    pub(super) const EXIT: Instruction =
        Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };

    fn new(code: u8, destination: u8, source: u8, immediate: u32) -> Instruction {
        let registers = if cfg!(target_endian = "little") {
            destination | source << 4
        } else {
            destination << 4 | source
        };
        Instruction { code, registers, offset: 0, immediate: immediate.cast_signed() }
    }

    pub(super) fn load(destination: u8, source: u8, offset: i16) -> Instruction {
        Instruction { offset, ..new(LOAD, destination, source, 0) }
    }

    pub(super) fn copy(destination: u8, source: u8) -> Instruction {
        new(COPY, destination, source, 0)
    }

    pub(super) fn and(register: u8, mask: u32) -> Instruction {
        new(AND, register, 0, mask)
    }

    pub(super) fn shift_right(register: u8, bits: u32) -> Instruction {
        new(SHIFT_RIGHT, register, 0, bits)
    }

    pub(super) fn jump_if_equal(register: u8, value: u32) -> Instruction {
        new(JUMP_EQUAL, register, 0, value)
    }

    pub(super) fn jump_unless_equal(register: u8, value: u32) -> Instruction {
        new(JUMP_NOT_EQUAL, register, 0, value)
    }

    pub(super) fn jump_unless_same(register: u8, other: u8) -> Instruction {
        new(JUMP_NOT_SAME, register, other, 0)
    }

    pub(super) fn answer(allow: bool) -> Instruction {
        new(SET, 0, 0, u32::from(allow))
    }

    pub(super) fn is_jump(instruction: Instruction) -> bool {
        matches!(instruction.code, JUMP_EQUAL | JUMP_NOT_EQUAL | JUMP_NOT_SAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> DeviceRule {
        let mut words = text.split([' ', ':']);
        let kind = match words.next() {
            Some("b") => DeviceKind::Block,
            Some("c") => DeviceKind::Char,
            _ => DeviceKind::All,
        };
        let (major, minor) = (words.next().unwrap_or("*"), words.next().unwrap_or("*"));
        let access = words.next().unwrap_or("rwm");
        let has = |letter: char| access.contains(letter);
        let access = Access { read: has('r'), write: has('w'), mknod: has('m') };
        DeviceRule { allow, kind, major: major.parse().ok(), minor: minor.parse().ok(), access }
    }

    fn lines(rules: &[DeviceRule]) -> Vec<String> {
        let policy = Policy::of(rules).unwrap();
        policy.lines().into_iter().map(|(file, line)| format!("{file} {line}")).collect()
    }

    const ALLOWED: [&str; 11] = [
        "devices.allow b *:* m",
        "devices.allow c *:* m",
        "devices.allow c 1:3 rwm",
        "devices.allow c 1:5 rwm",
        "devices.allow c 1:7 rwm",
        "devices.allow c 1:8 rwm",
        "devices.allow c 1:9 rwm",
        "devices.allow c 5:0 rwm",
        "devices.allow c 5:2 rwm",
        "devices.allow c 10:200 rwm",
        "devices.allow c 136:* rwm",
    ];

    #[test]
    fn denies_all_but_what_every_container_needs() {
        let expected: Vec<_> = std::iter::once("devices.deny a").chain(ALLOWED).collect();
        assert_eq!(lines(&[]), expected);
        assert_eq!(lines(&[rule(false, "a")]), expected);
    }

    #[test]
    fn adds_what_the_config_allows_and_takes_what_it_denies() {
        let rules = [
            rule(false, "a"),
            rule(true, "b 7:0 r"),
            rule(true, "b 7:0 w"),
            rule(true, "c 10:229 rwm"),
            rule(false, "c 10:229 rwm"),
            rule(true, "c 11:* rw"),
            rule(false, "c 11:* w"),
        ];
        let all = lines(&rules);
        assert!(all.contains(&"devices.allow b 7:0 rw".to_owned()), "{all:?}");
        assert!(all.contains(&"devices.allow c 11:* r".to_owned()), "{all:?}");
        assert_eq!(all.len(), 14);
    }

    #[test]
    fn allows_all_for_the_privileged() {
        assert_eq!(lines(&[rule(false, "a"), rule(true, "a")]), ["devices.allow a"]);
        let rules = [rule(true, "a"), rule(false, "b 8:0 w"), rule(false, "c 1:3 rwm")];
        // The defaults take the second one back.
        assert_eq!(lines(&rules), ["devices.allow a", "devices.deny b 8:0 w"]);
    }

    #[test]
    fn refuses_a_hole_that_the_kernel_would_not_cut() {
        let rules = [rule(true, "c 10:* rw"), rule(false, "c 10:1 w")];
        let (index, detail) = Policy::of(&rules).unwrap_err();
        assert_eq!(
            (index, detail.as_str()),
            (1, "\"c 10:1 w\" would cut a hole into an earlier rule on \"c 10:* rwm\"")
        );
    }

    /// Runs the program as the kernel would, on a request.
    fn run(program: &[Instruction], request: [u32; 3]) -> u32 {
        let mut registers = [0_u32; 11];
        let mut at = 0;
        loop {
            let now = program[at];
            let (to, from) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
            let operand = now.immediate.cast_unsigned();
            let mut jump = false;
            match now.code {
                insn::LOAD => {
                    registers[to] = request[usize::try_from(now.offset).unwrap() / 4];
                }
                insn::COPY => registers[to] = registers[from],
                insn::SET => registers[to] = operand,
                insn::AND => registers[to] &= operand,
                insn::SHIFT_RIGHT => registers[to] >>= operand,
                insn::JUMP_EQUAL => jump = registers[to] == operand,
                insn::JUMP_NOT_EQUAL => jump = registers[to] != operand,
                insn::JUMP_NOT_SAME => jump = registers[to] != registers[from],
                _ => return registers[0],
            }
            at += 1 + if jump { usize::try_from(now.offset).unwrap() } else { 0 };
        }
    }

    #[test]
    fn programs_what_the_lines_say() {
        let sets = [
            vec![],
            vec![rule(true, "b 7:0 r"), rule(true, "c 10:* rw"), rule(true, "b 8:4294967295 rwm")],
            vec![rule(true, "a"), rule(false, "b 8:0 w"), rule(false, "c 11:* r")],
        ];
        for rules in sets {
            let policy = Policy::of(&rules).unwrap();
            let program = policy.program();
            for (kind, letter) in [(DeviceKind::Block, 1), (DeviceKind::Char, 2)] {
                for major in [0, 1, 5, 7, 8, 10, 11, 136, u32::MAX] {
                    for minor in [0, 3, 200, u32::MAX] {
                        for bits in 1..8 {
                            let hit = policy.exceptions.iter().any(|((a, b, k), access)| {
                                let common = access_bits(*access) & bits;
                                *k == kind
                                    && a.is_none_or(|a| a == major)
                                    && b.is_none_or(|b| b == minor)
                                    && if policy.allow { common != 0 } else { common == bits }
                            });
                            let request = [bits << 16 | letter, major, minor];
                            let expected = u32::from(hit != policy.allow);
                            assert_eq!(run(&program.0, request), expected, "{request:?} {rules:?}");
                        }
                    }
                }
            }
        }
    }
}
