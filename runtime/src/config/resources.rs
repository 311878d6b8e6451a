//! `linux.resources`: what the container may use (runtime-spec, config-linux.md, "Control groups").
//!
//! A limit that is absent is `None` and leaves the kernel's default. Zero means the same where the
//! other runtimes take it so ([`non_zero`]), since engines write zeros for what the user did not say.
//! Whether the host has a controller for a limit is not asked here.

use super::error::Kind;
use super::field::{Bounds, Field};

pub mod update;
mod write;

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resources {
    /// Rules on devices, in their order; a later one overrules an earlier one.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    pub memory: Memory,
    /// Processor time and placement.
    pub cpu: Cpu,
    /// The number of tasks: -1 is unlimited.
    pub pids_limit: Option<i64>,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages in bytes by page size, such as `2MB`.
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Class and priorities of network traffic.
    pub network: Network,
    /// RDMA objects by device name.
    pub rdma: Vec<Rdma>,
    /// Files of cgroup v2 and what is written to them, sorted by name.
    pub unified: Vec<(String, String)>,
}

/// One of `devices[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of devices; [`DeviceKind::All`] means every device, whatever the numbers.
    pub kind: DeviceKind,
    /// `None` is every number.
    pub major: Option<u32>,
    /// `None` is every number.
    pub minor: Option<u32>,
    /// What the rule is about; never empty.
    pub access: Access,
}

/// The type of a device rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// `a`.
    All,
    /// `b`.
    Block,
    /// `c`.
    Char,
}

/// A set of `r`, `w` and `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// mknod(2).
    pub mknod: bool,
}

/// `memory`; sizes in bytes, -1 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The hard limit.
    pub limit: Option<i64>,
    /// What is kept when memory is scarce.
    pub reservation: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// 0 to 100; v1 only.
    pub swappiness: Option<u64>,
    /// Out of memory, tasks wait and are not killed; v1 only.
    pub disable_oom_killer: bool,
    /// What the cgroups below use counts, too; v1 only, and so on every kernel since Linux 5.11.
    pub use_hierarchy: bool,
    /// An update may not set a limit below the present usage.
    pub check_before_update: bool,
}

/// `cpu`; times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpu {
    /// The weight against other cgroups, in v1's scale of 2 to 262144.
    pub shares: Option<u64>,
    /// Processor time in each period; negative for no limit.
    pub quota: Option<i64>,
    /// Unused time that may be saved up.
    pub burst: Option<u64>,
    /// The period of the quota.
    pub period: Option<u64>,
    /// Time for real-time tasks in each period of theirs; v1 only.
    pub realtime_runtime: Option<i64>,
    /// That period.
    pub realtime_period: Option<u64>,
    /// Processors, as a list such as `0-2,7`.
    pub cpus: Option<String>,
    /// Memory nodes.
    pub mems: Option<String>,
    /// 1 schedules the cgroup only when nothing else wants to run.
    pub idle: Option<i64>,
}

/// `blockIO`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockIo {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// The weight against the cgroup's own children; v1 only.
    pub leaf_weight: Option<u16>,
    /// Weights by device.
    pub weight_device: Vec<WeightDevice>,
    /// Bytes read per second.
    pub throttle_read_bps: Vec<ThrottleDevice>,
    /// Bytes written per second.
    pub throttle_write_bps: Vec<ThrottleDevice>,
    /// Reads per second.
    pub throttle_read_iops: Vec<ThrottleDevice>,
    /// Writes per second.
    pub throttle_write_iops: Vec<ThrottleDevice>,
}

/// One of `blockIO.weightDevice[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightDevice {
    /// Of the device.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
    /// As [`BlockIo::weight`].
    pub weight: Option<u16>,
    /// As [`BlockIo::leaf_weight`].
    pub leaf_weight: Option<u16>,
}

/// One of `blockIO.throttle…Device[]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottleDevice {
    /// Of the device.
    pub major: u32,
    /// Of the device.
    pub minor: u32,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// One of `hugepageLimits[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugepageLimit {
    /// Such as `64KB`, `2MB` or `1GB`; safe as part of a file name.
    pub page_size: String,
    /// In bytes.
    pub limit: u64,
}

/// `network`; v1 only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// The class that outgoing packets are tagged with.
    pub class_id: Option<u32>,
    /// Interfaces with their priorities.
    pub priorities: Vec<(String, u32)>,
}

/// One of `rdma`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rdma {
    /// The name of the device.
    pub device: String,
    /// The most handles.
    pub hca_handles: Option<u32>,
    /// The most objects.
    pub hca_objects: Option<u32>,
}

impl Resources {
    /// Reads `linux.resources`; whatever is wrong has been refused at its field.
    #[must_use]
    pub fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        Some(Self {
            devices: field.get("devices").collect(read_device),
            memory: read_memory(&field.get("memory")),
            cpu: read_cpu(&field.get("cpu")),
            pids_limit: field.get("pids").get("limit").integer(),
            block_io: read_block_io(&field.get("blockIO")),
            hugepage_limits: field.get("hugepageLimits").collect(read_hugepage),
            network: read_network(&field.get("network")),
            rdma: read_rdma(&field.get("rdma")),
            unified: read_unified(&field.get("unified")),
        })
    }
}

/// An integer of which zero says nothing, as for runc.
fn non_zero<T: TryFrom<i128> + Bounds + Default + PartialEq>(field: &Field<'_>) -> Option<T> {
    field.integer::<T>().filter(|value| *value != T::default())
}

fn read_device(field: &Field<'_>) -> Option<DeviceRule> {
    field.object()?;
    let allow_field = field.get("allow");
    let allow = allow_field.require().and_then(|()| allow_field.boolean());
    let kind_field = field.get("type");
    let kind = match if kind_field.is_present() { kind_field.string()? } else { "" } {
        "" | "a" => DeviceKind::All,
        "b" => DeviceKind::Block,
        "c" => DeviceKind::Char,
        other => {
            kind_field.refuse(Kind::Unsupported, format!("{other:?} (known: a, b, c)"));
            return None;
        }
    };
    let major = read_device_number(&field.get("major"));
    let minor = read_device_number(&field.get("minor"));
    let access = read_access(&field.get("access"));
    Some(DeviceRule { allow: allow?, kind, major: major?, minor: minor?, access: access? })
}

/// The inner `None` is a wildcard: absent, or -1 as Go programs write it.
fn read_device_number(field: &Field<'_>) -> Option<Option<u32>> {
    if !field.is_present() {
        return Some(None);
    }
    let number = field.integer::<i64>()?;
    if number == -1 {
        return Some(None);
    }
    let narrow = u32::try_from(number).ok();
    if narrow.is_none() {
        field.refuse(Kind::Invalid, format!("{number} is no device number"));
    }
    narrow.map(Some)
}

fn read_access(field: &Field<'_>) -> Option<Access> {
    let text = field.required_string()?;
    let mut access = Access::default();
    for letter in text.chars() {
        match letter {
            'r' => access.read = true,
            'w' => access.write = true,
            'm' => access.mknod = true,
            // A letter of which no kernel knows gives and takes nothing.
            other => field.warn(format!("ignoring {other:?}, which is none of r, w and m")),
        }
    }
    if access == Access::default() {
        field.refuse(Kind::Invalid, format!("{text:?}: expected letters of r, w and m"));
        return None;
    }
    Some(access)
}

fn read_memory(field: &Field<'_>) -> Memory {
    if field.object().is_none() {
        return Memory::default();
    }
    for name in ["kernel", "kernelTCP"] {
        if field.get(name).integer::<i64>().is_some() {
            field.get(name).warn("ignored: kernel memory has no limit of its own any more");
        }
    }
    let flag = |name: &str| field.get(name).boolean() == Some(true);
    let swappiness_field = field.get("swappiness");
    // -1 as Go programs write it where no sign is allowed.
    let swappiness = swappiness_field.integer::<u64>().filter(|percent| *percent != u64::MAX);
    if swappiness.is_some_and(|percent| percent > 100) {
        swappiness_field.refuse(Kind::Invalid, "expected 0 to 100");
    }
    let memory = Memory {
        limit: read_size(&field.get("limit")),
        reservation: read_size(&field.get("reservation")),
        swap: read_size(&field.get("swap")),
        swappiness,
        disable_oom_killer: flag("disableOOMKiller"),
        use_hierarchy: flag("useHierarchy"),
        check_before_update: flag("checkBeforeUpdate"),
    };
    if let (Some(limit @ 1..), Some(swap @ 1..)) = (memory.limit, memory.swap)
        && swap < limit
    {
        let detail = format!("{swap} is memory and swap together, but the memory limit is {limit}");
        field.get("swap").refuse(Kind::Conflict, detail);
    }
    memory
}

fn read_size(field: &Field<'_>) -> Option<i64> {
    let size = non_zero::<i64>(field)?;
    if size < -1 {
        field.refuse(Kind::Invalid, format!("{size}: expected a size, or -1 for no limit"));
        return None;
    }
    Some(size)
}

fn read_cpu(field: &Field<'_>) -> Cpu {
    if field.object().is_none() {
        return Cpu::default();
    }
    let idle_field = field.get("idle");
    let idle = idle_field.integer::<i64>();
    if idle.is_some_and(|idle| !matches!(idle, 0 | 1)) {
        idle_field.refuse(Kind::Invalid, "expected 0 or 1");
    }
    let burst_field = field.get("burst");
    let burst = burst_field.integer::<u64>();
    let quota = non_zero::<i64>(&field.get("quota"));
    if let (Some(burst), Some(quota @ 1..)) = (burst, quota)
        && burst > quota.unsigned_abs()
    {
        burst_field.refuse(Kind::Conflict, format!("{burst} is above the quota of {quota}"));
    }
    Cpu {
        shares: non_zero(&field.get("shares")),
        quota,
        burst,
        period: non_zero(&field.get("period")),
        realtime_runtime: non_zero(&field.get("realtimeRuntime")),
        realtime_period: non_zero(&field.get("realtimePeriod")),
        cpus: read_list(&field.get("cpus")),
        mems: read_list(&field.get("mems")),
        idle,
    }
}

/// A list of numbers and ranges (cpuset(7), "List format"). The kernel reads it; this refuses only
/// what is none by its letters.
fn read_list(field: &Field<'_>) -> Option<String> {
    let text = field.string()?.trim();
    let plausible = |letter: char| letter.is_ascii_digit() || ",-:/ ".contains(letter);
    if !text.chars().all(plausible) {
        field.refuse(Kind::Invalid, format!("{text:?}: expected a list such as 0-2,7"));
        return None;
    }
    (!text.is_empty()).then(|| text.to_owned())
}

fn read_block_io(field: &Field<'_>) -> BlockIo {
    if field.object().is_none() {
        return BlockIo::default();
    }
    let throttle = |name: &str| field.get(name).collect(read_throttle);
    BlockIo {
        weight: read_weight(&field.get("weight")),
        leaf_weight: read_weight(&field.get("leafWeight")),
        weight_device: field.get("weightDevice").collect(read_weight_device),
        throttle_read_bps: throttle("throttleReadBpsDevice"),
        throttle_write_bps: throttle("throttleWriteBpsDevice"),
        throttle_read_iops: throttle("throttleReadIOPSDevice"),
        throttle_write_iops: throttle("throttleWriteIOPSDevice"),
    }
}

fn read_weight(field: &Field<'_>) -> Option<u16> {
    let weight = non_zero::<u16>(field)?;
    if !(10..=1000).contains(&weight) {
        field.refuse(Kind::Invalid, format!("{weight}: expected 10 to 1000"));
        return None;
    }
    Some(weight)
}

fn read_weight_device(field: &Field<'_>) -> Option<WeightDevice> {
    let (major, minor) = read_device_numbers(field)?;
    let weight = read_weight(&field.get("weight"));
    let leaf_weight = read_weight(&field.get("leafWeight"));
    Some(WeightDevice { major, minor, weight, leaf_weight })
}

fn read_throttle(field: &Field<'_>) -> Option<ThrottleDevice> {
    let numbers = read_device_numbers(field);
    let rate_field = field.get("rate");
    let rate = rate_field.require().and_then(|()| rate_field.integer::<u64>());
    let (major, minor) = numbers?;
    Some(ThrottleDevice { major, minor, rate: rate? })
}

fn read_device_numbers(field: &Field<'_>) -> Option<(u32, u32)> {
    field.object()?;
    let read = |name: &str| {
        let field = field.get(name);
        field.require().and_then(|()| field.integer::<u32>())
    };
    let (major, minor) = (read("major"), read("minor"));
    Some((major?, minor?))
}

fn read_hugepage(field: &Field<'_>) -> Option<HugepageLimit> {
    field.object()?;
    let size_field = field.get("pageSize");
    let limit_field = field.get("limit");
    let size = size_field.required_string();
    let limit = limit_field.require().and_then(|()| limit_field.integer::<u64>());
    let size = size.filter(|size| {
        let digits = size.strip_suffix('B').and_then(|size| size.strip_suffix(['K', 'M', 'G']));
        let valid = digits.is_some_and(|digits| {
            !digits.starts_with('0')
                && !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit())
        });
        if !valid {
            let detail = format!("{size:?}: expected a size such as 64KB, 2MB or 1GB");
            size_field.refuse(Kind::Invalid, detail);
        }
        valid
    });
    Some(HugepageLimit { page_size: size?.to_owned(), limit: limit? })
}

fn read_network(field: &Field<'_>) -> Network {
    if field.object().is_none() {
        return Network::default();
    }
    let priorities = field.get("priorities").collect(|item| {
        item.object()?;
        let name_field = item.get("name");
        let priority_field = item.get("priority");
        let name = name_field.required_string();
        let priority = priority_field.require().and_then(|()| priority_field.integer::<u32>());
        Some((word(&name_field, name?)?.to_owned(), priority?))
    });
    Network { class_id: non_zero(&field.get("classID")), priorities }
}

/// A name that is written to a file beside other words, and so may have no space.
fn word<'a>(field: &Field<'_>, name: &'a str) -> Option<&'a str> {
    if name.is_empty() || name.contains(char::is_whitespace) {
        field.refuse(Kind::Invalid, format!("{name:?} is no name of a device"));
        return None;
    }
    Some(name)
}

fn read_rdma(field: &Field<'_>) -> Vec<Rdma> {
    let mut all = Vec::new();
    for name in field.object().into_iter().flat_map(|map| map.keys()) {
        let entry = field.get(name);
        if entry.object().is_none() || word(&entry, name).is_none() {
            continue;
        }
        let hca_handles = entry.get("hcaHandles").integer();
        let hca_objects = entry.get("hcaObjects").integer();
        if hca_handles.is_none() && hca_objects.is_none() {
            entry.refuse(Kind::Missing, "expected hcaHandles or hcaObjects");
        }
        all.push(Rdma { device: name.to_owned(), hca_handles, hca_objects });
    }
    all
}

fn read_unified(field: &Field<'_>) -> Vec<(String, String)> {
    let mut all = field.string_map();
    all.retain(|(name, _)| {
        let valid = is_unified_name(name);
        if !valid {
            let detail = "expected the name of a file, such as memory.high";
            field.get(name).refuse(Kind::Invalid, detail);
        }
        valid
    });
    all.sort();
    all
}

/// `^[a-z0-9_]+(\.[A-Za-z0-9_]+)+$`: a name in the cgroup's directory, whatever an attacker writes.
fn is_unified_name(name: &str) -> bool {
    let mut parts = name.split('.');
    let word = |part: &str, letters: fn(&u8) -> bool| {
        !part.is_empty() && part.bytes().all(|b| letters(&b) || b.is_ascii_digit() || b == b'_')
    };
    let first = parts.next().is_some_and(|part| word(part, u8::is_ascii_lowercase));
    let mut rest = parts.peekable();
    first && rest.peek().is_some() && rest.all(|part| word(part, u8::is_ascii_alphabetic))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::field::Findings;
    use crate::config::json::Json;

    fn read(resources: &Value) -> (Resources, Vec<String>, Vec<String>) {
        let document = json!({ "linux": { "resources": resources } });
        let (document, findings) = (Json::from(&document), Findings::default());
        let root = Field::root(&document, &findings);
        let linux = root.get("linux");
        let read = Resources::read(&linux.get("resources")).unwrap_or_default();
        let (errors, warnings) = findings.into_parts();
        (read, errors.iter().map(ToString::to_string).collect(), warnings)
    }

    #[test]
    fn takes_what_engines_write_for_no_limit() {
        let (read, errors, warnings) = read(&json!({
            "memory": {"disableOOMKiller": false, "limit": 0}, "cpu": {"shares": 0, "cpus": ""},
            "blockIO": {"weight": 0}, "pids": null, "unknown": 7,
            "devices": [{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 5, "minor": -1, "access": "mr"}],
        }));
        let all = Access { read: true, write: true, mknod: true };
        let (none, some) = (None, Some(5));
        let devices = vec![
            DeviceRule {
                allow: false,
                kind: DeviceKind::All,
                major: none,
                minor: none,
                access: all,
            },
            DeviceRule {
                allow: true,
                kind: DeviceKind::Char,
                major: some,
                minor: none,
                access: Access { write: false, ..all },
            },
        ];
        assert_eq!(read, Resources { devices, ..Resources::default() });
        assert!(errors.is_empty() && warnings.is_empty());
    }

    #[test]
    fn keeps_what_is_set() {
        let (read, errors, warnings) = read(&json!({
            "memory": {"limit": 100, "swap": -1, "reservation": 50, "swappiness": 0, "kernel": 7},
            "cpu": {"quota": -1, "burst": 0, "idle": 1, "cpus": "0-2,7"}, "pids": {"limit": 0},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "rdma": {"mlx5_0": {"hcaHandles": 3}}, "unified": {"memory.high": "1", "io.max": "2"},
            "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 5}]},
        }));
        assert_eq!(errors, [""; 0]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(read.memory.swap, Some(-1));
        assert_eq!(read.memory.swappiness, Some(0));
        assert_eq!((read.cpu.quota, read.cpu.burst, read.cpu.idle), (Some(-1), Some(0), Some(1)));
        assert_eq!(read.pids_limit, Some(0));
        assert_eq!(read.hugepage_limits[0].limit, 0);
        assert_eq!(read.unified[0].0, "io.max");
        assert_eq!(read.network.priorities, [("eth0".to_owned(), 5)]);
    }

    #[test]
    fn refuses_by_path() {
        let (_, errors, _) = read(&json!({
            "devices": [{"type": "p", "access": "x", "allow": true}, {"access": "x", "major": -2}],
            "memory": {"limit": 100, "swap": 99, "reservation": -2, "swappiness": 101},
            "cpu": {"idle": 2, "cpus": "all", "quota": 5, "burst": 6, "period": -1},
            "blockIO": {"weight": 9, "throttleReadBpsDevice": [{"major": 8, "rate": 1}]},
            "hugepageLimits": [{"pageSize": "../x", "limit": 1}, {"pageSize": "02MB", "limit": 1}],
            "network": {"priorities": [{"name": "a b", "priority": 1}]},
            "rdma": {"m": {}},
            "unified": {"../../x": "1", "memory": "1", "memory.": "1", "Memory.max": "1"},
        }));
        let expected = [
            "linux.resources.devices[0].type: not supported: \"p\" (known: a, b, c)",
            "linux.resources.devices[1].allow: missing",
            "linux.resources.devices[1].major: invalid: -2 is no device number",
            "linux.resources.devices[1].access: invalid: \"x\": expected letters of r, w and m",
            "linux.resources.memory.swappiness: invalid: expected 0 to 100",
            "linux.resources.memory.reservation: invalid: -2: expected a size, or -1 for no limit",
            "linux.resources.memory.swap: conflict: 99 is memory and swap together, but the memory \
             limit is 100",
            "linux.resources.cpu.idle: invalid: expected 0 or 1",
            "linux.resources.cpu.burst: conflict: 6 is above the quota of 5",
            "linux.resources.cpu.period: invalid: -1 is not an integer between 0 and \
             18446744073709551615",
            "linux.resources.cpu.cpus: invalid: \"all\": expected a list such as 0-2,7",
            "linux.resources.blockIO.weight: invalid: 9: expected 10 to 1000",
            "linux.resources.blockIO.throttleReadBpsDevice[0].minor: missing",
            "linux.resources.hugepageLimits[0].pageSize: invalid: \"../x\": expected a size such as \
             64KB, 2MB or 1GB",
            "linux.resources.hugepageLimits[1].pageSize: invalid: \"02MB\": expected a size such as \
             64KB, 2MB or 1GB",
            "linux.resources.network.priorities[0].name: invalid: \"a b\" is no name of a device",
            "linux.resources.rdma.m: missing: expected hcaHandles or hcaObjects",
            "linux.resources.unified.../../x: invalid: expected the name of a file, such as memory.high",
            "linux.resources.unified.Memory.max: invalid: expected the name of a file, such as memory.high",
            "linux.resources.unified.memory: invalid: expected the name of a file, such as memory.high",
            "linux.resources.unified.memory.: invalid: expected the name of a file, such as memory.high",
        ];
        assert_eq!(errors, expected);
    }
}
