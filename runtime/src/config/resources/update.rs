//! What `update` changes: limits in the form of `linux.resources`, laid over those that a container
//! has. What is not named stays as it is.

use serde_json::Value;

use super::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};
use crate::config::error::ConfigErrors;
use crate::config::json::Json;
use crate::config::spec::{Checked, checked};

/// Limits that are to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    named: Resources,
    /// Whether the swap limit was named as zero: the recorded one is to be forgotten.
    forgets_swap: bool,
}

/// What an update comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// All limits of the container from now on.
    pub all: Resources,
    /// Those to be written: the named ones, and those that the kernel takes only together with them.
    pub changed: Resources,
}

impl Update {
    /// Reads limits as `linux.resources` of the specification has them. The rules on devices are not
    /// looked at: an update never touches them, since other programs add to them behind the runtime's
    /// back. Limits on huge pages and on network traffic stay as they are, as in runc.
    ///
    /// # Errors
    /// Everything that is wrong with them, each finding with the path of its field.
    pub fn from_json(document: &Value) -> Result<Checked<Self>, ConfigErrors> {
        let mut document = document.clone();
        if let Value::Object(fields) = &mut document {
            fields.remove("devices");
        }
        let read = checked(&Json::from(&document), Resources::read)?;
        let Checked { value: mut named, mut warnings } = read;
        if !std::mem::take(&mut named.hugepage_limits).is_empty() {
            warnings.push("hugepageLimits: ignored: not changed by update".to_owned());
        }
        if std::mem::take(&mut named.network) != super::Network::default() {
            warnings.push("network: ignored: not changed by update".to_owned());
        }
        let forgets_swap = document["memory"]["swap"].as_i64() == Some(0);
        Ok(Checked { value: Self { named, forgets_swap }, warnings })
    }

    /// Lays the update over the limits that are recorded of a container.
    #[must_use]
    pub fn over(&self, recorded: &Resources) -> Updated {
        let named = &self.named;
        let all = Resources {
            devices: recorded.devices.clone(),
            memory: self.memory(&recorded.memory),
            cpu: self.cpu(&recorded.cpu),
            pids_limit: named.pids_limit.or(recorded.pids_limit),
            block_io: block_io(&named.block_io, &recorded.block_io),
            rdma: upserted(&recorded.rdma, &named.rdma, |a, b| a.device == b.device),
            unified: unified(&named.unified, &recorded.unified),
            ..recorded.clone()
        };
        let mut changed = Resources { devices: Vec::new(), ..named.clone() };
        // cgroup v2 has one file for both, and the other counts the two together.
        if named.memory.limit.is_some() || named.memory.swap.is_some() {
            (changed.memory.limit, changed.memory.swap) = (all.memory.limit, all.memory.swap);
        }
        if named.cpu.quota.is_some() || named.cpu.period.is_some() {
            (changed.cpu.quota, changed.cpu.period) = (all.cpu.quota, all.cpu.period);
        }
        Updated { all, changed }
    }

    fn memory(&self, recorded: &Memory) -> Memory {
        let named = &self.named.memory;
        // Without a word on swap, no limit on memory is none on both.
        let forgets_swap = self.forgets_swap || named.limit == Some(-1);
        Memory {
            limit: named.limit.or(recorded.limit),
            reservation: named.reservation.or(recorded.reservation),
            swap: named.swap.or(recorded.swap.filter(|_| !forgets_swap)),
            swappiness: named.swappiness.or(recorded.swappiness),
            disable_oom_killer: named.disable_oom_killer || recorded.disable_oom_killer,
            use_hierarchy: named.use_hierarchy || recorded.use_hierarchy,
            check_before_update: named.check_before_update,
        }
    }

    fn cpu(&self, recorded: &Cpu) -> Cpu {
        let named = &self.named.cpu;
        Cpu {
            // The kernel forgets the shares of a cgroup that becomes idle, or is so no more.
            shares: named.shares.or(recorded.shares.filter(|_| named.idle.is_none())),
            quota: named.quota.or(recorded.quota),
            burst: named.burst.or(recorded.burst),
            period: named.period.or(recorded.period),
            realtime_runtime: named.realtime_runtime.or(recorded.realtime_runtime),
            realtime_period: named.realtime_period.or(recorded.realtime_period),
            cpus: named.cpus.clone().or_else(|| recorded.cpus.clone()),
            mems: named.mems.clone().or_else(|| recorded.mems.clone()),
            idle: named.idle.or(recorded.idle),
        }
    }
}

fn block_io(named: &BlockIo, recorded: &BlockIo) -> BlockIo {
    let same = |a: &ThrottleDevice, b: &ThrottleDevice| (a.major, a.minor) == (b.major, b.minor);
    BlockIo {
        weight: named.weight.or(recorded.weight),
        leaf_weight: named.leaf_weight.or(recorded.leaf_weight),
        weight_device: weights(&named.weight_device, &recorded.weight_device),
        throttle_read_bps: upserted(&recorded.throttle_read_bps, &named.throttle_read_bps, same),
        throttle_write_bps: upserted(&recorded.throttle_write_bps, &named.throttle_write_bps, same),
        throttle_read_iops: upserted(&recorded.throttle_read_iops, &named.throttle_read_iops, same),
        throttle_write_iops: upserted(
            &recorded.throttle_write_iops,
            &named.throttle_write_iops,
            same,
        ),
    }
}

fn weights(named: &[WeightDevice], recorded: &[WeightDevice]) -> Vec<WeightDevice> {
    let same = |a: &WeightDevice, b: &WeightDevice| (a.major, a.minor) == (b.major, b.minor);
    let mut all = recorded.to_vec();
    for new in named {
        match all.iter_mut().rev().find(|old| same(old, new)) {
            Some(old) => {
                old.weight = new.weight.or(old.weight);
                old.leaf_weight = new.leaf_weight.or(old.leaf_weight);
            }
            None => all.push(*new),
        }
    }
    all
}

/// `old` with each of `new` in the place of the same one, or behind all. Of two old ones the last counts.
fn upserted<T: Clone>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let mut all = old.to_vec();
    for item in new {
        match all.iter_mut().rev().find(|known| same(known, item)) {
            Some(known) => *known = item.clone(),
            None => all.push(item.clone()),
        }
    }
    all
}

fn unified(named: &[(String, String)], recorded: &[(String, String)]) -> Vec<(String, String)> {
    let mut all = upserted(recorded, named, |a, b| a.0 == b.0);
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(json: &Value) -> Resources {
        checked(&Json::from(json), Resources::read).unwrap().value
    }

    /// The recorded limits and what is written, as JSON, after `update` was laid over `before`.
    fn over(before: &Value, update: &Value) -> (Value, Value) {
        let updated = Update::from_json(update).unwrap().value.over(&recorded(before));
        (updated.all.to_json(), updated.changed.to_json())
    }

    #[test]
    fn keeps_what_is_not_named() {
        let before = json!({"memory": {"limit": 100}, "pids": {"limit": 5}, "cpu": {"shares": 9}});
        let (all, changed) = over(&before, &json!({"pids": {"limit": -1}}));
        assert_eq!(
            all,
            json!({"memory": {"limit": 100}, "pids": {"limit": -1}, "cpu": {"shares": 9}})
        );
        assert_eq!(changed, json!({"pids": {"limit": -1}}));
    }

    #[test]
    fn completes_what_the_kernel_takes_together() {
        let before = json!({"memory": {"limit": 100, "swap": 300}, "cpu": {"quota": 5000}});
        let (_, changed) = over(&before, &json!({"memory": {"limit": 200}}));
        assert_eq!(changed, json!({"memory": {"limit": 200, "swap": 300}}));
        let (all, changed) = over(&before, &json!({"cpu": {"period": 50_000}}));
        assert_eq!(changed, json!({"cpu": {"quota": 5000, "period": 50_000}}));
        assert_eq!(all["cpu"], changed["cpu"]);
        let (_, changed) = over(&before, &json!({"cpu": {"burst": 0}}));
        assert_eq!(changed, json!({"cpu": {"burst": 0}}));
    }

    #[test]
    fn forgets_swap_and_shares_where_they_no_longer_hold() {
        let before = json!({"memory": {"limit": 100, "swap": 300}, "cpu": {"shares": 512}});
        let (all, changed) = over(&before, &json!({"memory": {"limit": -1}}));
        assert_eq!(all["memory"], json!({"limit": -1}));
        assert_eq!(changed, json!({"memory": {"limit": -1}}));
        let (all, _) = over(&before, &json!({"memory": {"limit": 400, "swap": 0}}));
        assert_eq!(all["memory"], json!({"limit": 400}));
        let (all, changed) = over(&before, &json!({"cpu": {"idle": 1}}));
        assert_eq!((&all["cpu"], &changed["cpu"]), (&json!({"idle": 1}), &json!({"idle": 1})));
        let (all, _) = over(&before, &json!({"cpu": {"idle": 0, "shares": 7}}));
        assert_eq!(all["cpu"], json!({"idle": 0, "shares": 7}));
    }

    #[test]
    fn replaces_devices_of_the_same_number() {
        let device = |minor: u32, rate: u64| json!({"major": 8, "minor": minor, "rate": rate});
        let before = json!({"blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 100, "leafWeight": 200}],
            "throttleReadBpsDevice": [device(0, 1), device(1, 2)]}});
        let update = json!({"blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 300}],
            "throttleReadBpsDevice": [device(1, 3), device(2, 4)]}});
        let (all, changed) = over(&before, &update);
        let expected = json!([device(0, 1), device(1, 3), device(2, 4)]);
        assert_eq!(all["blockIO"]["throttleReadBpsDevice"], expected);
        let weight = json!([{"major": 8, "minor": 0, "weight": 300, "leafWeight": 200}]);
        assert_eq!(all["blockIO"]["weightDevice"], weight);
        assert_eq!(changed, update);
    }

    #[test]
    fn never_touches_devices_huge_pages_and_traffic() {
        let update = json!({"devices": [{"allow": "nonsense"}], "network": {"classID": 7},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]});
        let read = Update::from_json(&update).unwrap();
        assert_eq!(read.warnings.len(), 2, "{:?}", read.warnings);
        let before = recorded(&json!({"devices": [{"allow": true, "access": "r"}],
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9}]}));
        let updated = read.value.over(&before);
        assert_eq!(updated, Updated { all: before, changed: Resources::default() });
    }

    #[test]
    fn refuses_by_path() {
        let error = Update::from_json(&json!({"memory": {"limit": "x"}, "cpu": {"idle": 2}}));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("memory.limit: invalid"), "{error}");
        assert!(error.contains("cpu.idle: invalid: expected 0 or 1"), "{error}");
        assert!(Update::from_json(&json!([])).is_err());
    }
}
