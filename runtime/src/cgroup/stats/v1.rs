//! What v1's controllers count (Documentation/admin-guide/cgroup-v1 of the kernel).

use std::collections::BTreeMap;

use super::{
    BlockIoEntry, BlockIoStats, CpuStats, CpusetStats, Files, HugetlbStats, MemoryEntry,
    MemoryStats, PidsStats,
};
use crate::cgroup::error::CgroupError;

/// `USER_HZ`: in these ticks the kernel tells the time of programs, on every architecture.
const TICKS_PER_SECOND: u64 = 100;
const NANOSECONDS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND;

pub(super) fn cpu(
    accounts: Option<&Files<'_>>,
    quota: Option<&Files<'_>>,
    stats: &mut CpuStats,
) -> Result<(), CgroupError> {
    if let Some(files) = accounts {
        let ticks = files.table("cpuacct.stat")?;
        let nanoseconds = |name: &str| ticks.get(name).map_or(0, |t| t * NANOSECONDS_PER_TICK);
        (stats.user, stats.kernel) = (nanoseconds("user"), nanoseconds("system"));
        stats.total = files.number("cpuacct.usage")?.unwrap_or(0);
        let percpu = files.text("cpuacct.usage_percpu")?.unwrap_or_default();
        stats.percpu = percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let all = files.text("cpuacct.usage_all")?.unwrap_or_default();
        for line in all.lines().skip(1) {
            let mut words = line.split(' ').skip(1).filter_map(|word| word.parse().ok());
            if let (Some(user), Some(kernel)) = (words.next(), words.next()) {
                stats.percpu_user.push(user);
                stats.percpu_kernel.push(kernel);
            }
        }
    }
    if let Some(files) = quota {
        let table = files.table("cpu.stat")?;
        let value = |name: &str| table.get(name).copied().unwrap_or(0);
        stats.periods = value("nr_periods");
        stats.throttled_periods = value("nr_throttled");
        stats.throttled_time = value("throttled_time");
    }
    Ok(())
}

pub(super) fn cpuset(files: &Files<'_>, stats: &mut CpusetStats) -> Result<(), CgroupError> {
    // A mount without prefixes names its files without them.
    let prefix = if files.text("cpuset.cpus")?.is_some() { "cpuset." } else { "" };
    let text = |name: &str| files.text(&format!("{prefix}{name}"));
    let value = |name: &str| -> Result<u64, CgroupError> {
        Ok(files.number(&format!("{prefix}{name}"))?.unwrap_or(0))
    };
    let level = text("sched_relax_domain_level")?.and_then(|text| text.trim().parse().ok());
    *stats = CpusetStats {
        cpus: list(&text("cpus")?.unwrap_or_default()),
        cpu_exclusive: value("cpu_exclusive")?,
        mems: list(&text("mems")?.unwrap_or_default()),
        mem_hardwall: value("mem_hardwall")?,
        mem_exclusive: value("mem_exclusive")?,
        memory_migrate: value("memory_migrate")?,
        memory_spread_page: value("memory_spread_page")?,
        memory_spread_slab: value("memory_spread_slab")?,
        memory_pressure: value("memory_pressure")?,
        sched_load_balance: value("sched_load_balance")?,
        sched_relax_domain_level: level.unwrap_or(0),
    };
    Ok(())
}

/// The numbers of a list such as `0-2,7`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            all.extend(first..=last);
        }
    }
    all
}

pub(super) fn memory(files: &Files<'_>, stats: &mut MemoryStats) -> Result<(), CgroupError> {
    stats.raw = files.table("memory.stat")?;
    stats.cache = stats.raw.get("cache").copied().unwrap_or(0);
    stats.usage = entry(files, "memory")?;
    stats.swap = entry(files, "memory.memsw")?;
    stats.kernel = entry(files, "memory.kmem")?;
    stats.kernel_tcp = entry(files, "memory.kmem.tcp")?;
    Ok(())
}

fn entry(files: &Files<'_>, name: &str) -> Result<MemoryEntry, CgroupError> {
    let value = |what: &str| -> Result<u64, CgroupError> {
        Ok(files.number(&format!("{name}.{what}"))?.unwrap_or(0))
    };
    Ok(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

/// The same files on both versions.
pub(super) fn pids(files: &Files<'_>) -> Result<PidsStats, CgroupError> {
    let limit = files.number("pids.max")?.filter(|limit| *limit != u64::MAX);
    let current = files.number("pids.current")?.unwrap_or(0);
    Ok(PidsStats { current, limit: limit.unwrap_or(0) })
}

pub(super) fn hugetlb(
    files: &Files<'_>,
    sizes: &[String],
) -> Result<BTreeMap<String, HugetlbStats>, CgroupError> {
    let mut all = BTreeMap::new();
    for size in sizes {
        // Linux 5.7 counts what is reserved, too.
        for name in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = files.number(&format!("{name}.usage_in_bytes"))? else { continue };
            let max = files.number(&format!("{name}.max_usage_in_bytes"))?.unwrap_or(0);
            let failcnt = files.number(&format!("{name}.failcnt"))?.unwrap_or(0);
            all.insert(size.clone(), HugetlbStats { usage, max, failcnt });
            break;
        }
    }
    Ok(all)
}

type Place = fn(&mut BlockIoStats) -> &mut Vec<BlockIoEntry>;

/// What a scheduler may count, under the name that its files share.
const COUNTERS: [(&str, Place); 8] = [
    ("sectors_recursive", |s| &mut s.sectors),
    ("io_service_time_recursive", |s| &mut s.service_time),
    ("io_wait_time_recursive", |s| &mut s.wait_time),
    ("io_merged_recursive", |s| &mut s.merged),
    ("io_queued_recursive", |s| &mut s.queued),
    ("time_recursive", |s| &mut s.time),
    ("io_serviced_recursive", |s| &mut s.serviced),
    ("io_service_bytes_recursive", |s| &mut s.service_bytes),
];

/// Takes the first of the families of files that counted anything: BFQ's, CFQ's (until Linux 5.0),
/// those of the throttle with the cgroups below, those without.
pub(super) fn block_io(files: &Files<'_>, stats: &mut BlockIoStats) -> Result<(), CgroupError> {
    for prefix in ["blkio.bfq.", "blkio.", "blkio.throttle."] {
        let mut found = false;
        for (name, place) in COUNTERS {
            let entries = entries(&files.text(&format!("{prefix}{name}"))?.unwrap_or_default());
            found |= !entries.is_empty();
            *place(stats) = entries;
        }
        if found {
            return Ok(());
        }
    }
    let own = |name: &str| files.text(name).map(|text| entries(&text.unwrap_or_default()));
    stats.serviced = own("blkio.throttle.io_serviced")?;
    stats.service_bytes = own("blkio.throttle.io_service_bytes")?;
    Ok(())
}

/// Lines `8:0 Read 7` or `8:0 7`; the sum over all devices has no number and is left out.
pub(super) fn entries(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        Some(BlockIoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.trim().parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}
