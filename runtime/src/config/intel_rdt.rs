//! `linux.intelRdt`: the class of service and the monitoring group of the container's processes
//! (resctrl file system).

use super::error::Kind;
use super::field::Field;

/// The object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntelRdt {
    /// The class of service: a directory of the resctrl file system, `/` for its root; the container's
    /// id where absent.
    pub clos_id: Option<String>,
    /// A line for `schemata`: cache masks.
    pub l3_cache_schema: Option<String>,
    /// A line for `schemata`: memory bandwidth.
    pub mem_bw_schema: Option<String>,
    /// More lines for `schemata`.
    pub schemata: Vec<String>,
    /// Whether the container gets a monitoring group of its own.
    pub enable_monitoring: bool,
}

impl IntelRdt {
    /// Reads the object.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let line = |name: &str| line(&field.get(name));
        let mem_bw_schema = line("memBwSchema");
        if mem_bw_schema.as_ref().is_some_and(|schema| !schema.starts_with("MB:")) {
            field.get("memBwSchema").refuse(Kind::Invalid, "does not begin with MB:");
        }
        Some(Self {
            clos_id: clos_id(&field.get("closID")),
            l3_cache_schema: line("l3CacheSchema"),
            mem_bw_schema,
            schemata: field.get("schemata").collect(self::line),
            enable_monitoring: field.get("enableMonitoring").boolean().unwrap_or(false),
        })
    }

    /// Whether anything is to be written to `schemata`.
    #[must_use]
    pub fn has_schemata(&self) -> bool {
        let lines = self.l3_cache_schema.is_some() || self.mem_bw_schema.is_some();
        lines || !self.schemata.is_empty()
    }
}

fn clos_id(field: &Field<'_>) -> Option<String> {
    let id = field.string().filter(|id| !id.is_empty())?;
    if matches!(id, "." | "..") || (id != "/" && id.contains('/')) || id.contains('\n') {
        field.refuse(
            Kind::Invalid,
            format!("invalid intelRdt.ClosID {id:?}: no name of a directory"),
        );
    }
    Some(id.to_owned())
}

fn line(field: &Field<'_>) -> Option<String> {
    let text = field.string().filter(|text| !text.is_empty())?;
    if text.contains('\n') {
        field.refuse(Kind::Invalid, "contains a newline");
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::config::json::Json;

    use super::*;
    use crate::config::field::Findings;

    fn check(object: &Value) -> (Option<IntelRdt>, Vec<String>) {
        let findings = Findings::default();
        let read = IntelRdt::read(&Field::root(&Json::from(object), &findings));
        (read, findings.into_parts().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_every_member() {
        let (read, errors) = check(&json!({"closID": "/", "l3CacheSchema": "L3:0=f",
            "memBwSchema": "MB:0=20", "schemata": ["L2:0=f", ""], "enableMonitoring": true}));
        let expected = IntelRdt {
            clos_id: Some("/".to_owned()),
            l3_cache_schema: Some("L3:0=f".to_owned()),
            mem_bw_schema: Some("MB:0=20".to_owned()),
            schemata: vec!["L2:0=f".to_owned()],
            enable_monitoring: true,
        };
        assert_eq!((read, errors), (Some(expected), Vec::new()));
        assert!(!check(&json!({"closID": ""})).0.is_some_and(|read| read.has_schemata()));
    }

    #[test]
    fn refuses_what_leads_elsewhere_or_says_more_than_one_line() {
        for (object, field) in [
            (json!({"closID": "../x"}), "closID"),
            (json!({"closID": ".."}), "closID"),
            (json!({"closID": "a/b"}), "closID"),
            (json!({"memBwSchema": "L3:0=f"}), "memBwSchema"),
            (json!({"memBwSchema": "MB:0=1\nL3:0=f"}), "memBwSchema"),
            (json!({"schemata": ["L3:0=f\n"]}), "schemata[0]"),
        ] {
            let (_, errors) = check(&object);
            assert!(errors.len() == 1 && errors[0].starts_with(field), "{object}: {errors:?}");
        }
    }
}
