//! Directories with files as kernels show them, of either version.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A directory that is no cgroup but looks like one; removed when dropped.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("keel-stats-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn stats(&self, keys: &[&str]) -> Stats {
        let paths = keys.iter().map(|key| ((*key).to_owned(), self.0.clone()));
        Paths::new(paths).stats().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn block(major: u64, minor: u64, op: &str, value: u64) -> BlockIoEntry {
    BlockIoEntry { major, minor, op: op.to_owned(), value }
}

#[test]
fn reads_version_1() {
    let fake = Fake::new(
        "v1",
        &[
            ("cpuacct.stat", "user 3\nsystem 2\n"),
            ("cpuacct.usage", "77\n"),
            ("cpuacct.usage_percpu", "70 7 \n"),
            ("cpuacct.usage_all", "cpu user system\n0 60 10\n1 5 2\n"),
            ("cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 5\n"),
            ("cpuset.cpus", "0-2,7\n"),
            ("cpuset.mems", "0\n"),
            ("cpuset.sched_load_balance", "1\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
            ("memory.stat", "cache 10\nrss 20\n"),
            ("memory.usage_in_bytes", "30\n"),
            ("memory.max_usage_in_bytes", "40\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.failcnt", "2\n"),
            ("memory.kmem.usage_in_bytes", "6\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("blkio.throttle.io_serviced_recursive", "8:0 Read 5\n8:0 Total 5\nTotal 5\n"),
            ("blkio.throttle.io_service_bytes_recursive", "8:0 Write 4096\n"),
            ("blkio.throttle.io_serviced", "8:0 Read 1\n"),
        ],
    );
    let stats = fake.stats(&["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb"]);
    assert_eq!(
        stats.cpu,
        CpuStats {
            total: 77,
            percpu: vec![70, 7],
            percpu_kernel: vec![10, 2],
            percpu_user: vec![60, 5],
            kernel: 20_000_000,
            user: 30_000_000,
            periods: 9,
            throttled_periods: 4,
            throttled_time: 5,
            pressure: None,
        }
    );
    assert_eq!((stats.cpuset.cpus, stats.cpuset.mems), (vec![0, 1, 2, 7], vec![0]));
    assert_eq!((stats.cpuset.sched_load_balance, stats.cpuset.sched_relax_domain_level), (1, -1));
    let usage = MemoryEntry { limit: 9_223_372_036_854_771_712, usage: 30, max: 40, failcnt: 2 };
    assert_eq!((stats.memory.usage, stats.memory.cache), (usage, 10));
    assert_eq!(stats.memory.swap, MemoryEntry::default());
    assert_eq!(stats.memory.kernel.usage, 6);
    assert_eq!(stats.memory.raw.len(), 2);
    assert_eq!(stats.pids, PidsStats { current: 3, limit: 0 });
    let read = [block(8, 0, "Read", 5), block(8, 0, "Total", 5)];
    assert_eq!(stats.block_io.serviced, read);
    assert_eq!(stats.block_io.service_bytes, [block(8, 0, "Write", 4096)]);
    assert!(stats.hugetlb.is_empty());
}

#[test]
fn reads_version_2() {
    let fake = Fake::new(
        "v2",
        &[
            (
                "cpu.stat",
                "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 2\nnr_throttled 1\n\
                      throttled_usec 3\n",
            ),
            (
                "cpu.pressure",
                "some avg10=12.30 avg60=0.05 avg300=0.00 total=77\nfull avg10=1.00 \
                          avg60=0.00 avg300=0.00 total=5\n",
            ),
            ("memory.stat", "anon 20\nfile 10\n"),
            ("memory.current", "30\n"),
            ("memory.max", "100\n"),
            ("memory.peak", "40\n"),
            ("memory.swap.current", "5\n"),
            ("memory.swap.max", "50\n"),
            ("pids.current", "3\n"),
            ("pids.max", "12\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"),
        ],
    );
    let stats = fake.stats(&[""]);
    assert_eq!((stats.cpu.total, stats.cpu.user, stats.cpu.kernel), (9000, 5000, 4000));
    assert_eq!((stats.cpu.throttled_periods, stats.cpu.throttled_time), (1, 3000));
    let some = Share { average_10: 1230, average_60: 5, average_300: 0, total: 77 };
    let full = Share { average_10: 100, total: 5, ..Share::default() };
    assert_eq!(stats.cpu.pressure, Some(Pressure { some, full }));
    assert_eq!(stats.memory.pressure, None);
    let usage = MemoryEntry { limit: 100, usage: 30, max: 40, failcnt: 0 };
    assert_eq!((stats.memory.usage, stats.memory.cache), (usage, 10));
    assert_eq!(stats.memory.swap, MemoryEntry { limit: 150, usage: 35, max: 0, failcnt: 0 });
    assert_eq!(stats.pids, PidsStats { current: 3, limit: 12 });
    assert_eq!(stats.block_io.service_bytes, [block(8, 0, "Read", 1), block(8, 0, "Write", 2)]);
    assert_eq!(stats.block_io.serviced, [block(8, 0, "Read", 3), block(8, 0, "Write", 4)]);
    assert_eq!(stats.cpuset, CpusetStats::default());
}

#[test]
fn counts_huge_pages_of_either_version() {
    let fake = Fake::new(
        "hugetlb",
        &[
            ("hugetlb.2MB.rsvd.current", "6\n"),
            ("hugetlb.2MB.events", "max 3\n"),
            ("hugetlb.1GB.usage_in_bytes", "7\n"),
            ("hugetlb.1GB.max_usage_in_bytes", "8\n"),
            ("hugetlb.1GB.failcnt", "9\n"),
        ],
    );
    let sizes = ["2MB".to_owned(), "1GB".to_owned(), "64KB".to_owned()];
    let found = v2::hugetlb(&Files(&fake.0), &sizes).unwrap();
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("2MB".to_owned(), HugetlbStats { usage: 6, max: 0, failcnt: 3 })]
    );
    let found = v1::hugetlb(&Files(&fake.0), &sizes).unwrap();
    assert_eq!(found["1GB"], HugetlbStats { usage: 7, max: 8, failcnt: 9 });
    let names = ["hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB", "x"];
    let named = names.map(|name| page_size(name).unwrap_or_default());
    assert_eq!(named, ["64KB", "2MB", "1GB", ""]);
}

#[test]
fn a_cgroup_that_is_gone_counts_nothing() {
    let paths = ["", "memory", "cpuacct", "pids"].map(|k| (k.to_owned(), "/nowhere".into()));
    assert_eq!(Paths::new(paths).stats().unwrap(), Stats::default());
}
