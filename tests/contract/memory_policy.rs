//! `linux.memoryPolicy`: from which memory nodes the program gets its memory.

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// A container whose program shows the policy of its first mapping.
fn container(policy: Value) -> Container {
    Container::new(|config| {
        config["linux"]["memoryPolicy"] = policy;
        config["process"]["args"] =
            json!(["sh", "-c", "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2"]);
    })
}

fn applies(container: &Container) -> bool {
    let known = !container.runtime().is("runc") && !container.runtime().is("crun");
    requires(known, "the packaged runc and crun are older than memoryPolicy")
}

/// RT-MPOL-01: the policy of the configuration holds for the program, with its flags.
#[test]
fn sets_the_policy() {
    for (policy, shown) in [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), "bind:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0", "flags": []}), "prefer (many):0"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            "bind=static:0",
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            "bind=balancing:0",
        ),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), "weighted interleave:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": ""}), "default"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": ""}), "local"),
    ] {
        let text = policy.to_string();
        let container = container(policy);
        if !applies(&container) {
            return;
        }
        let seen = container.run().succeeds().stdout;
        // The words of a policy's name are separated by a blank or an underscore, by kernel.
        let first = shown.split(' ').next().unwrap_or(shown);
        let same = if shown.contains(' ') { seen.starts_with(first) } else { seen.trim() == shown };
        assert!(same, "{text}: {seen:?} and not {shown:?}");
    }
}

/// RT-MPOL-02: a process of `exec` has the container's policy.
#[test]
fn holds_for_exec() {
    let container = Container::sleeping(|config| {
        config["linux"]["memoryPolicy"] =
            json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]});
    });
    if !applies(&container) {
        return;
    }
    container.up();
    let seen = container.exec(&["head", "-n", "1", "/proc/self/numa_maps"]).succeeds().stdout;
    assert!(seen.contains("prefer=relative:0"), "{seen}");
}

/// RT-MPOL-03: a mode, flag or list of nodes that cannot be is refused by its field; modes without nodes
/// take none, others need one.
#[test]
fn refuses_what_cannot_be() {
    for (policy, field) in [
        (json!({}), "memoryPolicy.mode"),
        (json!({"nodes": "0-7"}), "memoryPolicy.mode"),
        (json!({"mode": "INTERLEAVE", "nodes": "0"}), "memoryPolicy.mode"),
        (json!({"mode": "MPOL_PREFERRED", "flags": ["badflag"]}), "memoryPolicy.flags[0]"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "memoryPolicy.nodes"),
        (json!({"mode": "MPOL_INTERLEAVE"}), "memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "many"}), "memoryPolicy.nodes"),
        // What only the kernel can tell: two flags that exclude each other, a node that is not there.
        (
            json!({"mode": "MPOL_PREFERRED", "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
            "memoryPolicy",
        ),
        (json!({"mode": "MPOL_BIND", "nodes": "1023"}), "memoryPolicy"),
    ] {
        let container = container(policy);
        if !applies(&container) {
            return;
        }
        container.create().fails_naming(&[field]);
        container.assert_nothing_left();
    }
}
