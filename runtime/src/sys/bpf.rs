//! bpf(2), as far as programs on cgroups take it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::error::{Call, Result, SyscallError};
use super::open::adopt;

/// One instruction: `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u8,
    /// Destination in one half, source in the other; which half is which is the byte order's matter.
    pub registers: u8,
    /// Of a jump in instructions, or of a load in bytes.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

/// The only kind of program that is loaded here: it decides on the use of devices.
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;

/// bpf(2), `BPF_PROG_LOAD` of a `BPF_PROG_TYPE_CGROUP_DEVICE`.
///
/// # Errors
/// EINVAL or EACCES when the verifier refuses the program; EPERM without `CAP_BPF`.
pub fn bpf_prog_load_cgroup_device(program: &[Instruction]) -> Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    // The fields of `union bpf_attr` for this command, up to the last one that is not zero.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Attributes {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let attributes = Attributes {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        expected_attach_type: BPF_CGROUP_DEVICE,
        ..Attributes::default()
    };
    // SAFETY: the attributes and what they point to live through the call; their size and the number
    // of instructions are passed.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<Attributes>())
    };
    let fd = i32::try_from(result).ok().filter(|fd| *fd >= 0);
    fd.map(adopt).ok_or_else(|| SyscallError::last(Call::Bpf))
}

/// bpf(2), `BPF_PROG_ATTACH` of a device program to a cgroup v2 directory, beside those that are
/// there: all of them have to allow a use.
///
/// # Errors
/// EPERM without the capability, or where a parent's program allows no others beside it.
pub fn bpf_prog_attach_cgroup_device(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    #[repr(C)]
    struct Attributes {
        target_fd: i32,
        attach_bpf_fd: i32,
        attach_type: u32,
        attach_flags: u32,
    }
    let attributes = Attributes {
        target_fd: cgroup.as_fd().as_raw_fd(),
        attach_bpf_fd: program.as_fd().as_raw_fd(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the attributes live through the call and their size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Bpf)) }
}
