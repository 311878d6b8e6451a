//! Limits in the form of `linux.resources`, for the record of a container that was updated.

use serde_json::{Map, Value, json};

use super::{Resources, ThrottleDevice};
use crate::config::error::ConfigErrors;
use crate::config::json::Json;
use crate::config::spec::checked;

impl Resources {
    /// These rules on devices with all other limits as [`Resources::to_json`] wrote them.
    ///
    /// # Errors
    /// When the record is damaged.
    pub fn replaced_by(self, record: &Value) -> Result<Self, ConfigErrors> {
        Ok(Self { devices: self.devices, ..checked(&Json::from(record), Self::read)?.value })
    }

    /// The limits as the specification writes them, without the rules on devices, which stay those
    /// of the config.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.as_object().is_some_and(Map::is_empty)
                && !value.as_array().is_some_and(Vec::is_empty)
            {
                all.insert(name.to_owned(), value);
            }
        };
        put("memory", self.memory_json());
        put("cpu", self.cpu_json());
        put("pids", present([("limit", self.pids_limit.map(Value::from))]));
        put("blockIO", self.block_io_json());
        let pages = self.hugepage_limits.iter();
        let pages = pages.map(|page| json!({"pageSize": page.page_size, "limit": page.limit}));
        put("hugepageLimits", pages.collect());
        let priorities = self.network.priorities.iter();
        let priorities: Value = priorities
            .map(|(name, priority)| json!({"name": name, "priority": priority}))
            .collect();
        let network = [
            ("classID", self.network.class_id.map(Value::from)),
            ("priorities", some_list(priorities)),
        ];
        put("network", present(network));
        let rdma = self.rdma.iter().map(|device| {
            let limits = [
                ("hcaHandles", device.hca_handles.map(Value::from)),
                ("hcaObjects", device.hca_objects.map(Value::from)),
            ];
            (device.device.clone(), present(limits))
        });
        put("rdma", Value::Object(rdma.collect()));
        let unified = self.unified.iter();
        put("unified", unified.map(|(key, value)| (key.clone(), json!(value))).collect());
        Value::Object(all)
    }

    fn memory_json(&self) -> Value {
        let memory = &self.memory;
        present([
            ("limit", memory.limit.map(Value::from)),
            ("reservation", memory.reservation.map(Value::from)),
            ("swap", memory.swap.map(Value::from)),
            ("swappiness", memory.swappiness.map(Value::from)),
            ("disableOOMKiller", memory.disable_oom_killer.then_some(Value::Bool(true))),
            ("useHierarchy", memory.use_hierarchy.then_some(Value::Bool(true))),
            ("checkBeforeUpdate", memory.check_before_update.then_some(Value::Bool(true))),
        ])
    }

    fn cpu_json(&self) -> Value {
        let cpu = &self.cpu;
        present([
            ("shares", cpu.shares.map(Value::from)),
            ("quota", cpu.quota.map(Value::from)),
            ("burst", cpu.burst.map(Value::from)),
            ("period", cpu.period.map(Value::from)),
            ("realtimeRuntime", cpu.realtime_runtime.map(Value::from)),
            ("realtimePeriod", cpu.realtime_period.map(Value::from)),
            ("cpus", cpu.cpus.clone().map(Value::from)),
            ("mems", cpu.mems.clone().map(Value::from)),
            ("idle", cpu.idle.map(Value::from)),
        ])
    }

    fn block_io_json(&self) -> Value {
        let block_io = &self.block_io;
        let weights = block_io.weight_device.iter().map(|device| {
            present([
                ("major", Some(device.major.into())),
                ("minor", Some(device.minor.into())),
                ("weight", device.weight.map(Value::from)),
                ("leafWeight", device.leaf_weight.map(Value::from)),
            ])
        });
        present([
            ("weight", block_io.weight.map(Value::from)),
            ("leafWeight", block_io.leaf_weight.map(Value::from)),
            ("weightDevice", some_list(weights.collect())),
            ("throttleReadBpsDevice", rates(&block_io.throttle_read_bps)),
            ("throttleWriteBpsDevice", rates(&block_io.throttle_write_bps)),
            ("throttleReadIOPSDevice", rates(&block_io.throttle_read_iops)),
            ("throttleWriteIOPSDevice", rates(&block_io.throttle_write_iops)),
        ])
    }
}

fn rates(devices: &[ThrottleDevice]) -> Option<Value> {
    let one = |device: &ThrottleDevice| json!({"major": device.major, "minor": device.minor, "rate": device.rate});
    some_list(devices.iter().map(one).collect())
}

fn some_list(list: Value) -> Option<Value> {
    Some(list).filter(|list| list.as_array().is_some_and(|items| !items.is_empty()))
}

fn present<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = |(key, value): (&str, Option<Value>)| Some((key.to_owned(), value?));
    Value::Object(members.into_iter().filter_map(there).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads() {
        let device = json!([{"major": 8, "minor": 0, "rate": 7}]);
        let all = json!({
            "memory": {"limit": 100, "reservation": 50, "swap": -1, "swappiness": 0,
                "disableOOMKiller": true, "useHierarchy": true, "checkBeforeUpdate": true},
            "cpu": {"shares": 512, "quota": -1, "burst": 0, "period": 9, "realtimeRuntime": 8,
                "realtimePeriod": 7, "cpus": "0-1", "mems": "0", "idle": 0},
            "pids": {"limit": 0},
            "blockIO": {"weight": 10, "leafWeight": 11,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 12, "leafWeight": 13}],
                "throttleReadBpsDevice": device, "throttleWriteBpsDevice": device,
                "throttleReadIOPSDevice": device, "throttleWriteIOPSDevice": device},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "network": {"classID": 9, "priorities": [{"name": "eth0", "priority": 5}]},
            "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 4}},
            "unified": {"memory.high": "1"},
        });
        let read = |json: &Value| checked(&Json::from(json), Resources::read).unwrap().value;
        assert_eq!(read(&all).to_json(), all);
        assert_eq!(read(&json!({})).to_json(), json!({}));
    }
}
