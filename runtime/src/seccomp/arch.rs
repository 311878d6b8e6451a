//! The ABIs of system calls that a machine has, and what a filter must know of each.

use super::numbers::{ABSENT, ARM_PRIVATE, Row};
use crate::config::seccomp::Architecture;

/// Set in the number of every x32 call; it is what tells them from those of `x86_64`, whose audit
/// architecture they share.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// ARM's private calls start here (`__ARM_NR_BASE`).
const ARM_PRIVATE_BASE: u32 = 0x000f_0000;

/// One ABI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abi {
    /// How a profile names it.
    pub(super) name: Architecture,
    /// `AUDIT_ARCH_*` (linux/audit.h), as `seccomp_data.arch` shows it.
    pub(super) audit: u32,
    column: usize,
    /// Arguments are compared as 64 bits; otherwise their lower half alone counts, as in libseccomp.
    pub(super) wide: bool,
    /// socket(2), semop(2) and their relatives also come through socketcall(2) and ipc(2).
    pub(super) multiplexer: Option<Multiplexer>,
}

/// The numbers of the two calls that carry others in their first argument.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiplexer {
    pub(super) socketcall: u32,
    pub(super) ipc: u32,
}

const MUX: Option<Multiplexer> = Some(Multiplexer { socketcall: 102, ipc: 117 });

const fn abi(name: Architecture, audit: u32, column: usize) -> Abi {
    Abi { name, audit, column, wide: true, multiplexer: None }
}

const X86_64: Abi = abi(Architecture::X86_64, 0xc000_003e, 0);
const X32: Abi = Abi { wide: false, ..abi(Architecture::X32, X86_64.audit, 1) };
const X86: Abi = Abi { wide: false, multiplexer: MUX, ..abi(Architecture::X86, 0x4000_0003, 2) };
const AARCH64: Abi = abi(Architecture::Aarch64, 0xc000_00b7, 3);
const ARM: Abi = Abi { wide: false, ..abi(Architecture::Arm, 0x4000_0028, 4) };
const RISCV64: Abi = abi(Architecture::Riscv64, 0xc000_00f3, 5);
const S390X: Abi = Abi { multiplexer: MUX, ..abi(Architecture::S390x, 0x8000_0016, 6) };
const POWERPC64: Abi = Abi { multiplexer: MUX, ..abi(Architecture::Powerpc64, 0x8000_0015, 7) };
const POWERPC64LE: Abi = Abi { multiplexer: MUX, ..abi(Architecture::Powerpc64le, 0xc000_0015, 7) };
const LOONGARCH64: Abi = abi(Architecture::Loongarch64, 0xc000_0102, 8);

/// A machine: what its kernel can put into `seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub(super) little_endian: bool,
    /// The native ABI first. The 31-bit ABI of s390x is missing: its processes are killed.
    pub(super) abis: &'static [Abi],
}

/// The machine whose native ABI is `native`; `None` where Keel knows no numbers for it.
pub(super) fn machine(native: Architecture) -> Option<Machine> {
    let abis: &'static [Abi] = match native {
        Architecture::X86_64 => &[X86_64, X32, X86],
        Architecture::X86 => &[X86],
        Architecture::Aarch64 => &[AARCH64, ARM],
        Architecture::Arm => &[ARM],
        Architecture::Riscv64 => &[RISCV64],
        Architecture::S390x => &[S390X],
        Architecture::Powerpc64 => &[POWERPC64],
        Architecture::Powerpc64le => &[POWERPC64LE],
        Architecture::Loongarch64 => &[LOONGARCH64],
        _ => return None,
    };
    let little_endian = !matches!(native, Architecture::S390x | Architecture::Powerpc64);
    Some(Machine { little_endian, abis })
}

impl Abi {
    /// The number of the call whose row is `row`, as `seccomp_data.nr` shows it.
    pub(super) fn number(&self, row: &Row) -> Option<u32> {
        let number = row.get(self.column).copied().filter(|number| *number != ABSENT)?;
        if self.name == Architecture::X32 {
            return Some(u32::from(number) | X32_BIT);
        }
        if self.name == Architecture::Arm && number >= ARM_PRIVATE {
            return Some(ARM_PRIVATE_BASE + u32::from(number - ARM_PRIVATE));
        }
        Some(u32::from(number))
    }
}

/// The call that also comes as number `first argument` of a multiplexer (linux/net.h, linux/ipc.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multiplexed {
    Socketcall(u32),
    Ipc(u32),
}

/// How the call `name` is multiplexed on an ABI that does that.
pub(super) fn multiplexed(name: &str) -> Option<Multiplexed> {
    Some(match name {
        "socket" => Multiplexed::Socketcall(1),
        "bind" => Multiplexed::Socketcall(2),
        "connect" => Multiplexed::Socketcall(3),
        "listen" => Multiplexed::Socketcall(4),
        "accept" => Multiplexed::Socketcall(5),
        "getsockname" => Multiplexed::Socketcall(6),
        "getpeername" => Multiplexed::Socketcall(7),
        "socketpair" => Multiplexed::Socketcall(8),
        "send" => Multiplexed::Socketcall(9),
        "recv" => Multiplexed::Socketcall(10),
        "sendto" => Multiplexed::Socketcall(11),
        "recvfrom" => Multiplexed::Socketcall(12),
        "shutdown" => Multiplexed::Socketcall(13),
        "setsockopt" => Multiplexed::Socketcall(14),
        "getsockopt" => Multiplexed::Socketcall(15),
        "sendmsg" => Multiplexed::Socketcall(16),
        "recvmsg" => Multiplexed::Socketcall(17),
        "accept4" => Multiplexed::Socketcall(18),
        "recvmmsg" => Multiplexed::Socketcall(19),
        "sendmmsg" => Multiplexed::Socketcall(20),
        "semop" => Multiplexed::Ipc(1),
        "semget" => Multiplexed::Ipc(2),
        "semctl" => Multiplexed::Ipc(3),
        "semtimedop" => Multiplexed::Ipc(4),
        "msgsnd" => Multiplexed::Ipc(11),
        "msgrcv" => Multiplexed::Ipc(12),
        "msgget" => Multiplexed::Ipc(13),
        "msgctl" => Multiplexed::Ipc(14),
        "shmat" => Multiplexed::Ipc(21),
        "shmdt" => Multiplexed::Ipc(22),
        "shmget" => Multiplexed::Ipc(23),
        "shmctl" => Multiplexed::Ipc(24),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{NUMBERS, Rows};
    use super::*;

    #[test]
    fn keeps_the_table_sorted() {
        assert!(NUMBERS.windows(2).all(|pair| pair[0].name() < pair[1].name()));
    }

    #[test]
    fn numbers_the_calls_that_differ_by_abi() {
        let number =
            |abi: Abi, name: &str| Rows::default().find(name).and_then(|row| abi.number(row));
        assert_eq!(number(X86_64, "execve"), Some(59));
        assert_eq!(number(X32, "execve"), Some(0x4000_0208));
        assert_eq!(number(X32, "read"), Some(0x4000_0000));
        assert_eq!(number(X32, "uselib"), None);
        assert_eq!(number(X86, "socket"), Some(359));
        assert_eq!(number(X86, "send"), None);
        assert_eq!(number(ARM, "set_tls"), Some(0x000f_0005));
        assert_eq!(number(AARCH64, "newfstatat"), Some(79));
        assert_eq!(number(S390X, "clone3"), Some(435));
        assert_eq!(number(X86_64, "no_such_call"), None);
    }
}
