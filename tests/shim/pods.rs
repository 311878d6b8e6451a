//! Pods: containerd's CRI as a kubelet calls it, with the shim below it. Each test runs for both ways of making a
//! sandbox: containerd's pause container, and the shim's own where containerd is new enough to ask for it.

use std::fs;

use keel_tests::message::Message;
use keel_tests::{Kubelet, Pod, eventually, requires, sandbox_bundles};
use rustix::process::{Pid, Signal, kill_process};

/// A `LinuxContainerConfig` with resources and a security context.
fn linux(resources: Message, security: Message) -> Message {
    Message::new().message(15, Message::new().message(1, resources).message(2, security))
}

/// A `LinuxPodSandboxConfig` with these `NamespaceOption`s.
fn namespaces(options: Message) -> Message {
    Message::new().message(2, Message::new().message(1, options))
}

fn sleeper(kubelet: &Kubelet, pod: &Pod, name: &str, more: Message) -> String {
    kubelet.container(pod, name, &["sleep", "100000"], more)
}

/// SHIM-CRI-01: a pod with two containers: statuses, programs in them, logs, ends, removal; one shim looks after it.
#[test]
fn a_pod_lives_its_life() {
    let kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let name = format!("life-{handler}");
        let pod = kubelet.pod(handler, &name, Message::new());
        assert!(kubelet.is_ready(&pod), "{handler}");
        let first = sleeper(&kubelet, &pod, "first", Message::new());
        let script = "echo told; echo failed >&2; exit 7";
        let second = kubelet.container(&pod, "second", &["sh", "-c", script], Message::new());
        eventually("one shim is the pod's", || (kubelet.shims().len() == 1).then_some(()));
        assert_eq!(kubelet.status(&first).number(3), 1, "it runs");
        let ended = kubelet.ended(&second);
        assert_eq!((ended.number(7), ended.text(10)), (7, "Error".to_owned()), "{handler}");
        let lines = eventually("the log", || {
            let lines = kubelet.log(&name, "second");
            (lines.len() == 2).then_some(lines)
        });
        assert!(lines.contains(&("stdout".to_owned(), "told".to_owned())), "{lines:?}");
        assert!(lines.contains(&("stderr".to_owned(), "failed".to_owned())), "{lines:?}");
        let (said, errors, status) =
            kubelet.exec(&first, &["sh", "-c", "hostname; echo e >&2; exit 3"]);
        assert_eq!(
            (said.as_str(), errors.as_str(), status),
            (format!("{name}-host\n").as_str(), "e\n", 3),
            "{handler}"
        );
        let stop = Message::new().bytes(1, &first).number(2, 1);
        kubelet.call("StopContainer", stop).expect("stopped");
        // It is not the first process of its pid namespace, which is the pod's: the first signal ends it.
        assert_eq!(kubelet.ended(&first).number(7), 143, "{handler}");
        kubelet.call("RemoveContainer", Message::new().bytes(1, &first)).expect("removed");
        kubelet.call("StopPodSandbox", Message::new().bytes(1, &pod.id)).expect("stopped");
        assert!(!kubelet.is_ready(&pod), "{handler}");
        kubelet.remove(&pod);
        eventually("the shim has gone", || kubelet.shims().is_empty().then_some(()));
    }
}

/// SHIM-CRI-02: programs begun over a stream, with and without a terminal; attaching; forwarded ports.
#[test]
fn streams_reach_into_a_pod() {
    let kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let pod = kubelet.pod(handler, "streams", Message::new());
        let shell = Message::new().number(12, 1);
        let cat = kubelet.container(&pod, "cat", &["cat"], shell);
        let exec = |tty: u64, script: &str| {
            let mut request =
                Message::new().bytes(1, &cat).number(3, tty).number(4, 1).number(5, 1);
            for word in ["sh", "-c", script] {
                request = request.bytes(2, word);
            }
            kubelet.stream("Exec", request.number(6, 1 - tty), "")
        };
        let mut plain = exec(0, "read line; echo got $line; echo oh >&2");
        plain.send(0, b"typed\n");
        assert_eq!(plain.receive_until(1, "typed\n"), "got typed\n", "{handler}");
        // The size comes on another way than what is typed.
        let script =
            "tty; read line; until stty size 2>/dev/null | grep '33 90'; do sleep 0.1; done";
        let mut terminal = exec(1, script);
        terminal.send(4, b"{\"Width\":90,\"Height\":33}");
        let said = terminal.receive_until(1, "\n");
        assert!(said.starts_with("/dev/pts/"), "{handler}: {said:?}");
        terminal.send(0, b"\n");
        let said = terminal.receive_until(1, "33 90");
        assert!(said.contains("33 90"), "{handler}: {said:?}");
        let attach = Message::new().bytes(1, &cat).number(2, 1).number(4, 1).number(5, 1);
        let mut attached = kubelet.stream("Attach", attach, "");
        attached.send(0, b"to the container\n");
        assert_eq!(attached.receive_until(1, "container\n"), "to the container\n", "{handler}");
        let server = ["sh", "-c", "while :; do echo served | nc -l -p 8080; done"];
        let server = kubelet.container(&pod, "server", &server, Message::new());
        eventually("it listens", || {
            kubelet.exec(&server, &["netstat", "-ltn"]).0.contains(":8080").then_some(())
        });
        let forward = Message::new().bytes(1, &pod.id).number(2, 8080);
        let mut port = kubelet.stream("PortForward", forward, "?port=8080");
        // Each channel begins with the port's number, on two bytes.
        assert!(port.receive_until(0, "served").ends_with("served\n"), "{handler}");
        drop((plain, terminal, attached, port));
        kubelet.remove(&pod);
    }
}

/// SHIM-CRI-03: namespaces that are shared and not, name resolution, and what a security context forbids.
#[test]
fn a_pod_shares_what_it_is_told_to() {
    let kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let pod = kubelet.pod(handler, "shared", namespaces(Message::new()));
        let options = |pid: u64| Message::new().message(3, Message::new().number(2, pid));
        let first = sleeper(&kubelet, &pod, "first", linux(Message::new(), options(0)));
        let strict = options(0)
            .message(1, Message::new().bytes(2, "ALL"))
            .message(5, Message::new().number(1, 1000))
            .number(7, 1)
            .number(11, 1)
            .message(15, Message::new().number(1, 0));
        let second = sleeper(&kubelet, &pod, "second", linux(Message::new(), strict));
        let alone = sleeper(&kubelet, &pod, "alone", linux(Message::new(), options(1)));
        let of = |container: &str, script: &str| kubelet.exec(container, &["sh", "-c", script]).0;
        assert_eq!(
            of(&second, "ps -o args | grep -c 'sleep 10[0]'").trim().parse(),
            Ok(sleeps(handler)),
            "{handler}"
        );
        assert_eq!(of(&alone, "ps -o args | grep -c 'sleep 10[0]'").trim(), "1", "{handler}");
        for kind in ["net", "ipc", "uts"] {
            let link = format!("readlink /proc/self/ns/{kind}");
            assert_eq!(of(&first, &link), of(&second, &link), "{handler}: {kind}");
        }
        of(&first, "echo seen > /dev/shm/file");
        assert_eq!(of(&alone, "cat /dev/shm/file"), "seen\n", "{handler}");
        let names = of(&alone, "cat /etc/resolv.conf /etc/hostname");
        assert_eq!(
            names, "search cluster.example\nnameserver 192.0.2.53\nshared-host\n",
            "{handler}"
        );
        assert!(of(&alone, "cat /etc/hosts").contains("localhost"), "{handler}");
        let status = of(&second, "grep -E 'CapBnd|Seccomp:|NoNewPrivs|Uid' /proc/self/status");
        let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = "Uid: 1000 1000 1000 1000 CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2";
        assert_eq!(status, expected, "{handler}");
        assert_eq!(of(&second, "touch /x 2>&1; echo $?").lines().last(), Some("1"), "{handler}");
        kubelet.remove(&pod);
    }
}

/// The sleeping processes of the pod above: containerd's pause image here is one as well.
fn sleeps(handler: &str) -> u32 {
    if handler == "pods" { 3 } else { 2 }
}

/// SHIM-CRI-04: want of memory is the reason of an end, limits can be changed, and use is counted.
#[test]
fn a_pod_is_counted_and_bounded() {
    let kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let pod = kubelet.pod(handler, "bounded", Message::new());
        let bound = |bytes: u64| Message::new().number(4, bytes);
        let script = "x=abcdefgh; while :; do x=$x$x; done";
        let small = linux(bound(16 << 20), Message::new());
        let hungry = kubelet.container(&pod, "hungry", &["sh", "-c", script], small);
        let ended = kubelet.ended(&hungry);
        assert_eq!((ended.number(7), ended.text(10)), (137, "OOMKilled".to_owned()), "{handler}");
        let quiet = sleeper(&kubelet, &pod, "quiet", linux(bound(64 << 20), Message::new()));
        let update = Message::new().bytes(1, &quiet).message(2, bound(32 << 20));
        kubelet.call("UpdateContainerResources", update).expect("updated");
        let limit =
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
        let seen = kubelet.exec(&quiet, &["sh", "-c", limit]).0;
        assert_eq!(seen.trim(), (32 << 20).to_string(), "{handler}");
        let stats = kubelet.call("ContainerStats", Message::new().bytes(1, &quiet)).expect("stats");
        let stats = stats.message(1);
        assert!(stats.message(2).message(2).number(1) > 0, "{handler}: processor");
        assert!(stats.message(3).message(2).number(1) > 0, "{handler}: memory");
        kubelet.remove(&pod);
    }
}

/// SHIM-CRI-05: pods outlive containerd, and are looked after as before when it is back.
#[test]
fn pods_outlive_containerd() {
    let mut kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let pod = kubelet.pod(handler, "outlives", Message::new());
        let container = sleeper(&kubelet, &pod, "one", Message::new());
        kubelet.containerd().restart();
        eventually("CRI is back", || kubelet.call("Status", Message::new()).ok());
        assert!(kubelet.is_ready(&pod), "{handler}");
        assert_eq!(kubelet.exec(&container, &["echo", "here"]).0, "here\n", "{handler}");
        let next = kubelet.container(&pod, "two", &["sh", "-c", "exit 5"], Message::new());
        assert_eq!(kubelet.ended(&next).number(7), 5, "{handler}");
        kubelet.remove(&pod);
    }
}

/// SHIM-CRI-06: when its shim is killed a pod is not ready, its containers end, and all of it can be removed.
#[test]
fn a_pod_whose_shim_is_killed() {
    let kubelet = Kubelet::start();
    for handler in kubelet.handlers() {
        let pod = kubelet.pod(handler, "killed", Message::new());
        let container = sleeper(&kubelet, &pod, "one", Message::new());
        for pid in kubelet.shims() {
            kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("a signal");
        }
        kubelet.ended(&container);
        let not_ready = || (kubelet.asks_whether_ready(&pod) == Ok(false)).then_some(());
        eventually("the pod is not ready", not_ready);
        // As a kubelet does: containerd may not have seen yet that the shim has gone.
        let stop = || kubelet.call("StopPodSandbox", Message::new().bytes(1, &pod.id)).ok();
        eventually("the pod is stopped", stop);
        let remove = || kubelet.call("RemovePodSandbox", Message::new().bytes(1, &pod.id)).ok();
        eventually("the pod is removed", remove);
    }
}

/// SHIM-CRI-07: with the sandboxer a pod has no container but its own, and its sandbox no rights and nothing to write on.
#[test]
fn the_shim_makes_the_sandbox() {
    let mut kubelet = Kubelet::start();
    if !requires(kubelet.has_sandboxer(), "containerd before 2.0 does not ask shims for sandboxes")
    {
        return;
    }
    let pod = kubelet.pod("sandboxer", "made", Message::new());
    let sandboxes = sandbox_bundles(kubelet.containerd().folder());
    let bundle = sandboxes.join(&pod.id);
    let pid = fs::read_to_string(bundle.join("init.pid")).expect("a pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let has = |line: &str| {
        status.lines().any(|it| it.split_whitespace().collect::<Vec<_>>().join(" ") == line)
    };
    for line in ["CapBnd: 0000000000000000", "NoNewPrivs: 1", "Uid: 65535 65535 65535 65535"] {
        assert!(has(line), "{line}: {status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mounts");
    let program = mounts.lines().find(|line| line.contains(" /pause ")).expect("a mount");
    assert!(program.contains(" ro,nosuid,nodev"), "{program}");
    let ctr = ["-n", "k8s.io", "containers", "ls", "-q"];
    assert_eq!(kubelet.containerd().ctr(&ctr, None).succeeds().stdout, "", "no pause container");
    // Orphans of the pod's containers are reaped by it.
    let one = sleeper(
        &kubelet,
        &pod,
        "one",
        linux(Message::new(), Message::new().message(3, Message::new())),
    );
    kubelet.exec(&one, &["sh", "-c", "(sleep 0.1 &)"]);
    eventually("no zombie is left", || {
        let list = kubelet.exec(&one, &["ps", "-o", "stat,args"]).0;
        (!list.contains("sleep 0.1") && !list.contains("Z ")).then_some(())
    });
    kubelet.remove(&pod);
    assert!(!bundle.exists(), "nothing of the sandbox is left");
}

/// SHIM-CRI-08: a pod with a user namespace has its root's ids on the host; its root, its layers and what its pod
/// shares are seen by them.
#[test]
fn a_pod_has_users_of_its_own() {
    let kubelet = Kubelet::start();
    if !requires(kubelet.version() >= (2, 0), "containerd 1.6 knows no user namespaces of pods") {
        return;
    }
    for handler in kubelet.handlers() {
        let mapping = || Message::new().number(1, 200_000).number(3, 65_536);
        let options = || {
            Message::new().message(5, Message::new().message(2, mapping()).message(3, mapping()))
        };
        let pod = kubelet.pod(handler, "users", namespaces(options()));
        let security = Message::new().message(3, options());
        let one = sleeper(&kubelet, &pod, "one", linux(Message::new(), security));
        let of = |script: &str| kubelet.exec(&one, &["sh", "-c", script]);
        assert_eq!(
            of("id -u; cat /proc/self/uid_map").0.split_whitespace().collect::<Vec<_>>(),
            ["0", "0", "200000", "65536"],
            "{handler}"
        );
        let script = "touch /dev/shm/x /x && chown 7:7 /dev/shm/x /x && cat /etc/resolv.conf";
        let (said, errors, status) = of(script);
        assert_eq!((errors.as_str(), status), ("", 0), "{handler}");
        assert!(said.contains("192.0.2.53"), "{handler}: {said}");
        kubelet.remove(&pod);
    }
}

/// SHIM-CRI-09: a pod may have the host's namespaces, kernel parameters of its own, and a container that sees another's
/// processes alone.
#[test]
fn a_pod_shares_with_the_host() {
    let kubelet = Kubelet::start();
    let link =
        |kind: &str, pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a link");
    for handler in kubelet.handlers() {
        // Before 2.3 containerd ends by a fault of its own where a shim is to make a sandbox on the host's network.
        let network = if handler == "sandboxer" && kubelet.version() < (2, 3) { 0 } else { 2 };
        let options = || Message::new().number(1, network).number(2, 2).number(3, 2);
        let privileged = Message::new().message(1, options()).number(6, 1);
        let pod = kubelet.pod_called(handler, "host", "", Message::new().message(2, privileged));
        let security = Message::new().number(2, 1).message(3, options());
        let one = sleeper(&kubelet, &pod, "one", linux(Message::new(), security));
        let of = |id: &str, script: &str| kubelet.exec(id, &["sh", "-c", script]).0;
        let containerd = kubelet.pid().to_string();
        let of_network = [("net", containerd.as_str()), ("uts", "self")];
        let others = [("ipc", "self"), ("pid", "self")];
        let kinds = others.into_iter().chain(of_network.into_iter().filter(|_| network == 2));
        for (kind, whose) in kinds {
            let seen = of(&one, &format!("readlink /proc/self/ns/{kind}"));
            assert_eq!(seen.trim(), link(kind, whose).to_string_lossy(), "{handler}: {kind}");
        }
        assert!(of(&one, "cat /proc/1/comm").trim() != "sleep", "{handler}: the host's processes");
        let mounts = of(&one, "grep ' /dev/shm ' /proc/self/mountinfo");
        assert!(!mounts.contains("keel-sandbox"), "{handler}: the host's memory: {mounts}");
        kubelet.remove(&pod);

        let sysctl = Message::new().bytes(1, "net.ipv4.ip_default_ttl").bytes(2, "77");
        let pod = kubelet.pod(handler, "own", Message::new().message(3, sysctl));
        let own = || linux(Message::new(), Message::new().message(3, Message::new().number(2, 1)));
        let one = sleeper(&kubelet, &pod, "one", own());
        assert_eq!(of(&one, "cat /proc/sys/net/ipv4/ip_default_ttl"), "77\n", "{handler}");
        let target = Message::new().number(2, 3).bytes(4, &one);
        let two = linux(Message::new(), Message::new().message(3, target));
        let two = kubelet.container(&pod, "two", &["sleep", "200000"], two);
        assert!(
            of(&two, "ps -o args").contains("sleep 100000"),
            "{handler}: the target's processes"
        );
        kubelet.remove(&pod);
    }
}
