//! What a cgroup uses, in the units and under the names that v1 gave them, whichever version counts.
//!
//! Each controller is read where it is. A file that is missing counts nothing: kernels differ, and a
//! cgroup may go while it is read.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use super::procs::is_gone;
use crate::sys::open::CWD;

mod pressure;
mod v1;
mod v2;

pub use pressure::{Pressure, Share};

/// A sample.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Placement; v1 only.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block devices.
    pub block_io: BlockIoStats,
    /// Huge pages by their size, such as `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// By processor; v1 only.
    pub percpu: Vec<u64>,
    /// By processor, in the kernel; v1 only.
    pub percpu_kernel: Vec<u64>,
    /// By processor, in programs; v1 only.
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Those in which the quota was used up.
    pub throttled_periods: u64,
    /// How long processes were kept waiting then.
    pub throttled_time: u64,
    /// How long tasks waited for a processor.
    pub pressure: Option<Pressure>,
}

/// The files of v1's cpuset, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct CpusetStats {
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Pages of files.
    pub cache: u64,
    /// All memory.
    pub usage: MemoryEntry,
    /// Memory and swap together.
    pub swap: MemoryEntry,
    /// Memory of the kernel; v1 only.
    pub kernel: MemoryEntry,
    /// Memory of the kernel's TCP; v1 only.
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as it is.
    pub raw: BTreeMap<String, u64>,
    /// How long tasks waited for memory.
    pub pressure: Option<Pressure>,
}

/// A kind of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEntry {
    /// The most that is allowed; [`u64::MAX`] for no limit on v2.
    pub limit: u64,
    /// What is used now.
    pub usage: u64,
    /// The most that was used.
    pub max: u64,
    /// How often the limit was hit; v1 only.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidsStats {
    /// How many there are.
    pub current: u64,
    /// How many there may be; 0 for no limit.
    pub limit: u64,
}

/// Counters of block devices; which of them there are depends on version, kernel and scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct BlockIoStats {
    pub service_bytes: Vec<BlockIoEntry>,
    pub serviced: Vec<BlockIoEntry>,
    pub queued: Vec<BlockIoEntry>,
    pub service_time: Vec<BlockIoEntry>,
    pub wait_time: Vec<BlockIoEntry>,
    pub merged: Vec<BlockIoEntry>,
    pub time: Vec<BlockIoEntry>,
    pub sectors: Vec<BlockIoEntry>,
    /// How long tasks waited for a device.
    pub pressure: Option<Pressure>,
}

/// One counter of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockIoEntry {
    /// Of the device.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// `Read`, `Write` and the like; empty where the counter tells no kinds apart.
    pub op: String,
    /// The count.
    pub value: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HugetlbStats {
    /// Reserved now, in bytes.
    pub usage: u64,
    /// The most that was reserved, in bytes; v1 only.
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

impl Paths {
    /// Reads a sample.
    ///
    /// # Errors
    /// [`CgroupError::File`] for a file that is there and cannot be read.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats::default();
        let v1 = |key: &str| self.get(key).map(Files);
        let unified = self.get("").map(Files);
        match (v1("cpuacct"), v1("cpu")) {
            (None, None) => {
                unified.as_ref().map_or(Ok(()), |files| v2::cpu(files, &mut stats.cpu))?;
            }
            (accounts, quota) => v1::cpu(accounts.as_ref(), quota.as_ref(), &mut stats.cpu)?,
        }
        if let Some(files) = v1("cpuset") {
            v1::cpuset(&files, &mut stats.cpuset)?;
        }
        match (v1("memory"), &unified) {
            (Some(files), _) => v1::memory(&files, &mut stats.memory)?,
            (None, Some(files)) => v2::memory(files, &mut stats.memory)?,
            (None, None) => {}
        }
        match (v1("pids"), &unified) {
            (Some(files), _) => stats.pids = v1::pids(&files)?,
            (None, Some(files)) => stats.pids = v2::pids(files)?,
            (None, None) => {}
        }
        match (v1("blkio"), &unified) {
            (Some(files), _) => v1::block_io(&files, &mut stats.block_io)?,
            (None, Some(files)) => v2::block_io(files, &mut stats.block_io)?,
            (None, None) => {}
        }
        match (v1("hugetlb"), &unified) {
            (Some(files), _) => stats.hugetlb = v1::hugetlb(&files, &page_sizes())?,
            (None, Some(files)) => stats.hugetlb = v2::hugetlb(files, &page_sizes())?,
            (None, None) => {}
        }
        // The processes are in the v2 cgroup whichever version has the controllers.
        if let Some(files) = unified {
            stats.cpu.pressure = pressure::read(&files, "cpu.pressure")?;
            stats.memory.pressure = pressure::read(&files, "memory.pressure")?;
            stats.block_io.pressure = pressure::read(&files, "io.pressure")?;
        }
        Ok(stats)
    }
}

/// The files of one directory.
struct Files<'a>(&'a Path);

impl Files<'_> {
    /// The text of a file; `None` when there is none.
    fn text(&self, name: &str) -> Result<Option<String>, CgroupError> {
        let path = self.0.join(name);
        match file::read(CWD, path.to_string_lossy().as_ref()) {
            Ok(text) => Ok(Some(text)),
            // The last: a kernel that was told not to count pressure.
            Err(error) if is_gone(error) || error.errno == libc::EOPNOTSUPP => Ok(None),
            Err(source) => Err(CgroupError::File { file: path, source }),
        }
    }

    /// A file of one number; `max` is [`u64::MAX`], and what is negative counts as nothing.
    fn number(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        Ok(self.text(name)?.and_then(|text| number(&text)))
    }

    /// A file of lines `name number`.
    fn table(&self, name: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
        let text = self.text(name)?.unwrap_or_default();
        let line = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), number(value)?))
        };
        Ok(text.lines().filter_map(line).collect())
    }
}

fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        negative if negative.starts_with('-') => Some(0),
        other => other.parse().ok(),
    }
}

/// The sizes of huge pages that the kernel has, as the files of cgroups name them.
fn page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    entries.filter_map(|entry| page_size(entry.file_name().to_str()?)).collect()
}

/// `hugepages-2048kB` is `2MB`.
fn page_size(name: &str) -> Option<String> {
    let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        0..1024 => format!("{kib}KB"),
        1024..1_048_576 => format!("{}MB", kib >> 10),
        _ => format!("{}GB", kib >> 20),
    })
}

#[cfg(test)]
mod tests;
