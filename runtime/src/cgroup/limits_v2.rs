//! The files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst of the kernel), for limits that the
//! specification words for v1.

use std::borrow::Cow;

use super::limits_v1;
use super::plan::{Draft, Missing, PlanError, Sink};
use super::router::{Controller, HierarchyKind};
use crate::config::resources::{BlockIo, Cpu, Memory, Resources};

/// Plans what `resources` say of the sink's controller.
pub(super) fn plan(resources: &Resources, sink: &mut Sink<'_, '_>) {
    match sink.controller {
        Controller::Memory => memory(&resources.memory, sink),
        Controller::Cpu => cpu(&resources.cpu, sink),
        Controller::Cpuset => cpuset(&resources.cpu, sink),
        Controller::Pids => limits_v1::pids(resources.pids_limit, sink),
        Controller::Blkio => io(&resources.block_io, sink),
        Controller::Hugetlb => limits_v1::hugetlb(&resources.hugepage_limits, "max", sink),
        Controller::Rdma => limits_v1::rdma(&resources.rdma, sink),
        _ => {}
    }
}

fn size(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

/// The specification counts memory and swap together, v2 swap alone. Nothing where the two do not
/// fit together, for which there is an error.
pub(super) fn swap_alone(memory: &Memory) -> Option<i64> {
    match (memory.swap, memory.limit) {
        (Some(swap @ 0..), Some(limit @ 0..)) => (swap >= limit).then(|| swap - limit),
        (Some(0..), None) => None,
        (None, Some(-1)) => Some(-1),
        (swap, _) => swap,
    }
}

fn memory(memory: &Memory, sink: &mut Sink<'_, '_>) {
    const SWAP: &str = "linux.resources.memory.swap";
    match (memory.swap, memory.limit) {
        (Some(swap @ 0..), Some(limit @ 0..)) if swap < limit => {
            sink.refuse(SWAP, format!("{swap} is less than the memory limit of {limit}"));
        }
        (Some(swap @ 0..), None) => {
            sink.refuse(
                SWAP,
                format!("{swap} is memory and swap together, and needs memory.limit"),
            );
        }
        _ => {}
    }
    if let Some(swap) = swap_alone(memory)
        && let Some(write) = sink.put("memory.swap.max", size(swap), SWAP)
        && swap <= 0
    {
        // A kernel that does not count swap either has none or does not limit it.
        write.missing = Missing::Skip;
    }
    if let Some(limit) = memory.limit {
        sink.put("memory.max", size(limit), "linux.resources.memory.limit");
    }
    if let Some(reservation) = memory.reservation {
        sink.put("memory.low", size(reservation), "linux.resources.memory.reservation");
    }
    if memory.swappiness.is_some() {
        sink.without_equal("linux.resources.memory.swappiness");
    }
    if memory.disable_oom_killer {
        sink.without_equal("linux.resources.memory.disableOOMKiller");
    }
}

fn cpu(cpu: &Cpu, sink: &mut Sink<'_, '_>) {
    if let Some(idle) = cpu.idle {
        sink.put("cpu.idle", idle, "linux.resources.cpu.idle");
    }
    // An idle cgroup has the least weight, and the kernel takes no other.
    if let Some(shares) = cpu.shares.filter(|_| cpu.idle != Some(1)) {
        sink.put("cpu.weight", cpu_weight(shares), "linux.resources.cpu.shares");
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        const PERIOD_DEFAULT: u64 = 100_000;
        let quota = cpu.quota.map_or("max".to_owned(), size);
        let value = format!("{quota} {}", cpu.period.unwrap_or(PERIOD_DEFAULT));
        let origin = match cpu.quota {
            Some(_) => "linux.resources.cpu.quota",
            None => "linux.resources.cpu.period",
        };
        sink.put("cpu.max", value, origin);
    }
    if let Some(burst) = cpu.burst {
        sink.put("cpu.max.burst", burst, "linux.resources.cpu.burst");
    }
    if cpu.realtime_runtime.is_some() {
        sink.without_equal("linux.resources.cpu.realtimeRuntime");
    }
    if cpu.realtime_period.is_some() {
        sink.without_equal("linux.resources.cpu.realtimePeriod");
    }
}

/// v1's shares, 2 to 262144 around 1024, in v2's scale, 1 to 10000 around 100: the parabola through
/// these three points where both scales are logarithms, as runc 1.3.2 and crun 1.23 have it.
pub(super) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            let weight = 10_f64.powf(exponent).ceil().clamp(1.0, 10_000.0);
            // Within bounds and whole, so that nothing is lost.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let weight = weight as u64;
            weight
        }
    }
}

fn cpuset(cpu: &Cpu, sink: &mut Sink<'_, '_>) {
    if let Some(cpus) = &cpu.cpus {
        sink.put("cpuset.cpus", cpus, "linux.resources.cpu.cpus");
    }
    if let Some(mems) = &cpu.mems {
        sink.put("cpuset.mems", mems, "linux.resources.cpu.mems");
    }
}

/// A weight of 10 to 1000 in `io.weight`'s scale of 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.saturating_sub(10)) * 9999 / 990
}

fn io(block_io: &BlockIo, sink: &mut Sink<'_, '_>) {
    // BFQ takes the specification's scale as it is; the other scheduler has its own.
    if let Some(weight) = block_io.weight
        && let Some(write) = sink.put("io.bfq.weight", weight, "linux.resources.blockIO.weight")
    {
        write.alternative = Some(("io.weight", io_weight(weight).to_string()));
    }
    for (index, device) in block_io.weight_device.iter().enumerate() {
        let Some(weight) = device.weight else { continue };
        let number = format!("{}:{}", device.major, device.minor);
        let origin = format!("linux.resources.blockIO.weightDevice[{index}]");
        if let Some(write) = sink.put("io.bfq.weight", format!("{number} {weight}"), origin) {
            write.alternative = Some(("io.weight", format!("{number} {}", io_weight(weight))));
        }
    }
    let leaf = block_io.weight_device.iter().any(|device| device.leaf_weight.is_some());
    if block_io.leaf_weight.is_some() || leaf {
        sink.without_equal("linux.resources.blockIO.leafWeight");
    }
    for (field, word, devices) in [
        ("throttleReadBpsDevice", "rbps", &block_io.throttle_read_bps),
        ("throttleWriteBpsDevice", "wbps", &block_io.throttle_write_bps),
        ("throttleReadIOPSDevice", "riops", &block_io.throttle_read_iops),
        ("throttleWriteIOPSDevice", "wiops", &block_io.throttle_write_iops),
    ] {
        for (index, device) in devices.iter().enumerate() {
            // Zero would stop the device for good, where v1 takes it for no limit.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            let value = format!("{}:{} {word}={rate}", device.major, device.minor);
            sink.put("io.max", value, format!("linux.resources.blockIO.{field}[{index}]"));
        }
    }
}

/// Plans `unified`: files by their names, a line at a time.
pub(super) fn plan_unified(unified: &[(String, String)], draft: &mut Draft<'_>) {
    for (file, value) in unified {
        let field: Cow<'static, str> = format!("linux.resources.unified.{file}").into();
        let controller = file.split('.').next().unwrap_or_default();
        let v2 = draft.layout.v2();
        let known = v2.is_some_and(|index| match &draft.layout.hierarchies()[index].kind {
            HierarchyKind::V2 { controllers } => {
                controller == "cgroup" || controllers.iter().any(|known| known == controller)
            }
            HierarchyKind::V1 { .. } => false,
        });
        let Some(directory) = draft.place(v2).filter(|_| known) else {
            let controller = controller.to_owned();
            draft.errors.push(PlanError::NoController { field, controller, v2: true });
            continue;
        };
        if controller != "cgroup" {
            draft.enable(directory, controller);
        }
        draft.put_lines(directory, file, value, &field);
    }
}
