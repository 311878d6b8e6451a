//! Many callers at once, some of which are killed: the machine is as before when all is done.
//!
//! `KEEL_TESTS_CONTAINERS=1000` is the full size; the suite makes fewer.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use keel_tests::{Container, eventually, requires};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const CALLERS: usize = 16;

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A command that is killed after some microseconds, one time in three; whether it was.
fn call(container: &Container, words: &[&str], dice: &mut Dice) -> bool {
    if dice.throw(3) > 0 {
        container.call(words).succeeds();
        return false;
    }
    let mut command = container.command(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the runtime starts");
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("an own child");
    let time = Timespec { tv_sec: 0, tv_nsec: i64::try_from(dice.throw(12_000_000)).unwrap_or(0) };
    let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time));
    let _ = child.kill();
    let status = child.wait().expect("a child");
    status.signal().is_some()
}

/// One life of a container; how many of its commands were killed.
fn live(container: &Container, dice: &mut Dice) -> usize {
    let id = container.id();
    let is_unfinished = call(container, &["create", id], dice);
    let mut killed = usize::from(is_unfinished);
    let exists = container.call(&["state", id]);
    let is_created = exists.status == 0 && exists.json()["status"] == "created";
    // What a killed `create` has not told to wait ends, now or in a moment; then it cannot be started.
    let is_lost = is_created && is_unfinished && {
        let start = container.call(&["start", id]);
        assert!(start.status == 0 || start.stderr.contains("stopped"), "{}", start.report());
        start.status != 0
    };
    if is_created && !is_lost {
        if !is_unfinished {
            killed += usize::from(call(container, &["start", id], dice));
        }
        if container.state()["status"] == "created" {
            // A killed one may have let it go: then this one is late.
            container.start();
        }
        eventually("it runs", || (container.state()["status"] == "running").then_some(()));
        for _ in 0..2 {
            killed += usize::from(call(container, &["exec", id, "true"], dice));
        }
    }
    killed += usize::from(call(container, &["delete", "--force", id], dice));
    container.delete(&["--force"]).succeeds();
    eventually("all of it is gone", || container.left().is_empty().then_some(()));
    killed
}

/// What there is of processes, mounts, cgroups and open files of this test.
fn census() -> (usize, usize, usize, usize) {
    let count = |path: &str, word: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(word)).count()
    };
    let own = format!("keel-tests-{}-", std::process::id());
    let runs = |pid: &str| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&own)
    };
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
    let names = |path: &str| entries(path).map(|e| e.file_name().to_string_lossy().into_owned());
    let processes = names("/proc").filter(|name| runs(name)).count();
    let hierarchies = names("/sys/fs/cgroup");
    let cgroups =
        hierarchies.flat_map(|name| names(&format!("/sys/fs/cgroup/{name}")).collect::<Vec<_>>());
    let cgroups = cgroups.filter(|name| name.contains(&own)).count();
    (processes, count("/proc/self/mountinfo", &own), cgroups, entries("/proc/self/fd").count())
}

/// RT-LOAD-01: after containers were created, entered and deleted by 16 callers at once, a third of whose commands
/// were killed, there are as many processes, mounts, cgroups and open files as before.
#[test]
fn killed_callers_leave_the_machine_as_it_was() {
    let asked = std::env::var("KEEL_TESTS_CONTAINERS").ok().and_then(|text| text.parse().ok());
    let lives: usize = asked.unwrap_or(96);
    let containers: Vec<Container> = (0..CALLERS).map(|_| Container::sleeping(|_| ())).collect();
    if !requires(
        containers[0].runtime().is("keel"),
        "the packaged runc and crun are known to leave things",
    ) {
        return;
    }
    let before = census();
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()));
    println!("seed {seed}");
    let killed: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = containers
            .iter()
            .zip(seed..)
            .map(|(container, seed)| {
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    (0..lives.div_ceil(CALLERS)).map(|_| live(container, &mut dice)).sum::<usize>()
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("every life ends well")).sum()
    });
    println!("{killed} commands were killed");
    assert!(killed > 0, "no command was killed, so nothing was proved");
    assert_eq!(census(), before);
}
