//! The system calls of a container: what Docker's default profile allows, from a table of our own.
//! Everything else fails with `EPERM`; `clone3` with `ENOSYS`, because its flags cannot be looked
//! into and programs then fall back to `clone`.

use serde_json::{Value, json};

/// The table: calls for all, for an architecture, and with a capability.
const TABLE: &str = include_str!("seccomp.json");
/// The address family of virtual machine sockets, which no container needs.
const AF_VSOCK: u64 = 40;
/// The flags of clone(2) that make namespaces, except for cgroups.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// The personalities that a container may take: Linux, the old layout without randomisation, both
/// for 32 bits, and the question which one is set.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const ENOSYS: u32 = 38;

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn allow(names: &[&str]) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW" })
}

fn allow_if(name: &str, value: u64, operator: &str) -> Value {
    json!({
        "names": [name],
        "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": value, "op": operator }],
    })
}

/// The profile for a container with `capabilities` on the processor `architecture`, which is named
/// as Rust names it. Nothing for a processor that the table does not know: a profile for the wrong
/// one would let nothing run.
pub(super) fn profile(capabilities: &[String], architecture: &str) -> Option<Value> {
    // The table is part of the program; a test reads it.
    let table: Value = serde_json::from_str(TABLE).ok()?;
    let native = table["architectures"].get(architecture)?;
    let mut calls = vec![allow(&names(&table["always"]))];
    calls.push(allow_if("socket", AF_VSOCK, "SCMP_CMP_NE"));
    let personality = |value: &u64| allow_if("personality", *value, "SCMP_CMP_EQ");
    calls.extend(PERSONALITIES.iter().map(personality));
    calls.push(allow(&names(&native["names"])));
    let by_capability = table["capabilities"].as_object().into_iter().flatten();
    for (capability, list) in by_capability {
        if capabilities.contains(capability) {
            calls.push(allow(&names(list)));
        }
    }
    if !capabilities.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        calls.push(allow_if("clone", CLONE_NAMESPACES, "SCMP_CMP_MASKED_EQ"));
        calls.push(json!({
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ENOSYS,
        }));
    }
    Some(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": native["seccomp"],
        "syscalls": calls,
    }))
}
