//! What `events` prints: a JSON object a line, with the members of runc in their order. A member that
//! holds nothing is left out where runc leaves it out.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use super::command::Global;
use super::create::{explain, id};
use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use crate::cgroup::stats::{
    BlockIoEntry, BlockIoStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats,
    PidsStats, Pressure, Share, Stats,
};
use crate::lifecycle::events::{Event, Sample, sample, watch};
use crate::resctrl::stats::{Bandwidth, Cache, Stats as RdtStats};

/// With `once` one sample is printed; the interval is checked all the same, as in runc.
pub(super) fn run(
    name: &str,
    interval: Duration,
    once: bool,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let id = id(name)?;
    if once && !interval.is_zero() {
        let stats = sample(&global.root, &id).map_err(|error| explain(&error))?;
        return output.print(&line(name, Some(&stats))).map(|()| 0);
    }
    let mut result = Ok(0);
    let tell = |event| {
        let text = match event {
            Event::Stats(stats) => line(name, Some(&stats)),
            Event::OutOfMemory => line(name, None),
            Event::Trouble(error) => {
                output.warn(&explain(&error).message);
                return ControlFlow::Continue(());
            }
        };
        match output.print(&text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        }
    };
    watch(&global.root, &id, interval, tell).map_err(|error| explain(&error))?;
    result
}

/// An event with a sample is one of `stats`, one without is `oom`.
fn line(id: &str, stats: Option<&Sample>) -> String {
    let kind = if stats.is_some() { "stats" } else { "oom" };
    let members = [("type", Some(kind.into())), ("id", Some(id.into())), ("data", stats.map(data))];
    Json::present(members).compact() + "\n"
}

fn data(sample: &Sample) -> Json {
    let stats: &Stats = &sample.cgroup;
    let hugetlb = stats.hugetlb.iter();
    Json::object([
        ("cpu", cpu(&stats.cpu)),
        ("cpuset", cpuset(&stats.cpuset)),
        ("memory", memory(&stats.memory)),
        ("pids", pids(stats.pids)),
        ("blkio", block_io(&stats.block_io)),
        ("hugetlb", map(hugetlb.map(|(size, stats)| (size, pages(*stats))))),
        ("intel_rdt", sample.intel_rdt.as_ref().map_or(Json::Object(Vec::new()), intel_rdt)),
        // runc counts interfaces of a kind that no config of the specification has.
        ("network_interfaces", Json::Null),
    ])
}

fn cpu(cpu: &CpuStats) -> Json {
    let usage = Json::present([
        ("total", non_zero(cpu.total)),
        ("percpu", numbers(&cpu.percpu)),
        ("percpu_kernel", numbers(&cpu.percpu_kernel)),
        ("percpu_user", numbers(&cpu.percpu_user)),
        ("kernel", Some(Json::Unsigned(cpu.kernel))),
        ("user", Some(Json::Unsigned(cpu.user))),
    ]);
    let throttling = Json::present([
        ("periods", non_zero(cpu.periods)),
        ("throttledPeriods", non_zero(cpu.throttled_periods)),
        ("throttledTime", non_zero(cpu.throttled_time)),
    ]);
    let is_used = *cpu != CpuStats { pressure: cpu.pressure, ..CpuStats::default() };
    Json::present([
        ("usage", Some(usage).filter(|_| is_used)),
        ("throttling", Some(throttling).filter(|json| *json != Json::Object(Vec::new()))),
        ("psi", cpu.pressure.map(pressure)),
    ])
}

fn cpuset(cpuset: &CpusetStats) -> Json {
    let list = |list: &[u16]| numbers(&list.iter().map(|n| u64::from(*n)).collect::<Vec<_>>());
    let number = |number: u64| Some(Json::Unsigned(number));
    Json::present([
        ("cpus", list(&cpuset.cpus)),
        ("cpu_exclusive", number(cpuset.cpu_exclusive)),
        ("mems", list(&cpuset.mems)),
        ("mem_hardwall", number(cpuset.mem_hardwall)),
        ("mem_exclusive", number(cpuset.mem_exclusive)),
        ("memory_migrate", number(cpuset.memory_migrate)),
        ("memory_spread_page", number(cpuset.memory_spread_page)),
        ("memory_spread_slab", number(cpuset.memory_spread_slab)),
        ("memory_pressure", number(cpuset.memory_pressure)),
        ("sched_load_balance", number(cpuset.sched_load_balance)),
        ("sched_relax_domain_level", Some(Json::Number(cpuset.sched_relax_domain_level))),
    ])
}

fn memory(memory: &MemoryStats) -> Json {
    let raw = memory.raw.iter().map(|(key, value)| (key, Json::Unsigned(*value)));
    Json::present([
        ("cache", non_zero(memory.cache)),
        ("usage", memory_entry(memory.usage)),
        ("swap", memory_entry(memory.swap)),
        ("kernel", memory_entry(memory.kernel)),
        ("kernelTCP", memory_entry(memory.kernel_tcp)),
        ("raw", Some(map(raw)).filter(|_| !memory.raw.is_empty())),
        ("psi", memory.pressure.map(pressure)),
    ])
}

fn memory_entry(entry: MemoryEntry) -> Option<Json> {
    let json = Json::present([
        ("limit", Some(Json::Unsigned(entry.limit))),
        ("usage", non_zero(entry.usage)),
        ("max", non_zero(entry.max)),
        ("failcnt", Some(Json::Unsigned(entry.failcnt))),
    ]);
    (entry != MemoryEntry::default()).then_some(json)
}

fn pids(pids: PidsStats) -> Json {
    Json::present([("current", non_zero(pids.current)), ("limit", non_zero(pids.limit))])
}

fn block_io(stats: &BlockIoStats) -> Json {
    let list = |list: &[BlockIoEntry]| {
        let entries = list.iter().map(|entry| {
            Json::present([
                ("major", non_zero(entry.major)),
                ("minor", non_zero(entry.minor)),
                ("op", Some(Json::Text(entry.op.clone())).filter(|_| !entry.op.is_empty())),
                ("value", non_zero(entry.value)),
            ])
        });
        Some(Json::List(entries.collect())).filter(|_| !list.is_empty())
    };
    Json::present([
        ("ioServiceBytesRecursive", list(&stats.service_bytes)),
        ("ioServicedRecursive", list(&stats.serviced)),
        ("ioQueueRecursive", list(&stats.queued)),
        ("ioServiceTimeRecursive", list(&stats.service_time)),
        ("ioWaitTimeRecursive", list(&stats.wait_time)),
        ("ioMergedRecursive", list(&stats.merged)),
        ("ioTimeRecursive", list(&stats.time)),
        ("sectorsRecursive", list(&stats.sectors)),
        ("psi", stats.pressure.map(pressure)),
    ])
}

fn pages(stats: HugetlbStats) -> Json {
    Json::present([
        ("usage", non_zero(stats.usage)),
        ("max", non_zero(stats.max)),
        ("failcnt", Some(Json::Unsigned(stats.failcnt))),
    ])
}

fn intel_rdt(stats: &RdtStats) -> Json {
    let (cache, bandwidth) = (stats.cache.as_ref(), stats.bandwidth.as_ref());
    let schemata = || Json::texts(stats.schemata.iter().map(String::as_str));
    let traffic = stats.traffic.as_ref().map(|nodes| {
        let node = |total, local| {
            let members =
                [("mbm_total_bytes", non_zero(total)), ("mbm_local_bytes", non_zero(local))];
            Json::present(members)
        };
        Json::List(nodes.iter().map(|bytes| node(bytes.total, bytes.local)).collect())
    });
    let occupancy = stats.occupancy.as_ref().map(|nodes| {
        let node = |bytes: &u64| Json::present([("llc_occupancy", non_zero(*bytes))]);
        Json::List(nodes.iter().map(node).collect())
    });
    Json::present([
        ("l3_cache_info", cache.map(cache_info)),
        ("l3_cache_schema_root", cache.and_then(|cache| non_empty(&cache.root_schema))),
        ("l3_cache_schema", cache.and_then(|cache| non_empty(&cache.schema))),
        ("mem_bw_info", bandwidth.map(bandwidth_info)),
        ("mem_bw_schema_root", bandwidth.and_then(|bandwidth| non_empty(&bandwidth.root_schema))),
        ("mem_bw_schema", bandwidth.and_then(|bandwidth| non_empty(&bandwidth.schema))),
        ("schemata", (!stats.schemata.is_empty()).then(schemata)),
        ("mbm_stats", traffic),
        ("cmt_stats", occupancy),
    ])
}

fn cache_info(cache: &Cache) -> Json {
    Json::present([
        ("cbm_mask", non_empty(&cache.mask)),
        ("min_cbm_bits", non_zero(cache.parts_min)),
        ("num_closids", non_zero(cache.groups)),
    ])
}

fn bandwidth_info(bandwidth: &Bandwidth) -> Json {
    Json::present([
        ("bandwidth_gran", non_zero(bandwidth.step)),
        ("delay_linear", non_zero(bandwidth.linear)),
        ("min_bandwidth", non_zero(bandwidth.min)),
        ("num_closids", non_zero(bandwidth.groups)),
    ])
}

fn non_empty(text: &str) -> Option<Json> {
    (!text.is_empty()).then(|| text.into())
}

fn pressure(pressure: Pressure) -> Json {
    let share = |share: Share| {
        let json = Json::object([
            ("avg10", Json::Hundredths(share.average_10)),
            ("avg60", Json::Hundredths(share.average_60)),
            ("avg300", Json::Hundredths(share.average_300)),
            ("total", Json::Unsigned(share.total)),
        ]);
        (share != Share::default()).then_some(json)
    };
    Json::present([("some", share(pressure.some)), ("full", share(pressure.full))])
}

fn non_zero(number: u64) -> Option<Json> {
    (number != 0).then_some(Json::Unsigned(number))
}

fn numbers(list: &[u64]) -> Option<Json> {
    let json = Json::List(list.iter().map(|number| Json::Unsigned(*number)).collect());
    (!list.is_empty()).then_some(json)
}

fn map<'a>(members: impl Iterator<Item = (&'a String, Json)>) -> Json {
    Json::Object(members.map(|(key, value)| (Cow::Owned(key.clone()), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resctrl::stats::Traffic;

    /// What runc's encoder leaves of a container that has used nothing.
    #[test]
    fn leaves_out_what_holds_nothing() {
        let expected = concat!(
            r#"{"type":"stats","id":"web","data":{"cpu":{},"cpuset":{"cpu_exclusive":0,"#,
            r#""mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"#,
            r#""memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"#,
            r#""sched_relax_domain_level":0},"memory":{},"pids":{},"blkio":{},"hugetlb":{},"#,
            r#""intel_rdt":{},"network_interfaces":null}}"#,
            "\n"
        );
        assert_eq!(line("web", Some(&Sample::default())), expected);
        assert_eq!(line("web", None), "{\"type\":\"oom\",\"id\":\"web\"}\n");
    }

    #[test]
    fn writes_what_there_is() {
        let some = Share { average_10: 1250, total: 7, ..Share::default() };
        let psi = Some(Pressure { some, full: Share::default() });
        let entry = BlockIoEntry { major: 8, minor: 0, op: "Read".to_owned(), value: 5 };
        let stats = Stats {
            cpu: CpuStats { total: 9, percpu: vec![9, 0], periods: 3, ..CpuStats::default() },
            memory: MemoryStats {
                usage: MemoryEntry { limit: u64::MAX, usage: 5, ..MemoryEntry::default() },
                raw: [("rss".to_owned(), 5)].into(),
                pressure: psi,
                ..MemoryStats::default()
            },
            block_io: BlockIoStats { serviced: vec![entry], ..BlockIoStats::default() },
            hugetlb: [("2MB".to_owned(), HugetlbStats::default())].into(),
            ..Stats::default()
        };
        assert_eq!(
            cpu(&stats.cpu).compact(),
            r#"{"usage":{"total":9,"percpu":[9,0],"kernel":0,"user":0},"throttling":{"periods":3}}"#
        );
        assert_eq!(
            memory(&stats.memory).compact(),
            concat!(
                r#"{"usage":{"limit":18446744073709551615,"usage":5,"failcnt":0},"raw":{"rss":5},"#,
                r#""psi":{"some":{"avg10":12.5,"avg60":0,"avg300":0,"total":7}}}"#
            )
        );
        let expected = r#"{"ioServicedRecursive":[{"major":8,"op":"Read","value":5}]}"#;
        assert_eq!(block_io(&stats.block_io).compact(), expected);
        let sample = Sample { cgroup: stats, intel_rdt: None };
        assert!(line("x", Some(&sample)).contains(r#""hugetlb":{"2MB":{"failcnt":0}}"#));
    }

    #[test]
    fn writes_what_resctrl_counts() {
        let cache = Cache {
            mask: "fff".to_owned(),
            parts_min: 1,
            groups: 16,
            root_schema: "L3:0=fff".to_owned(),
            schema: "L3:0=00f".to_owned(),
        };
        let stats = RdtStats {
            cache: Some(cache),
            schemata: vec!["L3:0=00f".to_owned()],
            traffic: Some(vec![Traffic { total: 5, local: 0 }]),
            occupancy: Some(vec![7, 0]),
            ..RdtStats::default()
        };
        let expected = concat!(
            r#"{"l3_cache_info":{"cbm_mask":"fff","min_cbm_bits":1,"num_closids":16},"#,
            r#""l3_cache_schema_root":"L3:0=fff","l3_cache_schema":"L3:0=00f","#,
            r#""schemata":["L3:0=00f"],"mbm_stats":[{"mbm_total_bytes":5}],"#,
            r#""cmt_stats":[{"llc_occupancy":7},{}]}"#
        );
        assert_eq!(intel_rdt(&stats).compact(), expected);
        assert_eq!(intel_rdt(&RdtStats::default()).compact(), "{}");
    }
}
