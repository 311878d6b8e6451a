//! Our programs against those that runc and libseccomp really load: a container is started by runc,
//! its filter is read back from the kernel with ptrace(2), and both programs are asked about every
//! number, every ABI and the values around each compared argument.
//!
//! Needs root and Debian's runc and busybox-static; profiles come from `tests/captures`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failing test panics"
)]

#[path = "sys/tracer.rs"]
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keel::config::field::{Field, Findings};
use keel::config::json::Json;
use keel::config::seccomp::{Architecture, Operator, Seccomp};
use keel::seccomp::simulate::{ByteOrder, Call, run};
use keel::seccomp::{compile, number};
use serde_json::{Value, json};

/// What libseccomp 2.5.4 knows ends with `futex_waitv`; runc skips newer names, so that the profile
/// we compare with must not hold them.
const LIBSECCOMP_NUMBER_MAX: u32 = 449;

/// Newer in spite of its number.
const URETPROBE: u32 = 335;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;

/// A container of runc, gone when dropped.
struct Container {
    root: PathBuf,
    id: String,
}

impl Container {
    fn start(name: &str, profile: &Value) -> Self {
        let id = format!("keel-seccomp-{name}-{}", std::process::id());
        let root = std::env::temp_dir().join(&id);
        let bin = root.join("bundle/rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
        let bundle = root.join("bundle");
        let container = Self { root, id };
        container.runc(&["spec", "-b", bundle.to_str().unwrap()]);
        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["args"] = json!(["/bin/busybox", "sleep", "60"]);
        config["process"]["terminal"] = json!(false);
        config["linux"]["seccomp"] = profile.clone();
        fs::write(&path, config.to_string()).unwrap();
        container.runc(&["run", "-d", "-b", bundle.to_str().unwrap(), &container.id]);
        container
    }

    fn command(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.root.join("state"));
        command
    }

    fn runc(&self, args: &[&str]) -> String {
        // Standard error goes to a file: the container inherits it, and a pipe would never end.
        let errors = self.root.join("errors");
        let output = self
            .command()
            .args(args)
            .stdin(std::process::Stdio::null())
            .stderr(fs::File::create(&errors).unwrap())
            .stdout(fs::File::create(self.root.join("output")).unwrap())
            .status()
            .expect("runc is installed");
        let text = fs::read_to_string(&errors).unwrap();
        assert!(output.success(), "runc {args:?}: {text}");
        fs::read_to_string(self.root.join("output")).unwrap()
    }

    fn pid(&self) -> i32 {
        let state: Value = serde_json::from_str(&self.runc(&["state", &self.id])).unwrap();
        i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.command().args(["delete", "--force", &self.id]).status();
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn read(profile: &Value) -> Seccomp {
    let findings = Findings::default();
    let read = Seccomp::read(&Field::root(&Json::from(profile), &findings)).expect("a profile");
    assert_eq!(findings.into_parts().0, []);
    read
}

/// Argument vectors that stand around every value the profile compares with.
fn argument_vectors(profile: &Seccomp) -> Vec<[u64; 6]> {
    let mut vectors = vec![[0; 6], [u64::MAX; 6], [1; 6], [1 << 32; 6]];
    for arg in profile.syscalls.iter().flat_map(|rule| &rule.args) {
        let value = if arg.op == Operator::MaskedEqual { arg.value_two } else { arg.value };
        let around = [value, value.wrapping_sub(1), value.wrapping_add(1), value ^ 1 << 32]
            .into_iter()
            .chain([!value, value | 1 << 63, arg.value, !arg.value, value | !arg.value]);
        for value in around {
            for base in [0, 1, u64::MAX] {
                let mut vector = [base; 6];
                vector[usize::from(arg.index)] = value;
                vectors.push(vector);
            }
        }
    }
    for call in 0..26 {
        vectors.push([call, 1, 2, 3, 4, 5]);
    }
    vectors.sort_unstable();
    vectors.dedup();
    vectors
}

fn compare(name: &str, mut profile: Value) {
    for rule in profile["syscalls"].as_array_mut().into_iter().flatten() {
        rule["names"].as_array_mut().unwrap().retain(|name| {
            number(name.as_str().unwrap(), Architecture::X86_64, Architecture::X86_64)
                .is_none_or(|number| number <= LIBSECCOMP_NUMBER_MAX && number != URETPROBE)
        });
    }
    profile["syscalls"].as_array_mut().unwrap().retain(|rule| rule["names"] != json!([]));
    let container = Container::start(name, &profile);
    let theirs = tracer::loaded_filter(container.pid());
    drop(container);
    let checked = read(&profile);
    let ours = compile(&checked, Architecture::X86_64).unwrap().program;
    println!("{name}: {} instructions, runc has {}", ours.len(), theirs.len());
    let mut numbers: Vec<u32> = (0..600).chain(0x4000_0000..0x4000_0300).collect();
    numbers.extend([0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xbfff_ffff]);
    numbers.extend([0xc000_0000, 0xffff_fffe, 0xffff_ffff]);
    let vectors = argument_vectors(&checked);
    let mut differences = Vec::new();
    for arch in [X86_64, X86, AARCH64, 0] {
        for number in &numbers {
            for args in &vectors {
                let call = Call { number: *number, arch, args: *args };
                let own = run(&ours, &call, ByteOrder::Little);
                let their = run(&theirs, &call, ByteOrder::Little);
                if own != their || own.is_none() {
                    differences.push(format!("{call:x?}: {own:x?}, runc {their:x?}"));
                    break;
                }
            }
        }
    }
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{name}: {} differences\n{shown}", differences.len());
}

fn captured(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(file);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let config: Value = serde_json::from_slice(&text).unwrap();
    config["linux"]["seccomp"].clone()
}

/// Docker's profile without `names`, and with `rules` in front.
fn docker_but(names: &[&str], rules: &Value) -> Value {
    let mut profile = captured("docker28.5-default-config.json");
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        rule["names"]
            .as_array_mut()
            .unwrap()
            .retain(|name| !names.contains(&name.as_str().unwrap()));
    }
    let mut all = rules.as_array().unwrap().clone();
    all.append(profile["syscalls"].as_array_mut().unwrap());
    profile["syscalls"] = Value::Array(all);
    profile
}

#[test]
fn agrees_with_runc_on_docker_28() {
    compare("docker28", captured("docker28.5-default-config.json"));
}

#[test]
fn agrees_with_runc_on_docker_20() {
    compare("docker20", captured("docker20.10-default-config.json"));
}

#[test]
fn agrees_with_runc_on_podman() {
    compare("podman", captured("podman4.3-default-config.json"));
}

#[test]
fn agrees_with_runc_on_containerd() {
    compare("containerd", captured("containerd1.6-cri-sandbox-config.json"));
}

#[test]
fn agrees_with_runc_without_other_architectures() {
    let mut profile = captured("docker28.5-default-config.json");
    profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    compare("native", profile.clone());
    profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]);
    compare("x86", profile);
}

#[test]
fn agrees_with_runc_where_the_default_allows() {
    let rules = json!([
        {"names": ["add_key", "keyctl", "socketpair", "semop"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["acct"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["msgget"], "action": "SCMP_ACT_TRAP"},
        {"names": ["msgctl"], "action": "SCMP_ACT_TRACE", "errnoRet": 77},
        {"names": ["reboot"], "action": "SCMP_ACT_LOG"},
        {"names": ["swapon"], "action": "SCMP_ACT_KILL"},
        {"names": ["close"], "action": "SCMP_ACT_ALLOW"},
    ]);
    for architectures in [json!([]), json!(["SCMP_ARCH_X86"]), json!(["SCMP_ARCH_X32"])] {
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
            "syscalls": rules});
        compare("allow", profile);
    }
}

#[test]
fn agrees_with_runc_on_every_operator() {
    let condition = |op: &str, value: u64, two: u64| json!([{"index": 1, "value": value, "valueTwo": two, "op": op}]);
    let names = ["add_key", "keyctl", "msgget", "msgctl", "acct", "reboot", "swapon", "swapoff"];
    for (at, value) in [5, 0x1_0000_0005, u64::MAX - 1, 1 << 63, 0xffff_ffff, 0].iter().enumerate()
    {
        let mut rules: Vec<Value> = ["EQ", "NE", "LT", "LE", "GT", "GE"]
            .iter()
            .zip(names)
            .map(|(op, name)| {
                let op = format!("SCMP_CMP_{op}");
                json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": condition(&op, *value, 0)})
            })
            .collect();
        for (name, mask, two) in
            [("swapon", *value, 5), ("swapoff", !*value, 0xff_0000_00f0_u64), ("acct", 0, 7)]
        {
            rules.push(json!({"names": [name], "action": "SCMP_ACT_ALLOW",
                "args": condition("SCMP_CMP_MASKED_EQ", mask, two)}));
        }
        compare(&format!("operators{at}"), docker_but(&names, &Value::Array(rules)));
    }
}

#[test]
fn agrees_with_runc_on_joined_rules() {
    let names =
        ["add_key", "keyctl", "acct", "reboot", "semop", "ipc", "bind", "socket", "socketcall"];
    let eq = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let ge = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_GE"});
    let le = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_LE"});
    let rules = json!([
        // All conditions of a rule must hold.
        {"names": ["add_key"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 1), eq(2, 1 << 40)]},
        {"names": ["add_key"], "action": "SCMP_ACT_ALLOW", "args": [ge(5, 9)]},
        // Two on one argument: each alone suffices.
        {"names": ["keyctl"], "action": "SCMP_ACT_ALLOW", "args": [le(0, 3), ge(0, 9), eq(1, 5)]},
        // A rule without conditions wins, before or after.
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7, "args": [eq(0, 1)]},
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 8},
        {"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9},
        {"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 1)]},
        // Multiplexed on x86.
        {"names": ["semop"], "action": "SCMP_ACT_ALLOW", "args": [eq(0, 9)]},
        {"names": ["bind"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}, eq(1, 3)]},
    ]);
    compare("joined", docker_but(&names, &rules));
}
