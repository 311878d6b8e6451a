//! The files of cgroup v1 (Documentation/admin-guide/cgroup-v1 of the kernel).
//!
//! Within one directory a value that the kernel refuses for the sake of another one (EINVAL) is tried
//! again after all others, so that the order here need only suit a fresh cgroup.

use super::plan::{Missing, Sink};
use super::router::{Controller, HierarchyKind, Layout};
use crate::config::resources::{
    BlockIo, Cpu, HugepageLimit, Memory, Rdma, Resources, ThrottleDevice,
};

/// Plans what `resources` say of the sink's controller.
pub(super) fn plan(resources: &Resources, sink: &mut Sink<'_, '_>) {
    match sink.controller {
        Controller::Memory => memory(&resources.memory, sink),
        Controller::Cpu => cpu(&resources.cpu, sink),
        Controller::Cpuset => cpuset(&resources.cpu, sink),
        Controller::Pids => pids(resources.pids_limit, sink),
        Controller::Blkio => blkio(&resources.block_io, sink),
        Controller::Hugetlb => hugetlb(&resources.hugepage_limits, "limit_in_bytes", sink),
        Controller::Rdma => rdma(&resources.rdma, sink),
        Controller::NetCls => {
            if let Some(class) = resources.network.class_id {
                sink.put("net_cls.classid", class, "linux.resources.network.classID");
            }
        }
        Controller::NetPrio => {
            for (index, (interface, priority)) in resources.network.priorities.iter().enumerate() {
                let origin = format!("linux.resources.network.priorities[{index}]");
                sink.put("net_prio.ifpriomap", format!("{interface} {priority}"), origin);
            }
        }
        Controller::Cpuacct
        | Controller::Devices
        | Controller::Freezer
        | Controller::Misc
        | Controller::PerfEvent => {}
    }
}

fn memory(memory: &Memory, sink: &mut Sink<'_, '_>) {
    if memory.use_hierarchy
        && let Some(write) =
            sink.put("memory.use_hierarchy", 1, "linux.resources.memory.useHierarchy")
    {
        write.missing = Missing::Skip;
    }
    if let Some(limit) = memory.limit {
        sink.put("memory.limit_in_bytes", limit, "linux.resources.memory.limit");
    }
    let swap_file = "memory.memsw.limit_in_bytes";
    if let Some(swap) = memory.swap {
        sink.put(swap_file, swap, "linux.resources.memory.swap");
    } else if memory.limit == Some(-1)
        && let Some(write) = sink.put(swap_file, -1, "linux.resources.memory.limit")
    {
        // Unlimited memory means unlimited swap, which a kernel that does not count swap has.
        write.missing = Missing::Skip;
    }
    if let Some(reservation) = memory.reservation {
        let origin = "linux.resources.memory.reservation";
        sink.put("memory.soft_limit_in_bytes", reservation, origin);
    }
    if memory.disable_oom_killer {
        sink.put("memory.oom_control", 1, "linux.resources.memory.disableOOMKiller");
    }
    if let Some(swappiness) = memory.swappiness {
        sink.put("memory.swappiness", swappiness, "linux.resources.memory.swappiness");
    }
}

fn cpu(cpu: &Cpu, sink: &mut Sink<'_, '_>) {
    if let Some(shares) = cpu.shares {
        // The kernel would silently take the nearest.
        if (2..=262_144).contains(&shares) {
            sink.put("cpu.shares", shares, "linux.resources.cpu.shares");
        } else {
            let detail = format!("{shares} is outside of the kernel's range, 2 to 262144");
            sink.refuse("linux.resources.cpu.shares", detail);
        }
    }
    if let Some(period) = cpu.period {
        sink.put("cpu.cfs_period_us", period, "linux.resources.cpu.period");
    }
    if let Some(quota) = cpu.quota {
        sink.put("cpu.cfs_quota_us", quota, "linux.resources.cpu.quota");
    }
    if let Some(burst) = cpu.burst
        && let Some(write) = sink.put("cpu.cfs_burst_us", burst, "linux.resources.cpu.burst")
    {
        // Linux 5.14; without it nothing can be saved up, and the limit is only stricter.
        write.missing = Missing::Skip;
    }
    if let Some(idle) = cpu.idle {
        sink.put("cpu.idle", idle, "linux.resources.cpu.idle");
    }
    if let Some(period) = cpu.realtime_period {
        sink.put("cpu.rt_period_us", period, "linux.resources.cpu.realtimePeriod");
    }
    if let Some(runtime) = cpu.realtime_runtime {
        sink.put("cpu.rt_runtime_us", runtime, "linux.resources.cpu.realtimeRuntime");
    }
}

fn cpuset(cpu: &Cpu, sink: &mut Sink<'_, '_>) {
    let bare = has_bare_cpuset(sink.layout());
    if let Some(cpus) = &cpu.cpus {
        let file = if bare { "cpus" } else { "cpuset.cpus" };
        sink.put(file, cpus, "linux.resources.cpu.cpus");
    }
    if let Some(mems) = &cpu.mems {
        let file = if bare { "mems" } else { "cpuset.mems" };
        sink.put(file, mems, "linux.resources.cpu.mems");
    }
}

fn has_bare_cpuset(layout: &Layout) -> bool {
    layout.v1_of(Controller::Cpuset).is_some_and(|index| {
        matches!(layout.hierarchies()[index].kind, HierarchyKind::V1 { no_prefix: true, .. })
    })
}

/// The same file on both versions.
pub(super) fn pids(limit: Option<i64>, sink: &mut Sink<'_, '_>) {
    let Some(limit) = limit else { return };
    let value = match limit {
        ..0 => "max".to_owned(),
        // With no task allowed there would be no container; runc and systemd take this for one.
        0 => "1".to_owned(),
        _ => limit.to_string(),
    };
    sink.put("pids.max", value, "linux.resources.pids.limit");
}

fn blkio(block_io: &BlockIo, sink: &mut Sink<'_, '_>) {
    // Which file there is depends on the kernel's scheduler: CFQ, until Linux 5.0, or BFQ.
    if let Some(weight) = block_io.weight
        && let Some(write) = sink.put("blkio.weight", weight, "linux.resources.blockIO.weight")
    {
        write.alternative = Some(("blkio.bfq.weight", weight.to_string()));
    }
    if let Some(weight) = block_io.leaf_weight {
        sink.put("blkio.leaf_weight", weight, "linux.resources.blockIO.leafWeight");
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let origin = format!("linux.resources.blockIO.weightDevice[{index}]");
        let number = format!("{}:{}", device.major, device.minor);
        if let Some(weight) = device.weight {
            let value = format!("{number} {weight}");
            if let Some(write) = sink.put("blkio.weight_device", &value, origin.clone()) {
                write.alternative = Some(("blkio.bfq.weight_device", value));
            }
        }
        if let Some(weight) = device.leaf_weight {
            sink.put("blkio.leaf_weight_device", format!("{number} {weight}"), origin);
        }
    }
    for (field, file, devices) in throttles(block_io) {
        for (index, device) in devices.iter().enumerate() {
            let value = format!("{}:{} {}", device.major, device.minor, device.rate);
            let origin = format!("linux.resources.blockIO.{field}[{index}]");
            sink.put(file, value, origin);
        }
    }
}

/// The throttling lists: the field's name, the file on v1.
fn throttles(block_io: &BlockIo) -> [(&'static str, &'static str, &[ThrottleDevice]); 4] {
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", &block_io.throttle_read_bps),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", &block_io.throttle_write_bps),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", &block_io.throttle_read_iops),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            &block_io.throttle_write_iops,
        ),
    ]
}

/// The same files on both versions, but for their last word.
pub(super) fn hugetlb(limits: &[HugepageLimit], word: &'static str, sink: &mut Sink<'_, '_>) {
    for (index, HugepageLimit { page_size, limit }) in limits.iter().enumerate() {
        let origin = format!("linux.resources.hugepageLimits[{index}]");
        sink.put(format!("hugetlb.{page_size}.{word}"), limit, origin.clone());
        let reserved = sink.put(format!("hugetlb.{page_size}.rsvd.{word}"), limit, origin);
        if let Some(write) = reserved {
            // Linux 5.7: a mapping that only reserves pages was not counted before.
            write.missing = Missing::Skip;
        }
    }
}

/// The same file on both versions.
pub(super) fn rdma(devices: &[Rdma], sink: &mut Sink<'_, '_>) {
    for device in devices {
        let mut value = device.device.clone();
        if let Some(handles) = device.hca_handles {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = device.hca_objects {
            value.push_str(&format!(" hca_object={objects}"));
        }
        sink.put("rdma.max", value, format!("linux.resources.rdma.{}", device.device));
    }
}
