//! Plans for three hosts (router.rs has their mounts), as lists of what is made and written.

use serde_json::{Value, json};

use super::location::Location;
use super::paths::Paths;
use super::plan::{DirectoryKind, Missing, Plan, Privilege, plan, plan_update};
use super::router::Layout;
use super::router::tests::{hybrid, v1, v2};
use crate::config::field::{Field, Findings};
use crate::config::resources::Resources;

fn resources(json: &Value) -> Resources {
    let findings = Findings::default();
    let resources =
        Resources::read(&Field::root(&crate::config::json::Json::from(json), &findings)).unwrap();
    assert_eq!(findings.into_parts().0, []);
    resources
}

fn make(json: &Value, layout: &Layout, privilege: Privilege) -> Result<Plan, String> {
    let location = Location::new(Some("/pod/box"), "box").unwrap();
    plan(&resources(json), layout, &location, privilege).map_err(|errors| errors.to_string())
}

/// The writes beside those on devices, each as `key:file=value`, with its alternative and a `?` where
/// the file may be missing.
fn writes(json: &Value, layout: &Layout) -> Vec<String> {
    let plan = make(json, layout, Privilege::Full).unwrap();
    let writes = plan.writes.iter().filter(|write| write.origin != "linux.resources.devices");
    writes
        .map(|write| {
            let key = plan.directories[write.directory].keys.join("+");
            let optional = if write.missing == Missing::Skip { "?" } else { "" };
            let other = write.alternative.as_ref();
            let other = other.map_or(String::new(), |(file, value)| format!(" | {file}={value}"));
            format!("{key}:{}{optional}={}{other}", write.file, write.value)
        })
        .collect()
}

#[track_caller]
fn check(json: &Value, layout: &Layout, expected: &[&str]) {
    assert_eq!(writes(json, layout), expected);
}

#[test]
fn makes_a_directory_in_every_hierarchy() {
    let paths = |layout: &Layout| -> Vec<String> {
        let plan = make(&json!({}), layout, Privilege::Full).unwrap();
        plan.paths().iter().map(|(key, path)| format!("{key} {}", path.display())).collect()
    };
    assert_eq!(
        paths(&hybrid()),
        [
            " /sys/fs/cgroup/unified/pod/box",
            "blkio /sys/fs/cgroup/blkio/pod/box",
            "cpu /sys/fs/cgroup/cpu/pod/box",
            "cpuacct /sys/fs/cgroup/cpuacct/pod/box",
            "cpuset /sys/fs/cgroup/cpuset/pod/box",
            "devices /sys/fs/cgroup/devices/pod/box",
            "freezer /sys/fs/cgroup/freezer/pod/box",
            "memory /sys/fs/cgroup/memory/pod/box",
            "name=systemd /sys/fs/cgroup/systemd/pod/box",
            "pids /sys/fs/cgroup/pids/pod/box",
        ]
    );
    assert_eq!(paths(&v2()), [" /sys/fs/cgroup/pod/box"]);
    let shared = paths(&v1());
    assert!(shared.contains(&"cpuacct /sys/fs/cgroup/cpu,cpuacct/pod/box".to_owned()));
    assert_eq!(shared.len(), 13);
    assert_eq!(make(&json!({}), &v1(), Privilege::Full).unwrap().directories.len(), 11);
}

#[test]
fn writes_limits_of_v1() {
    let json = json!({
        "memory": {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 0,
            "disableOOMKiller": true},
        "cpu": {"shares": 512, "quota": 50000, "period": 100_000, "burst": 0, "idle": 0,
            "realtimePeriod": 9, "realtimeRuntime": 8, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 33},
        "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 9}]},
    });
    let expected = [
        "cpuset:cpuset.cpus=0-1",
        "cpuset:cpuset.mems=0",
        "memory:memory.limit_in_bytes=100",
        "memory:memory.memsw.limit_in_bytes=200",
        "memory:memory.soft_limit_in_bytes=50",
        "memory:memory.oom_control=1",
        "memory:memory.swappiness=0",
        "cpu:cpu.shares=512",
        "cpu:cpu.cfs_period_us=100000",
        "cpu:cpu.cfs_quota_us=50000",
        "cpu:cpu.cfs_burst_us?=0",
        "cpu:cpu.idle=0",
        "cpu:cpu.rt_period_us=9",
        "cpu:cpu.rt_runtime_us=8",
        "pids:pids.max=33",
        "blkio:blkio.weight=500 | blkio.bfq.weight=500",
        "blkio:blkio.weight_device=8:0 300 | blkio.bfq.weight_device=8:0 300",
        "blkio:blkio.throttle.read_bps_device=8:0 7",
        "blkio:blkio.throttle.write_iops_device=8:16 9",
    ];
    check(&json, &hybrid(), &expected);
    let shared = writes(&json, &v1());
    assert_eq!(shared[0], "cpuset:cpus=0-1");
    assert_eq!(shared[7], "cpu+cpuacct:cpu.shares=512");
}

#[test]
fn writes_limits_of_v2() {
    let json = json!({
        "memory": {"limit": 100, "swap": 250, "reservation": 50},
        "cpu": {"shares": 1024, "quota": 50000, "burst": 7, "cpus": "0-1"},
        "pids": {"limit": 33},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx5": {"hcaHandles": 3, "hcaObjects": 4}},
        "unified": {"memory.high": "90", "cgroup.max.depth": "5", "io.max": "8:0 rbps=1\n8:16 wbps=2"},
    });
    check(
        &json,
        &v2(),
        &[
            ":cpuset.cpus=0-1",
            ":memory.swap.max=150",
            ":memory.max=100",
            ":memory.low=50",
            ":cpu.weight=100",
            ":cpu.max=50000 100000",
            ":cpu.max.burst=7",
            ":pids.max=33",
            ":io.bfq.weight=500 | io.weight=4950",
            ":io.max=8:0 rbps=max",
            ":hugetlb.2MB.max=4096",
            ":hugetlb.2MB.rsvd.max?=4096",
            ":rdma.max=mlx5 hca_handle=3 hca_object=4",
            ":cgroup.max.depth=5",
            ":io.max=8:0 rbps=1",
            ":io.max=8:16 wbps=2",
            ":memory.high=90",
        ],
    );
}

#[test]
fn sends_each_controller_to_its_version() {
    let json = json!({"pids": {"limit": -1}, "unified": {"hugetlb.1GB.max": "0"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    check(
        &json,
        &hybrid(),
        &[
            "pids:pids.max=max",
            ":hugetlb.2MB.max=0",
            ":hugetlb.2MB.rsvd.max?=0",
            ":hugetlb.1GB.max=0",
        ],
    );
    let plan = make(&json, &hybrid(), Privilege::Full).unwrap();
    let enabled = plan.directories.iter().find_map(|directory| match &directory.kind {
        DirectoryKind::V2 { enable } => Some(enable.clone()),
        _ => None,
    });
    assert_eq!(enabled.unwrap(), ["hugetlb"]);
    let hugepages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
    let expected =
        ["hugetlb:hugetlb.2MB.limit_in_bytes=0", "hugetlb:hugetlb.2MB.rsvd.limit_in_bytes?=0"];
    check(&hugepages, &v1(), &expected);
}

#[test]
fn takes_minus_one_for_no_limit() {
    let json = json!({"memory": {"limit": -1}, "cpu": {"quota": -1}});
    check(
        &json,
        &hybrid(),
        &[
            "memory:memory.limit_in_bytes=-1",
            "memory:memory.memsw.limit_in_bytes?=-1",
            "cpu:cpu.cfs_quota_us=-1",
        ],
    );
    check(&json, &v2(), &[":memory.swap.max?=max", ":memory.max=max", ":cpu.max=max 100000"]);
    let no_swap = json!({"memory": {"limit": 10, "swap": 10}});
    check(&no_swap, &v2(), &[":memory.swap.max?=0", ":memory.max=10"]);
    check(&json!({"pids": {"limit": 0}}), &v2(), &[":pids.max=1"]);
    check(&json!({"cpu": {"shares": 9, "idle": 1}}), &v2(), &[":cpu.idle=1"]);
}

#[test]
fn writes_what_only_one_version_has() {
    let json = json!({"memory": {"useHierarchy": true, "swappiness": u64::MAX},
        "rdma": {"mlx5": {"hcaHandles": 3}, "mlx4": {"hcaObjects": 4}},
        "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 5}]},
        "blockIO": {"leafWeight": 10,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}]}});
    check(
        &json,
        &v1(),
        &[
            "memory:memory.use_hierarchy?=1",
            "blkio:blkio.leaf_weight=10",
            "blkio:blkio.weight_device=8:0 10 | blkio.bfq.weight_device=8:0 10",
            "blkio:blkio.leaf_weight_device=8:0 20",
            "net_cls+net_prio:net_cls.classid=9",
            "net_cls+net_prio:net_prio.ifpriomap=eth0 5",
            "rdma:rdma.max=mlx4 hca_object=4",
            "rdma:rdma.max=mlx5 hca_handle=3",
        ],
    );
    let json = json!({"memory": {"useHierarchy": true}, "blockIO": {
        "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
        "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 6}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]}});
    check(
        &json,
        &v2(),
        &[
            ":io.bfq.weight=8:0 1000 | io.weight=8:0 10000",
            ":io.max=8:0 wbps=5",
            ":io.max=8:0 riops=6",
            ":io.max=8:0 wiops=7",
        ],
    );
}

#[test]
fn maps_shares_to_weights_through_three_points() {
    let weights = [1, 2, 512, 1024, 2048, 131_072, 262_144, u64::MAX];
    let weights = weights.map(super::limits_v2::cpu_weight);
    assert_eq!(weights, [1, 1, 59, 100, 174, 5478, 10_000, 10_000]);
}

#[test]
fn names_the_fields_that_a_host_cannot_keep() {
    let json = json!({
        "cpu": {"shares": 1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5": {"hcaHandles": 3}},
        "unified": {"memory.high": "1", "cgroup.freeze": "0"},
    });
    assert_eq!(
        make(&json, &hybrid(), Privilege::Full).unwrap_err(),
        "linux.resources.cpu.shares: 1 is outside of the kernel's range, 2 to 262144; \
         linux.resources.network.classID: this host has no cgroup controller \"net_cls\"; \
         linux.resources.network.priorities[0]: this host has no cgroup controller \"net_prio\"; \
         linux.resources.rdma.mlx5: this host has no cgroup controller \"rdma\"; \
         linux.resources.unified.memory.high: this host has no cgroup controller \"memory\" on \
         cgroup v2: invalid configuration"
    );
    let error = make(&json!({"memory": {"swap": 5}}), &v2(), Privilege::Full).unwrap_err();
    assert!(error.ends_with("5 is memory and swap together, and needs memory.limit"), "{error}");
    let nowhere = make(&json!({"pids": {"limit": 1}}), &Layout::default(), Privilege::Full);
    assert_eq!(
        nowhere.unwrap_err(),
        "linux.resources.devices: this host has no cgroup controller \"devices\"; \
         linux.resources.pids.limit: this host has no cgroup controller \"pids\""
    );
    assert!(make(&json!({}), &Layout::default(), Privilege::Rootless).is_ok());
}

#[test]
fn warns_of_what_v2_has_nothing_like() {
    let json = json!({"memory": {"swappiness": 1, "disableOOMKiller": true},
        "cpu": {"realtimeRuntime": 1}, "blockIO": {"leafWeight": 10}});
    let plan = make(&json, &v2(), Privilege::Full).unwrap();
    assert_eq!(plan.warnings.len(), 4, "{:?}", plan.warnings);
    assert_eq!(plan.writes, []);
}

#[test]
fn confines_devices_on_either_version() {
    let plan = make(&json!({}), &hybrid(), Privilege::Full).unwrap();
    let place = plan.writes[0].path(&plan);
    assert_eq!(place.to_str(), Some("/sys/fs/cgroup/devices/pod/box/devices.deny"));
    assert_eq!((plan.writes.len(), &plan.device_program), (12, &None));
    let plan = make(&json!({}), &v2(), Privilege::Full).unwrap();
    assert!(plan.writes.is_empty() && plan.device_program.is_some_and(|(at, _)| at == 0));
}

#[test]
fn leaves_out_only_what_a_rootless_caller_did_not_name() {
    let optional = |path: Option<&str>, privilege| -> Vec<String> {
        let location = Location::new(path, "box").unwrap();
        let plan = plan(&Resources::default(), &hybrid(), &location, privilege).unwrap();
        let optional = plan.directories.into_iter().filter(|directory| directory.optional);
        optional.map(|directory| directory.keys.join("+")).collect()
    };
    let always = ["name=systemd", ""];
    assert_eq!(optional(None, Privilege::Full), always);
    assert_eq!(optional(Some("/x"), Privilege::Rootless), always);
    assert_eq!(optional(None, Privilege::Rootless).len(), 10);
}

/// The writes of an update of a container whose cgroups stand where `make` puts them.
fn update_writes(json: &Value, layout: &Layout) -> Vec<String> {
    let made = make(&json!({}), layout, Privilege::Full).unwrap();
    let plan = plan_update(&resources(json), layout, &Paths::new(made.paths())).unwrap();
    let writes = plan.writes.iter();
    writes.map(|write| format!("{}={}", write.path(&plan).display(), write.value)).collect()
}

#[test]
fn an_update_writes_where_the_cgroups_are() {
    let json = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 7},
        "memory": {"limit": 100, "swap": 150}, "cpu": {"quota": 5, "period": 1000, "burst": 2}});
    assert_eq!(
        update_writes(&json, &v2()),
        [
            "/sys/fs/cgroup/pod/box/memory.swap.max=50",
            "/sys/fs/cgroup/pod/box/memory.max=100",
            "/sys/fs/cgroup/pod/box/cpu.max=5 1000",
            "/sys/fs/cgroup/pod/box/cpu.max.burst=2",
            "/sys/fs/cgroup/pod/box/pids.max=7",
        ]
    );
    let hybrid_writes = update_writes(&json, &hybrid());
    assert_eq!(hybrid_writes[0], "/sys/fs/cgroup/memory/pod/box/memory.limit_in_bytes=100");
    assert_eq!(hybrid_writes.last().unwrap(), "/sys/fs/cgroup/pids/pod/box/pids.max=7");
    let shared = update_writes(&json!({"cpu": {"shares": 9}}), &v1());
    assert_eq!(shared, ["/sys/fs/cgroup/cpu,cpuacct/pod/box/cpu.shares=9"]);
}

#[test]
fn an_update_refuses_what_the_container_has_no_cgroup_for() {
    let paths = Paths::new([("cpu".to_owned(), "/sys/fs/cgroup/cpu/pod/box".into())]);
    let limits = resources(&json!({"pids": {"limit": 7}, "unified": {"hugetlb.1GB.max": "0"}}));
    let error = plan_update(&limits, &hybrid(), &paths).unwrap_err().to_string();
    assert_eq!(
        error,
        "linux.resources.pids.limit: this host has no cgroup controller \"pids\"; \
         linux.resources.unified.hugetlb.1GB.max: this host has no cgroup controller \"hugetlb\" on \
         cgroup v2: invalid configuration"
    );
}
