//! Sections → classic BPF. The program is written from its end to its beginning, so that the place
//! of every jump's target is known when the jump is written; jumps of this machine only go forward.
//!
//! A conditional jump reaches 255 instructions. Where a target is farther, a copy of the return, or
//! an unconditional jump (which reaches anywhere), is written just before it is needed.

use super::arch::Machine;
use super::filter::SeccompError;
use super::profile::{Chain, Condition, Decision, Section, UNLISTED};
use crate::config::seccomp::Operator;

/// One instruction, as seccomp(2) takes it.
pub use crate::sys::credentials::Instruction as SockFilter;

/// `BPF_MAXINSNS`: the kernel refuses longer programs.
pub(super) const INSTRUCTIONS_MAX: usize = 4096;

/// The operations that are used (linux/bpf_common.h).
pub(super) mod code {
    pub(in super::super) const LOAD: u16 = 0x20;
    pub(in super::super) const AND: u16 = 0x54;
    pub(in super::super) const JUMP: u16 = 0x05;
    pub(in super::super) const JUMP_EQUAL: u16 = 0x15;
    pub(in super::super) const JUMP_GREATER: u16 = 0x25;
    pub(in super::super) const JUMP_GREATER_EQUAL: u16 = 0x35;
    pub(in super::super) const RETURN: u16 = 0x06;
}

/// Offsets into `struct seccomp_data` (linux/seccomp.h), in bytes.
pub(super) const OFFSET_NUMBER: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

/// Where a jump goes: to a return of this value, or to the instruction that has this many after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Return(u32),
    Label(usize),
}

/// The program for `sections`, of which the first is asked first.
pub(super) fn assemble(
    sections: &[Section],
    machine: Machine,
) -> Result<Vec<SockFilter>, SeccompError> {
    let mut writer = Writer { reversed: Vec::new(), returns: Vec::new(), machine };
    let mut otherwise = Target::Return(UNLISTED);
    for section in sections.iter().rev() {
        let body = writer.section(section);
        otherwise = writer.jump(code::JUMP_EQUAL, section.audit, body, otherwise);
        if writer.reversed.len() > INSTRUCTIONS_MAX {
            break;
        }
    }
    // Where all architectures get the same answer there was nothing to compare, and no return yet.
    writer.near(otherwise, 1);
    writer.push(code::LOAD, OFFSET_ARCH);
    let mut program = writer.reversed;
    if program.len() > INSTRUCTIONS_MAX {
        return Err(SeccompError::TooLong { instructions: program.len() });
    }
    program.reverse();
    Ok(program)
}

struct Writer {
    reversed: Vec<SockFilter>,
    /// The nearest return of each value: the value and its label.
    returns: Vec<(u32, usize)>,
    machine: Machine,
}

impl Writer {
    fn push(&mut self, code: u16, k: u32) -> Target {
        self.reversed.push(SockFilter { code, jt: 0, jf: 0, k });
        Target::Label(self.reversed.len() - 1)
    }

    /// A label for `target` within `reach` instructions from the next one to be written.
    fn near(&mut self, target: Target, reach: usize) -> usize {
        let here = self.reversed.len();
        match target {
            Target::Return(value) => {
                let known = self.returns.iter().position(|(known, _)| *known == value);
                if let Some(label) =
                    known.and_then(|at| self.returns.get(at)).map(|(_, label)| *label)
                    && here - label <= reach
                {
                    return label;
                }
                self.push(code::RETURN, value);
                match known.and_then(|at| self.returns.get_mut(at)) {
                    Some(entry) => entry.1 = here,
                    None => self.returns.push((value, here)),
                }
                here
            }
            Target::Label(label) if here - label <= reach => label,
            Target::Label(label) => {
                let distance = u32::try_from(here - label - 1).unwrap_or(u32::MAX);
                self.push(code::JUMP, distance);
                here
            }
        }
    }

    /// A conditional jump on what was loaded last.
    fn jump(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // The second target may cost an instruction between the first one and the jump.
        let yes = self.near(yes, 254);
        let no = self.near(no, 255);
        let here = self.reversed.len();
        let jt = u8::try_from(here - yes - 1).unwrap_or(u8::MAX);
        let jf = u8::try_from(here - no - 1).unwrap_or(u8::MAX);
        self.reversed.push(SockFilter { code, jt, jf, k });
        Target::Label(here)
    }

    fn section(&mut self, section: &Section) -> Target {
        let chains: Vec<Target> = section.chains.iter().map(|chain| self.chain(chain)).collect();
        let ranges: Vec<(u32, Target)> = section
            .ranges
            .iter()
            .map(|(first, decision)| match decision {
                Decision::Return(value) => (*first, Target::Return(*value)),
                Decision::Check(index) => {
                    (*first, chains.get(*index).copied().unwrap_or(Target::Return(UNLISTED)))
                }
            })
            .collect();
        match self.search(&ranges) {
            // Every number gets the same answer, so that it need not be loaded.
            Target::Return(value) => Target::Return(value),
            tree @ Target::Label(_) => {
                // The load falls through into the tree, which must hence be the next instruction.
                self.near(tree, 1);
                self.push(code::LOAD, OFFSET_NUMBER)
            }
        }
    }

    /// A balanced search over ranges, given by their first numbers.
    fn search(&mut self, ranges: &[(u32, Target)]) -> Target {
        match ranges {
            [] => Target::Return(UNLISTED),
            [(_, only)] => *only,
            // One number that differs from both its neighbours' ranges is one comparison, not two.
            [(_, below), (number, own), (above, rest)]
                if below == rest && number.checked_add(1) == Some(*above) =>
            {
                self.jump(code::JUMP_EQUAL, *number, *own, *below)
            }
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let first = high.first().map_or(0, |(first, _)| *first);
                let high = self.search(high);
                let low = self.search(low);
                self.jump(code::JUMP_GREATER_EQUAL, first, high, low)
            }
        }
    }

    fn chain(&mut self, chain: &Chain) -> Target {
        let mut otherwise = Target::Return(chain.otherwise);
        for rule in chain.rules.iter().rev() {
            let mut next = Target::Return(rule.result);
            for condition in rule.conditions.iter().rev() {
                next = self.condition(condition, chain.wide, next, otherwise);
            }
            otherwise = next;
            if self.reversed.len() > INSTRUCTIONS_MAX {
                break;
            }
        }
        otherwise
    }

    fn condition(&mut self, condition: &Condition, wide: bool, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = match condition.op {
            Operator::NotEqual | Operator::Less | Operator::LessEqual => (no, yes),
            _ => (yes, no),
        };
        let compare = match condition.op {
            Operator::Equal | Operator::NotEqual | Operator::MaskedEqual => code::JUMP_EQUAL,
            Operator::Less | Operator::GreaterEqual => code::JUMP_GREATER_EQUAL,
            Operator::LessEqual | Operator::Greater => code::JUMP_GREATER,
        };
        let (high_mask, low_mask) = halves(condition.mask);
        let (high_value, low_value) = halves(condition.value);
        let argument = OFFSET_ARGS + 8 * u32::from(condition.index);
        let (high, low) = if self.machine.little_endian {
            (argument + 4, argument)
        } else {
            (argument, argument + 4)
        };
        let mut next = yes;
        if low_mask != 0 {
            self.jump(compare, low_value, yes, no);
            next = self.load(low, low_mask);
        }
        if !wide || high_mask == 0 {
            return next;
        }
        // The lower half counts only where the upper halves are equal.
        let unequal = if compare == code::JUMP_EQUAL {
            no
        } else {
            // Loaded already: a greater upper half decides by itself.
            self.jump(code::JUMP_GREATER, high_value, yes, no)
        };
        self.jump(code::JUMP_EQUAL, high_value, next, unequal);
        self.load(high, high_mask)
    }

    /// Loads half an argument for the instruction written last.
    fn load(&mut self, offset: u32, mask: u32) -> Target {
        if mask != u32::MAX {
            self.push(code::AND, mask);
        }
        self.push(code::LOAD, offset)
    }
}

fn halves(value: u64) -> (u32, u32) {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (u32::try_from(value >> 32).unwrap_or(u32::MAX), low)
}
