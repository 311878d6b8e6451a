//! What cgroups count, as the messages that `Stats` answers with: `io.containerd.cgroups.v1.Metrics` and `v2`.

use std::fs;

use crate::cgroup::{Cgroup, number, table};
use crate::messages::Any;
use crate::protobuf::Writer;

/// The counts of a cgroup in the form of its version.
pub fn of(cgroup: &Cgroup) -> Any {
    if cgroup.is_version_2() {
        Any { type_url: "io.containerd.cgroups.v2.Metrics".to_owned(), value: version_2(cgroup) }
    } else {
        Any { type_url: "io.containerd.cgroups.v1.Metrics".to_owned(), value: version_1(cgroup) }
    }
}

/// The names of memory.stat on version 1, in the order of the message's fields 1 to 16.
const MEMORY_1: [&str; 15] = [
    "cache",
    "rss",
    "rss_huge",
    "mapped_file",
    "dirty",
    "writeback",
    "pgpgin",
    "pgpgout",
    "pgfault",
    "pgmajfault",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
];

fn version_1(cgroup: &Cgroup) -> Vec<u8> {
    let one = |controller: &str, file: &str| number(cgroup.version_1(controller, file).as_deref());
    let mut metrics = Writer::new();
    for size in huge_page_sizes(cgroup) {
        let file = |what: &str| one("hugetlb", &format!("hugetlb.{size}.{what}"));
        let entry = Writer::new()
            .number(1, file("usage_in_bytes"))
            .number(2, file("max_usage_in_bytes"))
            .number(3, file("failcnt"))
            .text(4, &size);
        metrics = metrics.message(1, entry);
    }
    let limit = one("pids", "pids.max");
    let pids = Writer::new()
        .number(1, one("pids", "pids.current"))
        .number(2, if limit == u64::MAX { 0 } else { limit });
    let cpu_stat = cgroup.version_1("cpu", "cpu.stat");
    let cpu_stat = table(cpu_stat.as_deref());
    let user_and_system = cgroup.version_1("cpuacct", "cpuacct.stat");
    let user_and_system = table(user_and_system.as_deref());
    // The kernel writes cpuacct.stat in ticks, of which every Linux has a hundred a second.
    let nanos = |name: &str| user_and_system.get(name).copied().unwrap_or(0) * 10_000_000;
    let mut usage = Writer::new()
        .number(1, one("cpuacct", "cpuacct.usage"))
        .number(2, nanos("system"))
        .number(3, nanos("user"));
    let per_cpu = cgroup.version_1("cpuacct", "cpuacct.usage_percpu").unwrap_or_default();
    for count in per_cpu.split_whitespace().filter_map(|it| it.parse().ok()) {
        usage = usage.element(4, count);
    }
    let get = |name: &str| cpu_stat.get(name).copied().unwrap_or(0);
    let throttling = Writer::new()
        .number(1, get("nr_periods"))
        .number(2, get("nr_throttled"))
        .number(3, get("throttled_time"));
    let cpu = Writer::new().message(1, usage).message(2, throttling);
    metrics = metrics.message(2, pids).message(3, cpu);
    if cgroup.controllers.contains_key("memory") {
        metrics = metrics.message(4, memory_1(cgroup));
    }
    if cgroup.controllers.contains_key("blkio") {
        metrics = metrics.message(5, blkio_1(cgroup));
    }
    if let Some(control) = cgroup.version_1("memory", "memory.oom_control") {
        let control = table(Some(&control));
        let get = |name: &str| control.get(name).copied().unwrap_or(0);
        let oom = Writer::new()
            .number(1, get("oom_kill_disable"))
            .number(2, get("under_oom"))
            .number(3, get("oom_kill"));
        metrics = metrics.message(9, oom);
    }
    metrics.done()
}

fn memory_1(cgroup: &Cgroup) -> Writer {
    let stat = cgroup.version_1("memory", "memory.stat");
    let stat = table(stat.as_deref());
    let get = |name: &str| stat.get(name).copied().unwrap_or(0);
    let mut memory = Writer::new();
    for (field, name) in (1..).zip(MEMORY_1) {
        memory = memory.number(field, get(name));
    }
    memory = memory
        .number(16, get("hierarchical_memory_limit"))
        .number(17, get("hierarchical_memsw_limit"));
    for (field, name) in (18..).zip(MEMORY_1) {
        memory = memory.number(field, get(&format!("total_{name}")));
    }
    for (field, prefix) in
        [(33, "memory"), (34, "memory.memsw"), (35, "memory.kmem"), (36, "memory.kmem.tcp")]
    {
        let one =
            |file: &str| number(cgroup.version_1("memory", &format!("{prefix}.{file}")).as_deref());
        if cgroup.version_1("memory", &format!("{prefix}.usage_in_bytes")).is_none() {
            continue;
        }
        let entry = Writer::new()
            .number(1, one("limit_in_bytes"))
            .number(2, one("usage_in_bytes"))
            .number(3, one("max_usage_in_bytes"))
            .number(4, one("failcnt"));
        memory = memory.message(field, entry);
    }
    memory
}

fn blkio_1(cgroup: &Cgroup) -> Writer {
    let mut blkio = Writer::new();
    let files = [
        (
            1,
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes",
        ),
        (
            2,
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_serviced_recursive",
            "blkio.throttle.io_serviced",
        ),
    ];
    for (field, bfq, recursive, throttle) in files {
        let mut lines = String::new();
        for file in [bfq, recursive, throttle] {
            lines = cgroup.version_1("blkio", file).unwrap_or_default();
            if lines.lines().count() > 1 {
                break;
            }
        }
        for entry in lines.lines().filter_map(blkio_entry) {
            blkio = blkio.message(field, entry);
        }
    }
    blkio
}

/// `8:0 Read 4096`.
fn blkio_entry(line: &str) -> Option<Writer> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let (op, value) = (words.next()?, words.next()?.parse().ok()?);
    let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok();
    let name = device
        .as_deref()
        .and_then(|it| it.file_name())
        .map(|it| format!("/dev/{}", it.to_string_lossy()));
    let entry = Writer::new()
        .text(1, op)
        .text(2, &name.unwrap_or_default())
        .number(3, major)
        .number(4, minor)
        .number(5, value);
    Some(entry)
}

fn huge_page_sizes(cgroup: &Cgroup) -> Vec<String> {
    let folder = if cgroup.is_version_2() {
        cgroup.unified.as_ref()
    } else {
        cgroup.controllers.get("hugetlb")
    };
    let Some(folder) = folder else { return Vec::new() };
    let suffix = if cgroup.is_version_2() { ".current" } else { ".usage_in_bytes" };
    let mut sizes: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            (!size.contains("rsvd")).then(|| size.to_owned())
        })
        .collect();
    sizes.sort();
    sizes
}

/// The names of memory.stat on version 2, in the order of the message's fields 1 to 31.
const MEMORY_2: [&str; 31] = [
    "anon",
    "file",
    "kernel_stack",
    "slab",
    "sock",
    "shmem",
    "file_mapped",
    "file_dirty",
    "file_writeback",
    "anon_thp",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "pgfault",
    "pgmajfault",
    "workingset_refault",
    "workingset_activate",
    "workingset_nodereclaim",
    "pgrefill",
    "pgscan",
    "pgsteal",
    "pgactivate",
    "pgdeactivate",
    "pglazyfree",
    "pglazyfreed",
    "thp_fault_alloc",
    "thp_collapse_alloc",
];

fn version_2(cgroup: &Cgroup) -> Vec<u8> {
    let one = |file: &str| number(cgroup.version_2(file).as_deref());
    let limit = one("pids.max");
    let pids = Writer::new()
        .number(1, one("pids.current"))
        .number(2, if limit == u64::MAX { 0 } else { limit });
    let cpu = cgroup.version_2("cpu.stat");
    let cpu = fields(
        cpu.as_deref(),
        &["usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec"],
    );
    let stat = cgroup.version_2("memory.stat");
    let mut memory = fields(stat.as_deref(), &MEMORY_2);
    let files = [
        "memory.current",
        "memory.max",
        "memory.swap.current",
        "memory.swap.max",
        "memory.peak",
        "memory.swap.peak",
    ];
    for (field, file) in (32..).zip(files) {
        memory = memory.number(field, one(file));
    }
    let events = cgroup.version_2("memory.events");
    let events = fields(events.as_deref(), &["low", "high", "max", "oom", "oom_kill"]);
    let mut metrics = Writer::new().message(1, pids).message(2, cpu).message(4, memory);
    if let Some(text) = cgroup.version_2("io.stat") {
        let io =
            text.lines().filter_map(io_entry).fold(Writer::new(), |io, entry| io.message(1, entry));
        metrics = metrics.message(6, io);
    }
    for size in huge_page_sizes(cgroup) {
        let entry = Writer::new()
            .number(1, one(&format!("hugetlb.{size}.current")))
            .number(2, one(&format!("hugetlb.{size}.max")))
            .text(3, &size);
        metrics = metrics.message(7, entry);
    }
    metrics.message(8, events).done()
}

fn fields(text: Option<&str>, names: &[&str]) -> Writer {
    let table = table(text);
    let get = |name: &str| table.get(name).copied().unwrap_or(0);
    (1..).zip(names).fold(Writer::new(), |writer, (field, name)| writer.number(field, get(name)))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn io_entry(line: &str) -> Option<Writer> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let mut entry = Writer::new().number(1, major.parse().ok()?).number(2, minor.parse().ok()?);
    for word in words {
        let (name, value) = word.split_once('=')?;
        let field = match name {
            "rbytes" => 3,
            "wbytes" => 4,
            "rios" => 5,
            "wios" => 6,
            _ => continue,
        };
        entry = entry.number(field, value.parse().ok()?);
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_block_devices_are_read() {
        let entry =
            io_entry("8:16 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0").map(Writer::done);
        let expected = Writer::new()
            .number(1, 8)
            .number(2, 16)
            .number(3, 4096)
            .number(4, 1)
            .number(5, 2)
            .number(6, 3)
            .done();
        assert_eq!(entry, Some(expected));
        assert!(io_entry("odd").is_none());
        assert!(blkio_entry("Total 0").is_none());
        assert!(blkio_entry("8:0 Read 7").is_some());
    }
}
