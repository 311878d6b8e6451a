//! What a filter answers to a call, without a kernel: the part of classic BPF that seccomp filters
//! use (linux/filter.h; Documentation/userspace-api/seccomp_filter.rst).

use super::program::{SockFilter, code};

/// One call as a filter sees it: `struct seccomp_data` of linux/seccomp.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The number, with bit 30 set for x32.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The arguments.
    pub args: [u64; 6],
}

/// Which half of a 64-bit word comes first in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lower half.
    Little,
    /// The upper half.
    Big,
}

const JUMP_SET: u16 = 0x45;

/// The value that `program` returns for `call`; `None` when it does something that the kernel would
/// have refused when it was loaded: an unknown operation, a jump or a load out of bounds.
#[must_use]
pub fn run(program: &[SockFilter], call: &Call, order: ByteOrder) -> Option<u32> {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    // Jumps only go forward, so that this ends.
    loop {
        let instruction = program.get(at)?;
        at += 1;
        let holds = match instruction.code {
            code::LOAD => {
                accumulator = load(call, instruction.k, order)?;
                continue;
            }
            code::AND => {
                accumulator &= instruction.k;
                continue;
            }
            code::JUMP => {
                at = at.checked_add(usize::try_from(instruction.k).ok()?)?;
                continue;
            }
            code::RETURN => return Some(instruction.k),
            code::JUMP_EQUAL => accumulator == instruction.k,
            code::JUMP_GREATER => accumulator > instruction.k,
            code::JUMP_GREATER_EQUAL => accumulator >= instruction.k,
            JUMP_SET => accumulator & instruction.k != 0,
            _ => return None,
        };
        at += usize::from(if holds { instruction.jt } else { instruction.jf });
    }
}

fn load(call: &Call, offset: u32, order: ByteOrder) -> Option<u32> {
    let word = match offset {
        0 => return Some(call.number),
        4 => return Some(call.arch),
        // The instruction pointer: no profile can speak of it.
        8 | 12 => 0,
        _ => *call.args.get(usize::try_from(offset).ok()?.checked_sub(16)? / 8)?,
    };
    let upper = (offset % 8 == 4) == (order == ByteOrder::Little);
    match offset % 4 {
        0 => u32::try_from(if upper { word >> 32 } else { word & u64::from(u32::MAX) }).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let call = Call { number: 1, arch: 2, args: [3; 6] };
        let one = |code, k| run(&[SockFilter { code, jt: 0, jf: 0, k }], &call, ByteOrder::Little);
        assert_eq!(one(code::RETURN, 7), Some(7));
        assert_eq!(one(code::LOAD, 0), None);
        assert_eq!(one(code::LOAD, 64), None);
        assert_eq!(one(code::LOAD, 17), None);
        assert_eq!(one(code::JUMP, u32::MAX), None);
        assert_eq!(one(0xffff, 0), None);
        assert_eq!(run(&[], &call, ByteOrder::Little), None);
    }
}
