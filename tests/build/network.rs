//! The network of RUN. Each test has a host of its own, which is a network namespace, and beside it one more that is
//! the outside: from there no way leads to the addresses of commands but that of the host.

use std::fs;
use std::process::{Child, Command, Stdio};

use keel_tests::{ImageStore, Outcome, eventually, program, within_a_while};

/// A host with an outside, in which a server says `outside`.
struct Host {
    name: String,
    server: Option<Child>,
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Host {
    fn new(store: &ImageStore) -> Self {
        let name = store.name().to_owned();
        let mut host = Self { name, server: None };
        let (own, outside) = (host.name.clone(), host.outside());
        ip(&format!("netns add {own}"));
        ip(&format!("netns add {outside}"));
        ip(&format!("-n {own} link add eth0 type veth peer name eth0 netns {outside}"));
        for (namespace, address) in [(&own, "198.51.100.1"), (&outside, "198.51.100.2")] {
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"));
            ip(&format!("-n {namespace} link set dev eth0 up"));
            ip(&format!("-n {namespace} link set dev lo up"));
        }
        let folder = store.beside("served");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("word"), "outside\n").expect("a file");
        let mut server = host.enter(&outside);
        server.args(["busybox", "httpd", "-f", "-p", "198.51.100.2:80", "-h"]).arg(folder);
        host.server = Some(server.stdin(Stdio::null()).spawn().expect("a server"));
        eventually("the server listens", || {
            let mut look = host.enter(&outside);
            look.args(["busybox", "wget", "-q", "-O", "/dev/null", "http://198.51.100.2/word"]);
            look.stderr(Stdio::null());
            look.status().is_ok_and(|status| status.success()).then_some(())
        });
        host
    }

    fn outside(&self) -> String {
        format!("{}-out", self.name)
    }

    fn enter(&self, namespace: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}"));
        command
    }

    /// A build on this host; after these words of a shell, if any, in a mount namespace of its own.
    fn command(&self, store: &ImageStore, first: &str, flags: &[&str]) -> Command {
        let mut command = self.enter(&self.name);
        if !first.is_empty() {
            let build = format!("{first} exec \"$@\"");
            command.args(["unshare", "-m", "sh", "-ec", &build, "sh"]);
        }
        command.arg(program("keel-image"));
        command.arg("--root").arg(store.path()).args(["build", "--progress=plain"]).args(flags);
        command.arg("context").current_dir(store.beside("."));
        command
    }

    fn build(&self, store: &ImageStore, flags: &[&str]) -> Outcome {
        store.finish(self.command(store, "", flags))
    }

    /// What a build has made on this host and not taken away.
    #[track_caller]
    fn has_nothing_left(&self) {
        let links = ip(&format!("-n {} -o link show", self.name));
        assert!(!links.contains("keel0"), "{links}");
        let mut rules = self.enter(&self.name);
        let rules = rules.arg("iptables-save").output().expect("iptables-save").stdout;
        let rules = String::from_utf8_lossy(&rules).into_owned();
        assert!(!rules.contains("keel0"), "{rules}");
        assert_eq!(self.namespaces(), Vec::<String>::new());
        let records = format!("/run/keel/build-net-{}", self.inode());
        assert!(!fs::exists(&records).expect("a look"), "{records}");
    }

    /// The namespaces of commands.
    fn namespaces(&self) -> Vec<String> {
        let prefix = format!("keel-build-{}-", self.inode());
        let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&prefix)).collect()
    }

    fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(format!("/run/netns/{}", self.name)).expect("a namespace").ino()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        for namespace in [self.outside(), self.name.clone()] {
            let _ = Command::new("ip").args(["netns", "delete", &namespace]).status();
        }
    }
}

const ASK: &str = "wget -q -O - http://198.51.100.2/word";

/// DF-NET-01: a RUN reaches the outside from an address of its own, by the host's; it can name the host and itself;
/// nothing of that stays in the layer or on the host.
#[test]
fn a_command_reaches_the_outside() {
    let text = format!(
        "FROM busybox:1\nRUN {ASK} > /said && ip -4 -o addr show dev eth0 && cat /etc/hosts\nRUN ls /etc > /etc-has\n"
    );
    let store = ImageStore::with_dockerfile(&text);
    let host = Host::new(&store);
    let said = host.build(&store, &["--add-host=me:host-gateway", "-o", "out"]).succeeds().stderr;
    assert_eq!(fs::read_to_string(store.beside("out/said")).expect("a file"), "outside\n");
    assert!(said.contains("inet 10.117.0.2/24"), "{said}");
    assert!(said.contains("10.117.0.1\tme") && said.contains("10.117.0.2\tbuildsandbox"), "{said}");
    for name in ["hosts", "resolv.conf"] {
        assert!(!store.beside("out/etc").join(name).exists(), "{name}");
    }
    host.has_nothing_left();
}

/// DF-NET-02: with `--network=none` a RUN reaches nothing, with `host` what the host reaches; the instruction wins,
/// and each has a cache of its own.
#[test]
fn a_command_has_the_network_that_is_asked_for() {
    let store =
        ImageStore::with_dockerfile(&format!("FROM busybox:1\nRUN {ASK} || echo nothing\n"));
    let host = Host::new(&store);
    assert!(host.build(&store, &["--network=none"]).succeeds().stderr.contains(" nothing\n"));
    assert!(host.build(&store, &["--network=host"]).succeeds().stderr.contains(" outside\n"));
    assert!(host.build(&store, &[]).succeeds().stderr.contains(" outside\n"));
    assert!(host.build(&store, &["--network=none"]).succeeds().stderr.contains("CACHED"));
    let text = format!("FROM busybox:1\nRUN --network=none {ASK} || echo none\n");
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    assert!(host.build(&store, &["--network=host"]).succeeds().stderr.contains(" none\n"));
    host.has_nothing_left();
}

/// DF-NET-03: commands that run at the same time, of one build or of several, have addresses of their own and do not
/// see each other.
#[test]
fn commands_do_not_share_an_address() {
    let show = "ip -4 -o addr show dev eth0 | sed 's/.*inet /own /'; sleep 2";
    let other =
        "ping -c 1 -W 1 10.117.0.2 >/dev/null && ping -c 1 -W 1 10.117.0.3 >/dev/null && echo seen";
    let text = format!(
        "FROM busybox:1 AS a\nRUN {show}; : a; {other}; touch /a\nFROM busybox:1 AS b\nRUN {show}; : b; {other}; touch /b\n\
         FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    );
    let (one, two) = (ImageStore::with_dockerfile(&text), ImageStore::with_dockerfile(&text));
    let host = Host::new(&one);
    let texts = std::thread::scope(|scope| {
        let other = scope.spawn(|| host.build(&two, &[]).succeeds().stderr);
        [host.build(&one, &[]).succeeds().stderr, other.join().expect("a build")].concat()
    });
    let mut own: Vec<&str> = texts
        .split(" own ")
        .skip(1)
        .filter_map(|t| t.split('/').next())
        .filter(|text| text.starts_with("10."))
        .collect();
    own.sort_unstable();
    assert_eq!(own, ["10.117.0.2", "10.117.0.3", "10.117.0.4", "10.117.0.5"], "{texts}");
    assert!(!texts.contains(" seen\n"), "{texts}");
    host.has_nothing_left();
}

/// DF-NET-04: what a killed build has left the next one takes away, and it has the killed one's address again.
#[test]
fn leftovers_of_a_killed_build_go_with_the_next() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN sleep 1000\n");
    let host = Host::new(&store);
    let mut command = host.command(&store, "", &[]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("a build");
    let runs = within_a_while(|| {
        let namespace = host.namespaces().pop();
        namespace.is_some_and(|name| !ip(&format!("netns pids {name}")).trim().is_empty())
    });
    let namespace = host.namespaces().pop().unwrap_or_default();
    let pids = ip(&format!("netns pids {namespace}"));
    // nsenter has become the build itself.
    child.kill().expect("a signal");
    child.wait().expect("its end");
    for pid in pids.split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).status();
    }
    assert!(runs, "the command did not begin");
    assert_eq!(host.namespaces(), [namespace]);
    let text = "FROM busybox:1\nRUN ip -4 -o addr show dev eth0\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let said = host.build(&store, &[]).succeeds().stderr;
    assert!(said.contains("inet 10.117.0.2/24"), "{said}");
    host.has_nothing_left();
}

/// DF-NET-05: the name servers of a RUN are the host's, without those on the host's loopback; the range of the bridge
/// is one that the host has no route for.
#[test]
fn names_and_ranges_are_those_of_the_host() {
    let store =
        ImageStore::with_dockerfile("FROM busybox:1\nRUN cat /etc/resolv.conf; ip -4 route\n");
    let host = Host::new(&store);
    ip(&format!("-n {} route add 10.0.0.0/8 via 198.51.100.2", host.name));
    let file = store.beside("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.53\nnameserver 198.51.100.2\nsearch far.away\n")
        .expect("a file");
    let first = format!("mount --bind {} /etc/resolv.conf;", file.display());
    let said = store.finish(host.command(&store, &first, &[])).succeeds().stderr;
    assert!(
        said.contains("nameserver 198.51.100.2\n") && said.contains("search far.away\n"),
        "{said}"
    );
    assert!(!said.contains("127.0.0.53"), "{said}");
    assert!(said.contains("default via 172.30.0.1 dev eth0"), "{said}");
    host.has_nothing_left();
}

/// DF-NET-06: nft does where there is no iptables; without both, and without ip, the error says what is missing and
/// what is possible, and nothing is left.
#[test]
fn what_is_missing_is_said() {
    let store = ImageStore::with_dockerfile(&format!("FROM busybox:1\nRUN {ASK}\n"));
    let host = Host::new(&store);
    let empty = store.beside("empty");
    fs::create_dir(&empty).expect("a folder");
    // The system's folders are hidden, but for the programs that are named.
    let hide = |kept: &str| {
        let folder = empty.display();
        format!(
            "for p in {kept}; do cp $(command -v $p) {folder}/$p; done; mount --bind {folder} /usr/sbin; export \
             PATH=/usr/sbin:/usr/bin;"
        )
    };
    let said = store
        .finish(host.command(&store, &hide(""), &[]))
        .fails_naming(&["neither iptables nor nft"]);
    assert!(said.stderr.contains("--network=host"), "{}", said.stderr);
    host.has_nothing_left();
    let nft = store.finish(host.command(&store, &hide("ip nft"), &[])).succeeds().stderr;
    assert!(nft.contains(" outside\n"), "{nft}");
    let mut tables = host.enter(&host.name);
    let tables = tables.args(["nft", "list", "tables"]).output().expect("nft").stdout;
    assert!(!String::from_utf8_lossy(&tables).contains("keel"));
    host.has_nothing_left();
}

/// DF-NET-07: commands of one build that follow one another have the same network, each of its processes gone with
/// it; what a command with all rights does to its network reaches no other.
#[test]
fn a_network_is_used_again_unless_it_may_be_changed() {
    let show = "readlink /proc/self/ns/net; ls /sys/class/net; nc -l -p 99 -s 127.0.0.1 & true";
    let store = ImageStore::with_dockerfile(&format!(
        "FROM busybox:1\nRUN : first; {show}\nRUN : second; {show}\n\
         RUN --security=insecure ip link add odd type dummy; readlink /proc/self/ns/net\nRUN : last; {show}\n"
    ));
    let host = Host::new(&store);
    let said = host.build(&store, &["--allow=security.insecure"]).succeeds().stderr;
    let namespaces: Vec<_> =
        said.split(" net:[").skip(1).filter_map(|s| s.split(']').next()).collect();
    let [first, second, insecure, last] = namespaces[..] else { panic!("{said}") };
    assert_eq!(first, second, "{said}");
    assert_ne!(insecure, last, "{said}");
    assert!(!said.contains(" odd\n"), "{said}");
    assert!(!said.contains("in use"), "{said}");
    host.has_nothing_left();
}
