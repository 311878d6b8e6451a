//! Waits with a bound. A test never waits for a time to pass; it waits for a thing to happen.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Outcome;

/// Long enough for the slowest machine; it ends a hang and measures nothing.
const DEADLINE: Duration = Duration::from_secs(60);

/// Long enough for killed processes to end; what is there then is told.
const CLEANING: Duration = Duration::from_secs(5);

/// Runs a command to its end and captures what it wrote.
///
/// The streams are files in `folder`: a container that stays keeps them open, and a pipe would never end.
pub fn output_within(mut command: Command, folder: &Path, input: Option<&str>) -> Outcome {
    let number = std::fs::read_dir(folder).map(Iterator::count).unwrap_or(0);
    let stdout = folder.join(format!("{number}.stdout"));
    let stderr = folder.join(format!("{number}.stderr"));
    match input {
        None => command.stdin(Stdio::null()),
        Some(text) => {
            let path = folder.join(format!("{number}.stdin"));
            std::fs::write(&path, text).expect("input is written");
            command.stdin(File::open(path).expect("input is read"))
        }
    };
    command.stdout(File::create(&stdout).expect("a file for stdout"));
    command.stderr(File::create(&stderr).expect("a file for stderr"));
    let what = format!("{command:?}");
    // A program that somebody opens for writing at this moment, if in vain, cannot be executed.
    let mut child = eventually(&what, || match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
        spawned => Some(spawned.unwrap_or_else(|error| panic!("{what}: {error}"))),
    });
    wait_within(&mut child, &what, &stderr);
    let status = child.wait().expect("a child that ended can be reaped");
    Outcome::new(what, status, stdout, stderr)
}

fn wait_within(child: &mut Child, what: &str, stderr: &Path) {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a pidfd of an own child");
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let timeout = Timespec::try_from(DEADLINE).expect("a short time");
    if poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
        let _ = child.kill();
        let _ = child.wait();
        let said = std::fs::read_to_string(stderr).unwrap_or_default();
        panic!("{what}\nhangs; it was killed after {DEADLINE:?}\nstderr: {said}");
    }
}

/// Asks again until the answer is there; the bound only ends a hang.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    let answer = ask_until(DEADLINE, ask);
    answer.unwrap_or_else(|| panic!("{what}: still not so after {DEADLINE:?}"))
}

/// Waits until the process runs this program.
///
/// A runtime may return while the execve is under way: it closes the pipe that tells of failures before it sets
/// the arguments.
pub fn executes(pid: &str, arguments: &[&str]) {
    eventually(&format!("{arguments:?} as process {pid}"), || {
        let seen = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        seen.split_terminator('\0').eq(arguments.iter().copied()).then_some(())
    });
}

/// Whether a thing happens that may be late, for those that must not panic: they clean up.
pub fn within_a_while(mut ask: impl FnMut() -> bool) -> bool {
    ask_until(CLEANING, || ask().then_some(())).is_some()
}

fn ask_until<T>(bound: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() > bound {
            return answer;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the pause of a bounded poll of a foreign state"
        )]
        std::thread::sleep(Duration::from_millis(5));
    }
}
