//! The head of an executable file: is it a program, for which machine, and who interprets it. Pure.

/// What the beginning of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// A program of the machine with this number (`e_machine`), and its interpreter.
    Elf {
        /// `EM_*` of elf.h.
        machine: u16,
        /// `PT_INTERP`; none in a static program.
        interpreter: Option<Vec<u8>>,
    },
    /// A script: the interpreter's path as the kernel takes it, a carriage return included.
    Script(Vec<u8>),
    /// Neither.
    Other,
    /// Nothing.
    Empty,
}

const PT_INTERP: u32 = 3;
/// Program headers that are looked at; real programs have a dozen.
const HEADERS_MAX: usize = 256;
/// The kernel reads this much of a script's first line (`BINPRM_BUF_SIZE`).
const LINE_MAX: usize = 256;

/// Reads the beginning of a file. What does not fit is as good as absent.
#[must_use]
pub fn read(bytes: &[u8]) -> Head {
    if bytes.is_empty() {
        return Head::Empty;
    }
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let end = line.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
        let line = &line[..end.unwrap_or(line.len().min(LINE_MAX))];
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
        let word = &line[start..];
        let length = word.iter().position(blank).unwrap_or(word.len());
        return Head::Script(word[..length].to_vec());
    }
    elf(bytes).unwrap_or(Head::Other)
}

fn elf(bytes: &[u8]) -> Option<Head> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let file = File { bytes, wide: *bytes.get(4)? == 2, little: *bytes.get(5)? == 1 };
    let machine = u16::try_from(file.number(18, 2)?).ok()?;
    Some(Head::Elf { machine, interpreter: file.interpreter() })
}

struct File<'a> {
    bytes: &'a [u8],
    wide: bool,
    little: bool,
}

impl File<'_> {
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(match self.little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }

    fn size(&self, at: usize, length: usize) -> Option<usize> {
        usize::try_from(self.number(at, length)?).ok()
    }

    fn interpreter(&self) -> Option<Vec<u8>> {
        let word = if self.wide { 8 } else { 4 };
        let (table, entry, count) = match self.wide {
            true => (self.size(32, 8)?, self.size(54, 2)?, self.size(56, 2)?),
            false => (self.size(28, 4)?, self.size(42, 2)?, self.size(44, 2)?),
        };
        let (offset_at, length_at) = if self.wide { (8, 32) } else { (4, 16) };
        for index in 0..count.min(HEADERS_MAX) {
            let at = table.checked_add(entry.checked_mul(index)?)?;
            if self.number(at, 4)? != u64::from(PT_INTERP) {
                continue;
            }
            let start = self.size(at.checked_add(offset_at)?, word)?;
            let length = self.size(at.checked_add(length_at)?, word)?;
            let path = self.bytes.get(start..start.checked_add(length)?)?;
            return Some(path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
        }
        None
    }
}

/// The machines whose programs this one's kernel executes by itself.
#[must_use]
pub fn runs_here(machine: u16) -> bool {
    let native: &[u16] = match std::env::consts::ARCH {
        "x86_64" => &[62, 3],
        "x86" => &[3],
        "aarch64" => &[183, 40],
        "arm" => &[40],
        "riscv64" => &[243],
        "s390x" => &[22],
        "powerpc64" => &[21],
        "loongarch64" => &[258],
        _ => return true,
    };
    native.contains(&machine)
}

/// The machine's name, for a message.
#[must_use]
pub fn machine_name(machine: u16) -> String {
    let known = match machine {
        3 => "x86",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        other => return format!("machine {other}"),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_scripts_as_the_kernel_does() {
        let script = |text: &str| read(text.as_bytes());
        assert_eq!(script("#!/bin/sh\n"), Head::Script(b"/bin/sh".to_vec()));
        assert_eq!(script("#! \t/usr/bin/env -S x\nmore"), Head::Script(b"/usr/bin/env".to_vec()));
        assert_eq!(script("#!/bin/sh\r\nx"), Head::Script(b"/bin/sh\r".to_vec()));
        assert_eq!(script("#!"), Head::Script(Vec::new()));
        assert_eq!(script("echo"), Head::Other);
        assert_eq!(script(""), Head::Empty);
    }

    #[test]
    fn reads_its_own_program_and_nothing_into_noise() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let Head::Elf { machine, .. } = read(&own) else { panic!("no ELF") };
        assert!(runs_here(machine));
        for length in 0..200 {
            let _ = read(&own[..length]);
        }
        let mut noise = own[..64].to_vec();
        noise[32..].fill(0xff);
        assert_eq!(read(&noise), Head::Elf { machine, interpreter: None });
    }
}
