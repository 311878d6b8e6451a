//! The flags of `update`, put into the form that `--resources` has, so that both are read and refused
//! by one rule.

use std::ffi::OsStr;

use serde_json::{Map, Value};

use super::super::command::{UpdateArgs, UpdateSource};
use super::super::error::CommandError;
use super::super::quote::quoted;
use super::super::size;
use super::{Misuse, Reader, unicode};

/// Flag, section and field.
type Place = (&'static str, &'static str, &'static str);

const UNSIGNED: [Place; 4] = [
    ("cpu-burst", "cpu", "burst"),
    ("cpu-period", "cpu", "period"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-share", "cpu", "shares"),
];

const SIGNED: [Place; 3] = [
    ("cpu-idle", "cpu", "idle"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
];

const SIZES: [Place; 5] = [
    ("memory", "memory", "limit"),
    ("memory-swap", "memory", "swap"),
    ("memory-reservation", "memory", "reservation"),
    ("kernel-memory", "memory", "kernel"),
    ("kernel-memory-tcp", "memory", "kernelTCP"),
];

const TEXTS: [Place; 2] = [("cpuset-cpus", "cpu", "cpus"), ("cpuset-mems", "cpu", "mems")];

/// These are numbers to runc's parser of flags already, so that it answers with the usage.
const NUMBERS: [Place; 2] =
    [("blkio-weight", "blockIO", "weight"), ("pids-limit", "pids", "limit")];

/// The flag that stands for a field of `linux.resources`, such as `cpu.period`.
pub(in crate::cli) fn flag_of(field: &str) -> Option<&'static str> {
    let (section, field) = field.split_once('.')?;
    let places = UNSIGNED.iter().chain(&SIGNED).chain(&SIZES).chain(&TEXTS).chain(&NUMBERS);
    let mut places = places.filter(|place| (place.1, place.2) == (section, field));
    places.next().map(|place| place.0)
}

impl Reader<'_> {
    pub(super) fn update(&self) -> Result<UpdateArgs, Misuse> {
        let source = match self.matches.text("resources").filter(|text| !text.is_empty()) {
            Some(text) if text == "-" => UpdateSource::Input,
            Some(_) => match self.host_path("resources")? {
                Some(path) => UpdateSource::File(path),
                None => UpdateSource::Input,
            },
            None => UpdateSource::Flags(self.limits()?),
        };
        Ok(UpdateArgs {
            id: self.id()?,
            source,
            l3_cache_schema: self.text("l3-cache-schema")?,
            mem_bw_schema: self.text("mem-bw-schema")?,
        })
    }

    fn limits(&self) -> Result<Value, Misuse> {
        let mut all = Map::new();
        for (flag, section, field) in NUMBERS {
            let Some(text) = self.matches.text(flag).map(OsStr::to_string_lossy) else { continue };
            let number: i64 = text.parse().map_err(|_| self.malformed(flag, &text))?;
            put(&mut all, section, field, number.into());
        }
        for (flag, section, field) in UNSIGNED {
            let Some(text) = self.text(flag)? else { continue };
            let number: u64 = text.parse().map_err(|_| no_number(flag, "ParseUint", &text))?;
            put(&mut all, section, field, number.into());
        }
        for (flag, section, field) in SIGNED {
            let Some(text) = self.text(flag)? else { continue };
            let number: i64 = text.parse().map_err(|_| no_number(flag, "ParseInt", &text))?;
            put(&mut all, section, field, number.into());
        }
        for (flag, section, field) in SIZES {
            let Some(text) = self.text(flag)? else { continue };
            let bytes = match text.as_str() {
                "-1" => -1,
                text => size::parse(text).ok_or_else(|| {
                    CommandError::new(format!(
                        "invalid value for {flag}: invalid size: '{text}' (bytes, or with k, m, g, t, p)"
                    ))
                })?,
            };
            put(&mut all, section, field, bytes.into());
        }
        for (flag, section, field) in TEXTS {
            let Some(text) = self.matches.text(flag).filter(|text| !text.is_empty()) else {
                continue;
            };
            put(&mut all, section, field, unicode(flag, text)?.into());
        }
        Ok(Value::Object(all))
    }
}

fn put(all: &mut Map<String, Value>, section: &str, field: &str, value: Value) {
    let section = all.entry(section).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(fields) = section {
        fields.insert(field.to_owned(), value);
    }
}

/// The words are those of Go's converter, which users of runc know.
fn no_number(flag: &str, function: &str, text: &str) -> CommandError {
    let text = quoted(text);
    CommandError::new(format!(
        "invalid value for {flag}: strconv.{function}: parsing {text}: invalid syntax"
    ))
}
