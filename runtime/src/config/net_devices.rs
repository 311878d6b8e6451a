//! `linux.netDevices`: network devices of the host that move into the container's network namespace.

use super::error::Kind;
use super::field::Field;

/// One member of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container; `%d` in it stands for the first free number.
    pub name: String,
}

/// `IFNAMSIZ` without the end mark.
const NAME_BYTES_MAX: usize = 15;

/// Reads the object, in the order of its keys.
pub(super) fn read(field: &Field<'_>) -> Vec<NetDevice> {
    let names = field.object().into_iter().flat_map(|map| map.keys());
    let mut devices: Vec<NetDevice> = Vec::new();
    for host in names {
        let device = field.get(host);
        if device.is_present() && device.object().is_none() {
            continue;
        }
        if !is_name(host) || host.contains('%') {
            device.refuse(Kind::Invalid, format!("invalid network device name {host:?}"));
        }
        let name_field = device.get("name");
        let name = name_field.string().filter(|name| !name.is_empty()).unwrap_or(host);
        if !is_name(name) || !is_template(name) {
            name_field.refuse(Kind::Invalid, format!("invalid network device name {name:?}"));
        }
        if !name.contains('%') && devices.iter().any(|other| other.name == name) {
            let detail = format!("two devices would have the name {name:?}");
            name_field.refuse(Kind::Duplicate, detail);
        }
        devices.push(NetDevice { host: host.to_owned(), name: name.to_owned() });
    }
    devices
}

/// What the kernel takes for the name of a network device.
fn is_name(name: &str) -> bool {
    let odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0x0b;
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.bytes().any(odd)
}

/// The kernel fills in one `%d`, and knows no other use of the sign.
fn is_template(name: &str) -> bool {
    !name.replacen("%d", "", 1).contains('%')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::json::Json;

    use super::*;
    use crate::config::field::Findings;

    fn check(devices: &Value) -> (Vec<NetDevice>, Vec<String>) {
        let findings = Findings::default();
        let read = read(&Field::root(&Json::from(devices), &findings));
        (read, findings.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn keeps_the_hosts_name_where_none_is_given() {
        let (devices, errors) = check(
            &json!({"eth0": {}, "eth1": {"name": "in%d"}, "eth2": {"name": ""}, "eth3": null}),
        );
        let names: Vec<_> = devices.iter().map(|d| (d.host.as_str(), d.name.as_str())).collect();
        let expected = [("eth0", "eth0"), ("eth1", "in%d"), ("eth2", "eth2"), ("eth3", "eth3")];
        assert_eq!((names.as_slice(), errors), (&expected[..], Vec::new()));
    }

    #[test]
    fn refuses_names_that_no_device_can_have() {
        for (devices, field) in [
            (json!({"a/b": {}}), "a/b: invalid"),
            (json!({"..": {}}), "..: invalid"),
            (json!({"eth%d": {}}), "eth%d: invalid"),
            (json!({"eth0": {"name": "sixteen-bytes-xx"}}), "eth0.name: invalid"),
            (json!({"eth0": {"name": "a b"}}), "eth0.name: invalid"),
            (json!({"eth0": {"name": "a:1"}}), "eth0.name: invalid"),
            (json!({"eth0": {"name": "%s"}}), "eth0.name: invalid"),
            (json!({"eth0": {"name": "%d%d"}}), "eth0.name: invalid"),
            (json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}}), "eth1.name: duplicate"),
            (json!({"eth0": "x"}), "eth0: invalid"),
        ] {
            let (_, errors) = check(&devices);
            assert!(errors.iter().any(|e| e.starts_with(field)), "{devices}: {errors:?}");
        }
    }
}
