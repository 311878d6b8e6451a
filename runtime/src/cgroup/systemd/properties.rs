//! `linux.resources` → properties of a unit, as runc's systemd driver tells them on cgroup v2. What
//! systemd has no property for is written to the files alone. Pure.

use super::annotation::Property;
use super::unit::Unit;
use crate::cgroup::limits_v2::{cpu_weight, swap_alone};
use crate::config::resources::{Cpu, Memory, Resources};
use crate::dbus::value::Value;

/// systemd's word for "no limit".
const INFINITY: u64 = u64::MAX;

/// The steps in which systemd keeps a quota, in microseconds a second.
const QUOTA_STEP: u64 = 10_000;

/// The largest number of a processor or memory node that is told: the kernel's own largest is 8191.
const NUMBER_MAX: usize = 8191;

/// What this systemd knows, by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    version: u32,
}

impl Features {
    /// The features of a version.
    #[must_use]
    pub fn of(version: u32) -> Self {
        Self { version }
    }

    /// Whether anything that `resources` ask for depends on the version: else it need not be asked.
    #[must_use]
    pub fn matter_for(resources: &Resources) -> bool {
        let cpu = &resources.cpu;
        let plain = cpu.period.is_none() && cpu.cpus.is_none() && cpu.mems.is_none();
        !plain || cpu.idle.is_some() || !resources.unified.is_empty()
    }

    fn has_quota_period(self) -> bool {
        self.version >= 242
    }

    fn has_cpuset(self) -> bool {
        self.version >= 244
    }

    fn has_idle(self) -> bool {
        self.version >= 252
    }

    fn has_oom_policy_of_scopes(self) -> bool {
        self.version >= 253
    }
}

/// The properties of a new unit, before those of its limits: `pid` is the process that a scope
/// begins with.
#[must_use]
pub fn for_start(unit: &Unit, description: &str, pid: i32) -> Vec<Property> {
    let pid = Value::Uint32(pid.unsigned_abs());
    let mut properties = vec![("Description", Value::text(description))];
    if unit.is_scope() {
        properties.push(("Slice", Value::text(&unit.slice)));
        properties.push(("Delegate", Value::Bool(true)));
        properties.push(("PIDs", Value::Array("u".to_owned(), vec![pid])));
    } else {
        // A slice is in another by its name alone.
        properties.push(("Wants", Value::texts([&unit.slice])));
    }
    for name in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
        properties.push((name, Value::Bool(true)));
    }
    // Without this it would end before the container's own processes are through at shutdown.
    properties.push(("DefaultDependencies", Value::Bool(false)));
    properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The properties of limits.
#[must_use]
pub fn for_resources(resources: &Resources, features: Features) -> Vec<Property> {
    let mut draft = Draft { features, properties: Vec::new() };
    draft.memory(&resources.memory);
    draft.cpu(&resources.cpu);
    match resources.pids_limit {
        Some(limit @ 1..) => draft.put("TasksMax", limit.unsigned_abs()),
        // systemd takes no zero; and the first process is one.
        Some(0) => draft.put("TasksMax", 1),
        Some(_) => draft.put("TasksMax", INFINITY),
        None => {}
    }
    for (file, value) in &resources.unified {
        draft.unified(file, value.trim());
    }
    draft.properties
}

struct Draft {
    features: Features,
    properties: Vec<Property>,
}

impl Draft {
    fn put(&mut self, name: &str, number: u64) {
        self.put_value(name, Value::Uint64(number));
    }

    /// A later one replaces an earlier one: `unified` has the last word.
    fn put_value(&mut self, name: &str, value: Value) {
        self.properties.retain(|(known, _)| known != name);
        self.properties.push((name.to_owned(), value));
    }

    fn memory(&mut self, memory: &Memory) {
        if let Some(limit) = memory.limit {
            self.put("MemoryMax", or_infinity(limit));
        }
        if let Some(reservation) = memory.reservation {
            self.put("MemoryLow", or_infinity(reservation));
        }
        if let Some(swap) = swap_alone(memory) {
            self.put("MemorySwapMax", or_infinity(swap));
        }
    }

    fn cpu(&mut self, cpu: &Cpu) {
        match (cpu.idle, cpu.shares) {
            (Some(1), _) => self.idle(),
            (_, Some(shares)) => self.put("CPUWeight", cpu_weight(shares)),
            _ => {}
        }
        if cpu.quota.is_some() || cpu.period.is_some() {
            self.quota(cpu.quota.and_then(|quota| u64::try_from(quota).ok()), cpu.period);
        }
        self.set("AllowedCPUs", cpu.cpus.as_deref());
        self.set("AllowedMemoryNodes", cpu.mems.as_deref());
    }

    fn idle(&mut self) {
        if self.features.has_idle() {
            self.put("CPUWeight", 0);
        }
    }

    /// The quota in microseconds a second, rounded up to what systemd can keep. The file gets the
    /// exact one afterwards.
    fn quota(&mut self, quota: Option<u64>, period: Option<u64>) {
        const PERIOD_DEFAULT: u64 = 100_000;
        let by_period = period.filter(|period| *period > 0).unwrap_or(PERIOD_DEFAULT);
        let a_second = quota.and_then(|quota| Some(quota.checked_mul(1_000_000)? / by_period));
        let rounded = a_second.and_then(|value| value.checked_next_multiple_of(QUOTA_STEP));
        self.put("CPUQuotaPerSecUSec", rounded.filter(|value| *value > 0).unwrap_or(INFINITY));
        if let Some(period) = period.filter(|_| self.features.has_quota_period()) {
            self.put("CPUQuotaPeriodUSec", period);
        }
    }

    /// A set of numbers as systemd takes it: bit n of byte n/8.
    fn set(&mut self, name: &str, list: Option<&str>) {
        let mask = list.filter(|_| self.features.has_cpuset()).and_then(mask);
        if let Some(mask) = mask {
            let bytes = mask.into_iter().map(Value::Byte).collect();
            self.put_value(name, Value::Array("y".to_owned(), bytes));
        }
    }

    /// What a file of cgroup v2 is called by systemd. The others are its own business to leave alone.
    fn unified(&mut self, file: &str, value: &str) {
        let number = || match value {
            "max" => Some(INFINITY),
            digits => digits.parse().ok(),
        };
        let name = match file {
            "memory.min" => "MemoryMin",
            "memory.low" => "MemoryLow",
            "memory.high" => "MemoryHigh",
            "memory.max" => "MemoryMax",
            "memory.swap.max" => "MemorySwapMax",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "cpu.idle" if value == "1" => return self.idle(),
            "cpu.max" => {
                let mut words = value.split_whitespace();
                let quota = words.next().and_then(|word| word.parse().ok());
                return self.quota(quota, words.next().and_then(|word| word.parse().ok()));
            }
            "cpuset.cpus" => return self.set("AllowedCPUs", Some(value)),
            "cpuset.mems" => return self.set("AllowedMemoryNodes", Some(value)),
            "memory.oom.group" if self.features.has_oom_policy_of_scopes() => {
                let policy = if value == "1" { "kill" } else { "continue" };
                return self.put_value("OOMPolicy", Value::text(policy));
            }
            _ => return,
        };
        if let Some(number) = number() {
            self.put(name, number);
        }
    }
}

fn or_infinity(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(INFINITY)
}

/// `0-2,7` as bits; nothing where the kernel will refuse the list anyway.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last > NUMBER_MAX || first > last {
            return None;
        }
        mask.resize(mask.len().max(last / 8 + 1), 0);
        for number in first..=last {
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    (!mask.is_empty()).then_some(mask)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::config::field::{Field, Findings};

    fn told(json: &Json, version: u32) -> Vec<String> {
        let findings = Findings::default();
        let resources =
            Resources::read(&Field::root(&crate::config::json::Json::from(json), &findings))
                .unwrap();
        let told = for_resources(&resources, Features::of(version));
        told.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn tells_limits() {
        let limits = json!({
            "memory": {"limit": 100, "swap": 250, "reservation": 50},
            "cpu": {"shares": 1024, "quota": 33_333, "period": 100_000, "cpus": "0-2,9"},
            "pids": {"limit": 0},
        });
        assert_eq!(
            told(&limits, 257),
            [
                "MemoryMax=Uint64(100)",
                "MemoryLow=Uint64(50)",
                "MemorySwapMax=Uint64(150)",
                "CPUWeight=Uint64(100)",
                "CPUQuotaPerSecUSec=Uint64(340000)",
                "CPUQuotaPeriodUSec=Uint64(100000)",
                "AllowedCPUs=Array(\"y\", [Byte(7), Byte(2)])",
                "TasksMax=Uint64(1)",
            ]
        );
        assert_eq!(told(&limits, 239).len(), 6);
        let none = json!({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}});
        let max = u64::MAX;
        assert_eq!(
            told(&none, 257),
            [
                format!("MemoryMax=Uint64({max})"),
                format!("MemorySwapMax=Uint64({max})"),
                format!("CPUQuotaPerSecUSec=Uint64({max})"),
                format!("TasksMax=Uint64({max})"),
            ]
        );
    }

    #[test]
    fn unified_has_the_last_word() {
        let limits = json!({
            "memory": {"limit": 100},
            "unified": {"memory.max": "200", "memory.high": "max", "cpu.max": "max 50000",
                "cpu.idle": "1", "memory.oom.group": "1", "io.max": "8:0 rbps=1"},
        });
        let max = u64::MAX;
        assert_eq!(
            told(&limits, 257),
            [
                "CPUWeight=Uint64(0)".to_owned(),
                format!("CPUQuotaPerSecUSec=Uint64({max})"),
                "CPUQuotaPeriodUSec=Uint64(50000)".to_owned(),
                format!("MemoryHigh=Uint64({max})"),
                "MemoryMax=Uint64(200)".to_owned(),
                "OOMPolicy=Text(\"kill\")".to_owned(),
            ]
        );
    }

    #[test]
    fn reads_lists_of_numbers() {
        assert_eq!(mask("0"), Some(vec![1]));
        assert_eq!(mask("8, 15-16"), Some(vec![0, 0b1000_0001, 1]));
        for list in ["", "a", "3-1", "0-99999999", "-1"] {
            assert_eq!(mask(list), None, "{list}");
        }
    }
}
