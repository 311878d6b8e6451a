//! The command `keel-probe`: one static program, run as the container's process, that reports what it
//! sees as JSON or does one small thing whose outcome the test reads.
//!
//! It needs nothing of the root file system, so that a test can put it into an empty one.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a test program reports by printing")]

mod report;
mod sys;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use serde_json::json;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        [] | ["report"] => print_report(),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().expect("an exit code")),
        ["raise", signal] => sys::raise(signal.parse().expect("a signal number")),
        ["hog", mib] => hog(mib.parse().expect("a number of MiB")),
        ["forks", count] => forks(count.parse().expect("a number")),
        ["syscall", number, rest @ ..] => syscall(number, rest),
        ["open-write", paths @ ..] => open_write(paths),
        ["mknod", path, kind, major, minor] => mknod(path, kind, major, minor),
        ["notify", message, program @ ..] => notify(message, program),
        ["attack-exe"] => attack_exe(),
        ["attack-entrant"] => attack_entrant(),
        #[cfg(target_arch = "x86_64")]
        ["syscall32", number, argument] => {
            let [number, argument] = [number, argument].map(|word| word.parse().expect("a number"));
            println!("{}", json!({"answer": sys::syscall_of_32_bits(number, argument)}));
        }
        ["lock", path] => lock(path),
        ["try-lock", path] => return try_lock(path),
        other => {
            println!("unknown probe command: {other:?}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn print_report() {
    println!("{}", report::everything());
}

/// Takes and touches memory one MiB at a time, so that the last line tells how far it came.
fn hog(mib: usize) {
    let mut taken = Vec::new();
    for n in 1..=mib {
        taken.push(vec![1_u8; 1 << 20]);
        if n.is_multiple_of(4) {
            println!("{n} MiB");
        }
    }
    println!("took {} MiB", taken.len());
}

/// Forks until the count is reached or the kernel refuses.
fn forks(count: usize) {
    let mut made = 0;
    let mut errno = 0;
    while made < count {
        match sys::fork_sleeper() {
            Ok(_) => made += 1,
            Err(error) => {
                errno = error;
                break;
            }
        }
    }
    println!("{}", json!({"made": made, "errno": errno}));
}

/// Holds a lock on a file, for ever.
fn lock(path: &str) {
    let file = fs::File::create(path).expect("a file");
    file.lock().expect("a lock");
    loop {
        std::thread::park();
    }
}

/// 0 when nobody holds a lock on a file, 1 when somebody does, 2 when there is no file.
fn try_lock(path: &str) -> ExitCode {
    let Ok(file) = fs::File::open(path) else { return ExitCode::from(2) };
    if file.try_lock().is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn syscall(number: &str, rest: &[&str]) {
    let mut args = [0_i64; 6];
    for (slot, word) in args.iter_mut().zip(rest) {
        *slot = word.parse().expect("an integer argument");
    }
    let (value, errno) = match sys::syscall(number.parse().expect("a number"), args) {
        Ok(value) => (value, 0),
        Err(errno) => (-1, errno),
    };
    println!("{}", json!({"value": value, "errno": errno}));
}

/// Opens each path for writing without changing it and prints errno by path (0 is success).
fn open_write(paths: &[&str]) {
    let mut answer = serde_json::Map::new();
    for path in paths {
        let errno = match fs::OpenOptions::new().write(true).open(path) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        };
        answer.insert((*path).to_owned(), json!(errno));
    }
    println!("{}", serde_json::Value::Object(answer));
}

fn mknod(path: &str, kind: &str, major: &str, minor: &str) {
    let mode = match kind {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        _ => libc::S_IFIFO,
    };
    let device = libc::makedev(major.parse().expect("major"), minor.parse().expect("minor"));
    let errno = sys::mknod(path, mode | 0o600, device).err().unwrap_or(0);
    println!("{}", json!({"errno": errno}));
}

/// Sends a message to the manager of services and becomes a program.
fn notify(message: &str, program: &[&str]) {
    let path = std::env::var_os("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to(message.as_bytes(), path).expect("a message");
    if let [name, arguments @ ..] = program {
        let error = Command::new(name).args(arguments).exec();
        panic!("{name}: {error}");
    }
}

/// For ever: takes hold of every program that is executed beside this one, and writes to its file as soon as
/// the kernel lets it (a running program's file is busy). A line is printed for each write that succeeded.
fn attack_exe() {
    println!("ready");
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    loop {
        let mut held = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let exe = entry.path().join("exe");
            let Ok(target) = fs::read_link(&exe) else { continue };
            let Ok(file) = fs::File::open(&exe) else { continue };
            if target != own && !target.ends_with("busybox") {
                held.push((target, file));
            }
        }
        for (target, file) in held {
            // The process may still run: the file stays busy until it has ended.
            for _ in 0..20_000 {
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
                match fs::OpenOptions::new().write(true).open(path) {
                    Ok(mut file) => {
                        if file.write_all(b"OVERWRITTEN").is_ok() {
                            println!("wrote to {}", target.display());
                        }
                        break;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                        std::thread::yield_now();
                    }
                    Err(_) => break,
                }
            }
        }
    }
}

/// For ever: tries to look at the descriptors and the root of every process of a runtime that enters the
/// container, for which the kernel asks whether it may be traced. A line is printed for each way that led in.
fn attack_entrant() {
    println!("ready");
    let own = std::process::id().to_string();
    let mut seen = false;
    loop {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name();
            let is_entrant = || {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                // What runc and keel call it; crun goes by its own name.
                name.contains("INIT") || name.contains("init]") || name.contains("crun")
            };
            if pid == *own || !is_entrant() {
                continue;
            }
            if !seen {
                println!("seen");
            }
            seen = true;
            // The folder may be listed by its owner; where a descriptor leads may not be seen.
            let listed = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let descriptors = listed.map(|fd| fd.path()).any(|fd| fs::read_link(fd).is_ok());
            let root = fs::read_link(entry.path().join("root")).is_ok();
            // It may have become the program meanwhile, which is the container's own.
            if (descriptors || root) && is_entrant() {
                println!("in: descriptors {descriptors}, root {root}");
            }
        }
    }
}
