//! The executor of `linux.intelRdt` on a folder of plain files. What the kernel does with a write, or with
//! the removal of a group that has files, only a machine with resctrl can tell.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use keel::config::intel_rdt::IntelRdt;
use keel::resctrl::apply::{enter, look, prepare, remove};
use keel::resctrl::plan::compile;

/// A folder with the files of the resctrl file system that are looked at.
fn mount(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keel-resctrl-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    for folder in ["info/L3", "info/MB", "mon_groups", "gold/mon_groups"] {
        fs::create_dir_all(path.join(folder)).unwrap();
    }
    for (file, text) in [
        ("tasks", ""),
        ("schemata", "L3:0=ff\n"),
        ("gold/tasks", ""),
        ("gold/schemata", "    L3:0=00f\n    MB:0= 50\n"),
        ("info/last_cmd_status", "ok\n"),
    ] {
        fs::write(path.join(file), text).unwrap();
    }
    path
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn read(path: &Path, name: &str) -> String {
    fs::read_to_string(path.join(name)).unwrap()
}

#[test]
fn writes_limits_to_a_named_group_and_enters_it() {
    let mount = mount("named");
    let config = IntelRdt {
        clos_id: text("gold"),
        l3_cache_schema: text("L3:0=f"),
        mem_bw_schema: text("MB:0=50"),
        enable_monitoring: true,
        ..IntelRdt::default()
    };
    let facts = look(&config, "web", mount.clone()).unwrap();
    let plan = compile(&config, "web", &facts).unwrap();
    prepare(&plan).unwrap();
    let written = read(&mount, "gold/schemata");
    assert!(written.starts_with("L3:0=f\nMB:0=50\n"), "one write from the file's beginning");
    let monitoring = mount.join("gold/mon_groups/web");
    assert!(monitoring.is_dir());
    enter([plan.group.as_path()], 77).unwrap();
    assert_eq!(read(&mount, "gold/tasks"), "77");
    remove(&plan.remove).unwrap();
    assert!(!monitoring.exists() && mount.join("gold").is_dir());
    remove(&plan.remove).unwrap();
    fs::remove_dir_all(mount).unwrap();
}

#[test]
fn leaves_nothing_after_a_failure() {
    let mount = mount("failure");
    // No kernel makes `schemata` in a new folder here, so that the write fails.
    let config = IntelRdt { l3_cache_schema: text("L3:0=f"), ..IntelRdt::default() };
    let facts = look(&config, "web", mount.clone()).unwrap();
    fs::write(mount.join("info/last_cmd_status"), "bad mask\n").unwrap();
    let error = prepare(&compile(&config, "web", &facts).unwrap()).unwrap_err();
    assert!(error.to_string().contains("schemata (last_cmd_status: bad mask)"), "{error}");
    assert!(!mount.join("web").exists());
    fs::remove_dir_all(mount).unwrap();
}

#[test]
fn a_class_without_limits_must_be_there() {
    let mount = mount("there");
    let config = IntelRdt { clos_id: text("silver"), ..IntelRdt::default() };
    let facts = look(&config, "web", mount.clone()).unwrap();
    assert!(compile(&config, "web", &facts).is_err());
    let config = IntelRdt { clos_id: text("gold"), ..IntelRdt::default() };
    let facts = look(&config, "web", mount.clone()).unwrap();
    let plan = compile(&config, "web", &facts).unwrap();
    prepare(&plan).unwrap();
    assert_eq!(read(&mount, "gold/schemata"), "    L3:0=00f\n    MB:0= 50\n");
    let config = IntelRdt { mem_bw_schema: text("MB:0=60"), ..config };
    let facts = look(&config, "web", mount.clone()).unwrap();
    assert!(compile(&config, "web", &facts).unwrap_err().to_string().contains("memBwSchema"));
    fs::remove_dir_all(mount).unwrap();
}
