//! A command under a tracer that stops it and everything it starts before each system call, and ends the caller
//! there or lets one call fail: what a machine does to a program, at a place of the test's choice.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::sys::ptrace::{self, Stop};

/// What ends a command that hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    Made,
    /// Its caller is killed before it.
    Killed,
    /// It is not made, and gives this errno; brk(2) and umask(2) are made, close(2) is made and gives it.
    Fails(i32),
}

/// How a stepped command ended.
#[derive(Debug)]
pub struct Stepped {
    /// The exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// What it wrote to its standard output by its end.
    pub stdout: String,
    /// What it wrote to its standard error by its end.
    pub stderr: String,
    /// The calls that were counted; the n-th is the n-th in time, whichever process made it.
    pub calls: usize,
    /// The call whose fate was not [`Fate::Made`]: its number, and whether the command's first process made it.
    pub struck: Option<(i64, bool)>,
    /// Whether it had to be ended.
    pub hung: bool,
}

/// Runs a command; the `at`-th call that it or a process it started makes before executing another program
/// has the given fate. Calls that end or resume a process are not counted.
///
/// When the command has ended, what it left running goes on untraced.
pub fn step(mut command: Command, folder: &Path, at: usize, fate: Fate) -> Stepped {
    let names = [folder.join("stepped.stdout"), folder.join("stepped.stderr")];
    let [stdout, stderr] =
        names.each_ref().map(|path| std::fs::File::create(path).expect("a file"));
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let (status, calls, struck, hung, others) = std::thread::scope(|scope| {
        // The tracer is a thread: when it ends, the kernel lets go of what it traced.
        scope.spawn(|| trace(&mut command, at, fate)).join().expect("the tracer ends")
    });
    for pid in others {
        // The stop with which a traced child begins must not outlast the tracer.
        signal(pid, Signal::CONT);
    }
    let [stdout, stderr] = names
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("a file")).into_owned());
    let status = match libc::WIFEXITED(status) {
        true => libc::WEXITSTATUS(status),
        false => 128 + libc::WTERMSIG(status),
    };
    Stepped { status, stdout, stderr, calls, struck, hung }
}

type Traced = (i32, usize, Option<(i64, bool)>, bool, HashSet<i32>);

fn trace(command: &mut Command, at: usize, fate: Fate) -> Traced {
    let main = ptrace::spawn(command).expect("a traced command");
    let (ended, end) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = end.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout);
            if late {
                signal(main, Signal::KILL);
            }
            late
        });
        let others = HashSet::new();
        let mut tracer = Tracer { main, at, fate, calls: 0, struck: None, failing: None, others };
        let status = tracer.run();
        drop(ended);
        let hung = watch.join().expect("the watch ends");
        (status, tracer.calls, tracer.struck, hung, tracer.others)
    })
}

struct Tracer {
    main: i32,
    at: usize,
    fate: Fate,
    calls: usize,
    struck: Option<(i64, bool)>,
    /// Whose call is to fail when it is over.
    failing: Option<(i32, i32)>,
    /// What it traces beside the first process.
    others: HashSet<i32>,
}

impl Tracer {
    /// The wait status of the command.
    fn run(&mut self) -> i32 {
        let mut begun = HashSet::new();
        // Whoever is killed while it is stopped answers with ESRCH; its end is seen next.
        let _ = ptrace::go_on(self.main, 0);
        loop {
            let (pid, stop) = match ptrace::wait(None) {
                // It was killed before it could be asked where it stopped.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                waited => waited.expect("something is traced"),
            };
            let _ = match stop {
                Stop::Ended(status) if pid == self.main => return status,
                Stop::Ended(_) => {
                    self.others.remove(&pid);
                    Ok(())
                }
                Stop::Entry(number) => {
                    self.entered(pid, number);
                    ptrace::go_on(pid, 0)
                }
                Stop::Exit => {
                    if let Some((_, errno)) = self.failing.take_if(|(who, _)| *who == pid) {
                        let _ = ptrace::answer_call(pid, errno);
                    }
                    ptrace::go_on(pid, 0)
                }
                // The program of a container, a hook, or a tool: no part of the runtime.
                Stop::Executed if pid != self.main => {
                    self.others.remove(&pid);
                    ptrace::let_go(pid)
                }
                Stop::Signal(libc::SIGSTOP) if begun.insert(pid) => ptrace::go_on(pid, 0),
                Stop::Signal(signal) => ptrace::go_on(pid, signal),
                Stop::Executed => ptrace::go_on(pid, 0),
                Stop::Child(child) => {
                    self.others.insert(child);
                    ptrace::go_on(pid, 0)
                }
            };
        }
    }

    fn entered(&mut self, pid: i32, number: i64) {
        if [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn].contains(&number) {
            return;
        }
        self.calls += 1;
        if self.calls != self.at {
            return;
        }
        match self.fate {
            Fate::Made => return,
            Fate::Killed => signal(pid, Signal::KILL),
            // These do not answer with errors, and the C library believes them.
            Fate::Fails(_) if [libc::SYS_brk, libc::SYS_umask].contains(&number) => {}
            Fate::Fails(errno) => {
                // Whatever close(2) answers, the descriptor is closed.
                if number != libc::SYS_close {
                    ptrace::skip_call(pid).expect("a stopped thread");
                }
                self.failing = Some((pid, errno));
            }
        }
        self.struck = Some((number, pid == self.main));
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The places that a test visits: each, where `KEEL_TESTS_PLACES=all` says so; else every `stride`-th from a
/// seed on, which `KEEL_TESTS_SEED` repeats and a failing test has in its output.
pub fn places(stride: usize) -> impl Iterator<Item = usize> {
    let asked = |name| std::env::var(name).ok();
    if asked("KEEL_TESTS_PLACES").as_deref() == Some("all") {
        return (1..).step_by(1);
    }
    let by_clock =
        || std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.subsec_micros() as usize);
    let seed = asked("KEEL_TESTS_SEED").and_then(|text| text.parse().ok()).unwrap_or_else(by_clock);
    println!("KEEL_TESTS_SEED={seed}");
    (1 + seed % stride..).step_by(stride)
}
