//! What v2's controllers count (Documentation/admin-guide/cgroup-v2.rst of the kernel), told as v1
//! would.

use std::collections::BTreeMap;

use super::{
    BlockIoEntry, BlockIoStats, CpuStats, Files, HugetlbStats, MemoryEntry, MemoryStats, PidsStats,
    v1,
};
use crate::cgroup::error::CgroupError;

pub(super) fn cpu(files: &Files<'_>, stats: &mut CpuStats) -> Result<(), CgroupError> {
    let table = files.table("cpu.stat")?;
    let value = |name: &str| table.get(name).copied().unwrap_or(0);
    let nanoseconds = |name: &str| value(name).saturating_mul(1000);
    stats.total = nanoseconds("usage_usec");
    stats.user = nanoseconds("user_usec");
    stats.kernel = nanoseconds("system_usec");
    stats.periods = value("nr_periods");
    stats.throttled_periods = value("nr_throttled");
    stats.throttled_time = nanoseconds("throttled_usec");
    Ok(())
}

pub(super) fn memory(files: &Files<'_>, stats: &mut MemoryStats) -> Result<(), CgroupError> {
    stats.raw = files.table("memory.stat")?;
    stats.cache = stats.raw.get("file").copied().unwrap_or(0);
    let Some(usage) = entry(files, "memory")? else { return Ok(()) };
    stats.usage = usage;
    let swap = entry(files, "memory.swap")?.unwrap_or_default();
    let limit = match (swap.limit, usage.limit) {
        (u64::MAX, _) | (_, u64::MAX) => u64::MAX,
        (swap, memory) => swap.saturating_add(memory),
    };
    // The highest sum is nowhere counted, and is not the sum of the highest.
    stats.swap = MemoryEntry { limit, usage: swap.usage + usage.usage, max: 0, failcnt: 0 };
    Ok(())
}

/// `None` when the kernel does not count it.
fn entry(files: &Files<'_>, name: &str) -> Result<Option<MemoryEntry>, CgroupError> {
    let value = |what: &str| files.number(&format!("{name}.{what}"));
    let Some(usage) = value("current")? else { return Ok(None) };
    let limit = value("max")?.unwrap_or(0);
    // Linux 5.19, and 6.5 for swap.
    let max = value("peak")?.unwrap_or(0);
    Ok(Some(MemoryEntry { limit, usage, max, failcnt: 0 }))
}

pub(super) fn pids(files: &Files<'_>) -> Result<PidsStats, CgroupError> {
    if files.text("pids.current")?.is_some() {
        return v1::pids(files);
    }
    // Without the controller, those that are in the cgroup itself.
    let listed = files.text("cgroup.procs")?.or(files.text("cgroup.threads")?).unwrap_or_default();
    Ok(PidsStats { current: listed.lines().count() as u64, limit: 0 })
}

pub(super) fn hugetlb(
    files: &Files<'_>,
    sizes: &[String],
) -> Result<BTreeMap<String, HugetlbStats>, CgroupError> {
    let mut all = BTreeMap::new();
    for size in sizes {
        for name in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = files.number(&format!("{name}.current"))? else { continue };
            let events = files.table(&format!("hugetlb.{size}.events"))?;
            let failcnt = events.get("max").copied().unwrap_or(0);
            all.insert(size.clone(), HugetlbStats { usage, max: 0, failcnt });
            break;
        }
    }
    Ok(all)
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` becomes entries of four of v1's counters.
pub(super) fn block_io(files: &Files<'_>, stats: &mut BlockIoStats) -> Result<(), CgroupError> {
    let text = files.text("io.stat")?.unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let device = device.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some((major, minor)) = device else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "Read"),
                "wbytes" => (&mut stats.service_bytes, "Write"),
                "rios" => (&mut stats.serviced, "Read"),
                "wios" => (&mut stats.serviced, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlockIoEntry { major, minor, op: op.to_owned(), value });
        }
    }
    Ok(())
}
