//! The oci-spec crate as an independent reader: what engines really wrote, it and keel must read the
//! same. Why keel does not use it to read is in `specs/decisions/config-types.md`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use keel::config::linux::NamespaceKind;
use keel::config::process::Process;
use keel::config::spec::Spec;
use oci_spec::runtime as oracle;

fn captures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = files.filter(|path| path.to_string_lossy().contains(kind)).collect();
    assert!(found.len() > 10, "only {} captures of {kind}", found.len());
    found
}

fn same_process(ours: &Process, theirs: &oracle::Process, name: &str) {
    assert_eq!(ours.args, theirs.args().clone().unwrap_or_default(), "{name}: args");
    assert_eq!(ours.env, theirs.env().clone().unwrap_or_default(), "{name}: env");
    assert_eq!(Path::new(&ours.cwd), theirs.cwd(), "{name}: cwd");
    assert_eq!(ours.user.uid, theirs.user().uid(), "{name}: uid");
    assert_eq!(ours.terminal, theirs.terminal().unwrap_or(false), "{name}: terminal");
    let count = |set: Option<&oracle::Capabilities>| set.map_or(0, oracle::Capabilities::len);
    let bounding = theirs.capabilities().as_ref().and_then(|c| c.bounding().as_ref());
    let ours_bounding = ours.capabilities.unwrap_or_default().bounding.count_ones();
    assert_eq!(ours_bounding as usize, count(bounding), "{name}: bounding set");
    let limits = theirs.rlimits().as_ref().map_or(0, Vec::len);
    assert_eq!(ours.rlimits.len(), limits, "{name}: rlimits");
}

#[test]
fn reads_captured_configs_the_same() {
    for path in captures("config.json") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let ours = Spec::from_json(&serde_json::from_slice(&bytes).unwrap()).unwrap().value;
        let theirs: oracle::Spec = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(&ours.oci_version, theirs.version(), "{name}: ociVersion");
        assert_eq!(Path::new(&ours.root_path), theirs.root().as_ref().unwrap().path(), "{name}");
        assert_eq!(&ours.hostname, theirs.hostname(), "{name}: hostname");
        same_process(ours.process.as_ref().unwrap(), theirs.process().as_ref().unwrap(), &name);
        let mounts = theirs.mounts().as_ref().unwrap();
        assert_eq!(ours.mounts.len(), mounts.len(), "{name}: mounts");
        for (ours, theirs) in ours.mounts.iter().zip(mounts) {
            assert_eq!(Path::new(&ours.destination), theirs.destination(), "{name}");
        }
        let linux = theirs.linux().as_ref().unwrap();
        let namespaces = linux.namespaces().as_ref().unwrap();
        assert_eq!(ours.linux.namespaces.len(), namespaces.len(), "{name}: namespaces");
        let network = namespaces.iter().find(|n| n.typ() == oracle::LinuxNamespaceType::Network);
        let path =
            network.and_then(|n| n.path().as_ref()).map(|p| p.to_string_lossy().into_owned());
        let own = ours.linux.namespace(NamespaceKind::Network).and_then(|n| n.path.clone());
        assert_eq!(own, path, "{name}: network namespace");
        let masked = linux.masked_paths().as_ref().map_or(0, Vec::len);
        assert_eq!(ours.linux.masked_paths.len(), masked, "{name}: maskedPaths");
        let devices = linux.resources().as_ref().and_then(|r| r.devices().as_ref());
        let own = ours.linux.resources.unwrap_or_default().devices.len();
        assert_eq!(own, devices.map_or(0, Vec::len), "{name}: resources.devices");
        let rules = linux.seccomp().as_ref().and_then(|s| s.syscalls().as_ref());
        let own = ours.linux.seccomp.map_or(0, |s| s.syscalls.len());
        assert_eq!(own, rules.map_or(0, Vec::len), "{name}: seccomp.syscalls");
    }
}

#[test]
fn reads_captured_processes_the_same() {
    for path in captures("-process-") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        let ours = Process::from_json(&serde_json::from_slice(&bytes).unwrap()).unwrap().value;
        same_process(&ours, &serde_json::from_slice(&bytes).unwrap(), &name);
    }
}
