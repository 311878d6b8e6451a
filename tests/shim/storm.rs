//! Many containers at once, and shims and containerd killed at random: nothing is lost, nothing is left.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use keel_tests::{ContainerdOfShims, eventually, requires, shim_is_peer};
use rustix::process::{Pid, Signal, kill_process};

/// Containers of the first test; as many as people run on a busy machine.
const MANY: usize = 200;

/// Containers of the second one, and how often something is killed.
const SOME: usize = 24;
const ROUNDS: usize = 6;

/// Does it for each number below `count`, four at a time.
fn at_once(count: usize, each: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    each(number);
                }
            });
        }
    });
}

fn running(containerd: &ContainerdOfShims) -> BTreeMap<String, i32> {
    let list = containerd.ctr(&["task", "ls"]).succeeds().stdout;
    let words = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let runs = words.filter(|it| it.get(2) == Some(&"RUNNING"));
    runs.map(|it| (it[0].to_owned(), it[1].parse().expect("a pid"))).collect()
}

fn socket_of(containerd: &ContainerdOfShims, id: &str) -> PathBuf {
    let address = fs::read_to_string(containerd.bundle(id).join("address")).expect("an address");
    PathBuf::from(address.trim_start_matches("unix://"))
}

fn end(containerd: &ContainerdOfShims, id: &str) {
    let _ = containerd.ctr(&["task", "delete", "-f", id]);
    containerd.ctr(&["containers", "rm", id]).succeeds();
}

/// SHIM-STORM-01: two hundred containers run at once, each with its shim; all are ended, and nothing is left.
#[test]
fn two_hundred_at_once() {
    if !requires(!shim_is_peer(), "memory for two hundred of the peer's") {
        return;
    }
    let containerd = ContainerdOfShims::start();
    let mark = format!("many{}x", std::process::id());
    let id = |number: usize| format!("{mark}{number:03}");
    at_once(MANY, |number| {
        containerd.run(&["-d"], &id(number), &["/bin/sleep", "100000"]).succeeds();
    });
    let tasks = running(&containerd);
    assert_eq!(tasks.len(), MANY);
    assert_eq!(containerd.shims().len(), MANY);
    let sockets: Vec<_> = (0..MANY).map(|it| socket_of(&containerd, &id(it))).collect();
    at_once(MANY, |number| end(&containerd, &id(number)));
    eventually("nothing is left", || containerd.left_of(&mark, &sockets).is_empty().then_some(()));
    let alive = tasks.values().filter(|pid| fs::exists(format!("/proc/{pid}/ns")).unwrap_or(false));
    assert_eq!(alive.count(), 0);
}

/// SHIM-STORM-02: shims are killed at random while containerd runs, while it is killed and while there is none: those
/// containers end with all they had, the others run on as the same processes and are ended as ever.
#[test]
fn killed_at_random() {
    if !requires(
        !shim_is_peer(),
        "the peer's containers outlive a shim that is killed without containerd",
    ) {
        return;
    }
    let mut containerd = ContainerdOfShims::start();
    let mark = format!("storm{}x", std::process::id());
    let id = |number: usize| format!("{mark}{number:03}");
    at_once(SOME, |number| {
        containerd.run(&["-d"], &id(number), &["/bin/sleep", "100000"]).succeeds();
    });
    let mut expected = running(&containerd);
    assert_eq!(expected.len(), SOME);
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    for round in 0..ROUNDS {
        let mut victims = Vec::new();
        for _ in 0..3 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % expected.len();
            let (id, pid) =
                expected.iter().nth(at).map(|(id, pid)| (id.clone(), *pid)).expect("one");
            expected.remove(&id);
            victims.push((id.clone(), pid, socket_of(&containerd, &id), shim_of(&containerd, &id)));
        }
        let kill = || {
            for (.., shim) in &victims {
                kill_process(Pid::from_raw(*shim).expect("a pid"), Signal::KILL).expect("a signal");
            }
        };
        match round % 3 {
            0 => kill(),
            1 => {
                kill();
                containerd.restart();
            }
            _ => containerd.restart_after(kill),
        }
        for (id, pid, socket, _) in victims {
            eventually("the process ends with its shim", || {
                (!fs::exists(format!("/proc/{pid}/ns")).unwrap_or(true)).then_some(())
            });
            let left = || containerd.left_of(&id, std::slice::from_ref(&socket));
            eventually("nothing is left", || left().is_empty().then_some(()));
        }
        eventually("the others run on", || (running(&containerd) == expected).then_some(()));
    }
    at_once(SOME, |number| end(&containerd, &id(number)));
    eventually("nothing is left", || containerd.left_of(&mark, &[]).is_empty().then_some(()));
}

/// The shim of a container, by its command line.
fn shim_of(containerd: &ContainerdOfShims, id: &str) -> i32 {
    let is = |pid: &i32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.contains(&format!("\0-id\0{id}\0"))
    };
    containerd.shims().into_iter().find(is).expect("a shim")
}
