//! The executor of `linux.intelRdt` on a folder of plain files. What the kernel does with a write, or with
//! the removal of a group that has files, only a machine with resctrl can tell.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use keel::config::intel_rdt::IntelRdt;
use keel::resctrl::apply::{abilities, change, enter, look, prepare, remove};
use keel::resctrl::plan::compile;
use keel::resctrl::stats::{Traffic, sample};

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

#[test]
fn changes_limits_and_tells_the_former_ones() {
    let mount = mount("change");
    assert_eq!(abilities(&mount), (true, true));
    let group = mount.join("gold");
    let former = change(&mount, &group, "L3:0=3\nMB:0=20\n").unwrap();
    assert_eq!(former, "    L3:0=00f\n    MB:0= 50\n");
    assert!(read(&mount, "gold/schemata").starts_with("L3:0=3\nMB:0=20\n"));
    let error = change(&mount, &mount.join("silver"), "L3:0=3\n").unwrap_err();
    assert!(error.to_string().contains("silver/schemata"), "{error}");
    fs::remove_dir_all(&mount).unwrap();
    assert_eq!(abilities(&mount), (false, false));
}

#[test]
fn counts_what_a_group_uses() {
    let mount = mount("counts");
    let monitoring = mount.join("gold/mon_groups/web");
    for node in ["mon_L3_01", "mon_L3_00"] {
        fs::create_dir_all(monitoring.join("mon_data").join(node)).unwrap();
    }
    for (file, text) in [
        ("info/L3/cbm_mask", "fff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
        ("gold/mon_groups/web/mon_data/mon_L3_00/mbm_local_bytes", "5\n"),
    ] {
        fs::write(mount.join(file), text).unwrap();
    }
    let stats = sample(&mount, &mount.join("gold"), Some(&monitoring));
    let cache = stats.cache.unwrap();
    assert_eq!((cache.mask.as_str(), cache.parts_min, cache.groups), ("fff", 2, 16));
    assert_eq!((cache.root_schema.as_str(), cache.schema.as_str()), ("L3:0=ff", "L3:0=00f"));
    let bandwidth = stats.bandwidth.unwrap();
    assert_eq!((bandwidth.min, bandwidth.schema.as_str()), (10, "MB:0= 50"));
    assert_eq!(stats.schemata, ["L3:0=00f", "MB:0= 50"]);
    assert_eq!(stats.occupancy.unwrap(), [4096, 0]);
    assert_eq!(stats.traffic.unwrap(), [Traffic { total: 7, local: 5 }]);
    let unmonitored = sample(&mount, &mount, None);
    assert_eq!((unmonitored.traffic, unmonitored.occupancy), (None, None));
    fs::remove_dir_all(&mount).unwrap();
}
