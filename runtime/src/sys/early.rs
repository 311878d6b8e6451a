//! The first instructions of the program, before the C library's.
//!
//! A command that enters a container executes itself again from a read-only view of its file (see
//! `cli/seal.rs`), so that all the first start prepares is thrown away: relocated tables, and what the C library
//! asks the processor, which a virtual machine answers slowly. It is a tenth of a `run`. So that second start
//! is made here, where nothing is prepared yet. Whatever does not work here, `seal` does later, and says why it
//! cannot.
//!
//! This file belongs to the binary, as `entry.rs` does. `build.rs` makes `keel_entry` the program's entry, where it is
//! optimised: otherwise functions are called by addresses that are not relocated yet.
//!
//! Nothing is relocated and no C library is there. So what runs here calls nothing but the kernel, reads no
//! static that holds an address, and cannot panic.

#![allow(unsafe_code)]

use std::arch::{asm, global_asm};
use std::ffi::CStr;
use std::mem::MaybeUninit;

const OWN_FILE: &CStr = c"/proc/self/exe";
/// Both steps in one, since Linux 6.15.
const SYS_OPEN_TREE_ATTR: i64 = 467;
/// Tests that switch calls off want `seal` to do it.
const SWITCHES: &[u8] = b"KEEL_WITHOUT=";

// The kernel leaves the argument count at the top of the stack, which `_start` of the C library needs
// untouched, as rdx (System V ABI for x86-64, 3.4.1).
global_asm!(
    ".globl keel_entry",
    ".type keel_entry, @function",
    "keel_entry:",
    "mov rbp, rsp",
    "mov r12, rdx",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start_again}",
    "mov rsp, rbp",
    "mov rdx, r12",
    "xor ebp, ebp",
    "jmp _start",
    start_again = sym start_again,
);

/// Executes this program from a read-only view of its file, unless that is done or not needed.
///
/// # Safety
/// `stack` is what the kernel gave the program: the count of arguments, their addresses and a null, those of the
/// variables and a null.
unsafe extern "C" fn start_again(stack: *const usize) {
    // SAFETY: per the function's condition all that is read lies in what the kernel gave.
    unsafe {
        let count = *stack;
        let arguments = stack.wrapping_add(1).cast::<*const u8>();
        let variables = arguments.wrapping_add(count).wrapping_add(1);
        let mut enters = false;
        let mut at = 1;
        while at < count {
            let word = *arguments.wrapping_add(at);
            // Those of `Command::enters_container`. A word that only looks like one costs a superfluous start.
            enters |= is(word, c"run") | is(word, c"create") | is(word, c"exec");
            at = at.wrapping_add(1);
        }
        if !enters {
            return;
        }
        let mut variable = variables;
        while !(*variable).is_null() {
            if starts_with(*variable, SWITCHES) {
                return;
            }
            variable = variable.wrapping_add(1);
        }
        from_read_only_view(arguments, variables);
    }
}

/// Returns only if it was not possible, or this is that view.
///
/// # Safety
/// Both are lists of strings that a null ends.
unsafe fn from_read_only_view(arguments: *const *const u8, variables: *const *const u8) {
    let own = OWN_FILE.as_ptr() as usize;
    let empty = c"".as_ptr() as usize;
    // struct statfs (statfs(2)) in words; the one at 10 has the flags of the mount.
    let mut about = MaybeUninit::<[u64; 15]>::uninit();
    let read_only = libc::MOUNT_ATTR_RDONLY;
    let attributes = [read_only, 0, 0, 0];
    // SAFETY: statfs(2) fills what `about` has room for, the others read strings and `attributes`, which is a
    // struct mount_attr (mount_setattr(2)). A descriptor that was opened is closed again.
    unsafe {
        if call(libc::SYS_statfs, [own, about.as_mut_ptr() as usize, 0, 0, 0]) != 0 {
            return;
        }
        if about.assume_init_ref()[10] & libc::ST_RDONLY != 0 {
            return;
        }
        let here = libc::AT_FDCWD.cast_unsigned() as usize;
        let clone = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
        let itself = libc::AT_EMPTY_PATH.cast_unsigned() as usize;
        let (attributes, size) = (attributes.as_ptr() as usize, size_of_val(&attributes));
        let mut tree = call(SYS_OPEN_TREE_ATTR, [here, own, clone, attributes, size]);
        let mut is_read_only = tree >= 0;
        if !is_read_only {
            tree = call(libc::SYS_open_tree, [here, own, clone, 0, 0]);
        }
        let Ok(tree) = usize::try_from(tree) else { return };
        if !is_read_only {
            let view = [tree, empty, itself, attributes, size];
            is_read_only = call(libc::SYS_mount_setattr, view) == 0;
        }
        if is_read_only {
            let program = [tree, empty, arguments as usize, variables as usize, itself];
            call(libc::SYS_execveat, program);
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

/// Whether the two strings are the same.
///
/// # Safety
/// `word` is a string that a null byte ends.
unsafe fn is(word: *const u8, known: &CStr) -> bool {
    // SAFETY: a byte that differs ends the reading, at the latest the null.
    unsafe { starts_with(word, known.to_bytes_with_nul()) }
}

/// # Safety
/// `word` is a string that a null byte ends.
unsafe fn starts_with(word: *const u8, known: &[u8]) -> bool {
    let mut at = 0;
    while at < known.len() {
        // SAFETY: up to here all bytes were those of `known`, none of which but the last is null.
        if unsafe { *word.wrapping_add(at) } != known[at] {
            return false;
        }
        at = at.wrapping_add(1);
    }
    true
}

/// A system call. Its negative error stays what it is.
///
/// # Safety
/// As the call that it is.
unsafe fn call(number: i64, arguments: [usize; 5]) -> i64 {
    let result;
    // SAFETY: the registers are those of the kernel's convention (syscall(2)).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}
