//! Devices of `RUN --device`, as the Container Device Interface describes them (CDI's SPEC.md): files that say what a
//! container must have so that a device works in it.

mod edits;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(super) use self::edits::Edits;
use super::dockerfile::device::Device;
use super::dockerfile::word::parse_bool;
use super::error::StepError;

/// Where the files are looked for; what a later directory says of a device wins.
pub const DIRECTORIES: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];

/// BuildKit's annotation for a device that nobody has to allow.
const AUTOMATICALLY_ALLOWED: &str = "org.mobyproject.buildkit.device.autoallow";
/// BuildKit's annotation for a name that several devices go by.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// Which devices commands may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceAllowance {
    /// Whether it is all.
    pub all: bool,
    /// Devices, and kinds of them: `VENDOR/CLASS`.
    pub names: BTreeSet<String>,
}

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(rename = "cdiVersion")]
    _version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    devices: Vec<Described>,
    #[serde(default)]
    container_edits: Edits,
}

/// One device of a file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

/// What is known of the devices of this host.
#[derive(Debug, Default)]
struct Known {
    specs: Vec<Spec>,
    /// For each name the directory, the file and the place in it; nothing where two files of a directory have it.
    devices: BTreeMap<String, (usize, Option<(usize, usize)>)>,
    /// Files that say nothing, and why.
    unread: Vec<String>,
}

/// What the devices of a command change in its container. Whoever is not there and not needed is told to `warn`.
pub(super) fn resolve(
    devices: &[Device],
    directories: &[PathBuf],
    allowed: &DeviceAllowance,
    warn: &dyn Fn(&str),
) -> Result<Edits, StepError> {
    let mut edits = Edits::default();
    if devices.is_empty() {
        return Ok(edits);
    }
    let known = Known::read(directories);
    let mut chosen = Vec::new();
    for device in devices {
        let found = known.find(&device.name);
        if found.is_empty() {
            let unread: String = known.unread.iter().map(|why| format!("; {why}")).collect();
            if device.is_required {
                let name = device.name.clone();
                return Err(StepError::NoDevice { name, unread });
            }
            warn(&format!("optional device {:?} is not registered{unread}", device.name));
        }
        chosen.extend(found);
    }
    let (mut seen, mut seen_specs) = (BTreeSet::new(), BTreeSet::new());
    for (name, (file, place)) in chosen {
        if !seen.insert(name) {
            continue;
        }
        let spec = &known.specs[file];
        let described = &spec.devices[place];
        let annotation = |key| described.annotations.get(key).or(spec.annotations.get(key));
        let is_allowed = allowed.all
            || allowed.names.contains(name)
            || allowed.names.contains(&spec.kind)
            || annotation(AUTOMATICALLY_ALLOWED)
                .is_some_and(|value| parse_bool(value) == Some(true));
        if !is_allowed {
            return Err(StepError::DeviceForbidden { name: name.clone() });
        }
        if seen_specs.insert(file) {
            edits.add(&spec.container_edits);
        }
        edits.add(&described.container_edits);
    }
    edits.complete()?;
    Ok(edits)
}

impl Known {
    fn read(directories: &[PathBuf]) -> Self {
        let mut known = Self::default();
        for (number, directory) in directories.iter().enumerate() {
            let mut files: Vec<PathBuf> =
                fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
            files.sort();
            let is_spec = |path: &PathBuf| {
                path.extension().is_some_and(|end| end == "json" || end == "yaml" || end == "yml")
            };
            for file in files.into_iter().filter(is_spec) {
                match read(&file) {
                    Ok(spec) => known.add(number, spec),
                    Err(why) => known.unread.push(format!("{}: {why}", file.display())),
                }
            }
        }
        known
    }

    fn add(&mut self, directory: usize, spec: Spec) {
        let file = self.specs.len();
        for (place, device) in spec.devices.iter().enumerate() {
            let name = format!("{}={}", spec.kind, device.name);
            let here = Some((file, place));
            let entry = self.devices.entry(name).or_insert((directory, here));
            // Twice in one directory it is nobody's.
            *entry = match *entry {
                (other, at) if other == directory && at != here => (directory, None),
                _ => (directory, here),
            };
        }
        self.specs.push(spec);
    }

    /// The devices that a name means, in the order of their own.
    fn find(&self, wanted: &str) -> Vec<(&String, (usize, usize))> {
        let (kind, short) = wanted.split_once('=').unwrap_or((wanted, ""));
        let all = self.devices.iter().filter_map(|(name, (_, place))| Some((name, (*place)?)));
        let mut of_kind = all.filter(|(_, (file, _))| self.specs[*file].kind == kind);
        match short {
            "" => of_kind.next().into_iter().collect(),
            "*" => of_kind.collect(),
            _ => {
                let of_kind: Vec<_> = of_kind.collect();
                let exact = of_kind.iter().find(|(name, _)| *name == wanted);
                let has_class = |(_, (file, place)): &(&String, (usize, usize))| {
                    let spec = &self.specs[*file];
                    let own = spec.devices[*place].annotations.get(CLASS);
                    own.or(spec.annotations.get(CLASS)).is_some_and(|class| class == short)
                };
                match exact {
                    Some(exact) => vec![*exact],
                    None => of_kind.into_iter().filter(has_class).collect(),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Spec, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text)
}

/// Reads a file, which is YAML: JSON is a part of that.
fn parse(text: &str) -> Result<Spec, String> {
    let documents = yaml_rust2::YamlLoader::load_from_str(text).map_err(|e| e.to_string())?;
    let [document] = documents.as_slice() else {
        return Err("it is not one document".to_owned());
    };
    let value = to_json(document).ok_or("it has a value that JSON does not have")?;
    let spec: Spec = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if spec.devices.is_empty() { Err("it has no devices".to_owned()) } else { Ok(spec) }
}

/// Whether a text is a file of the interface, for the fuzz target.
#[doc(hidden)]
#[must_use]
pub fn is_spec(text: &str) -> bool {
    parse(text).is_ok()
}

fn to_json(value: &yaml_rust2::Yaml) -> Option<serde_json::Value> {
    use serde_json::Value;
    use yaml_rust2::Yaml;
    Some(match value {
        Yaml::Null => Value::Null,
        Yaml::Boolean(value) => Value::Bool(*value),
        Yaml::Integer(value) => Value::from(*value),
        Yaml::Real(text) => Value::from(text.parse::<f64>().ok()?),
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Array(values) => Value::Array(values.iter().map(to_json).collect::<Option<_>>()?),
        Yaml::Hash(pairs) => {
            let pair =
                |(key, value): (&Yaml, &Yaml)| Some((key.as_str()?.to_owned(), to_json(value)?));
            Value::Object(pairs.iter().map(pair).collect::<Option<_>>()?)
        }
        Yaml::Alias(_) | Yaml::BadValue => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_yaml_and_json() {
        let yaml = "cdiVersion: \"0.6.0\"\nkind: v.com/c\ndevices:\n- name: a\n  containerEdits:\n    env: [A=1]\n";
        let json = r#"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"a"}],"containerEdits":{}}"#;
        for text in [yaml, json] {
            let spec = parse(text).unwrap();
            assert_eq!((spec.kind.as_str(), spec.devices[0].name.as_str()), ("v.com/c", "a"));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, word) in [
            ("a: [", "line"),
            ("kind: v/c\n", "cdiVersion"),
            ("{cdiVersion: '1', kind: v/c, devices: []}", "no devices"),
            ("{cdiVersion: '1', kind: v/c, devices: [{}]}", "name"),
            ("--- a\n--- b\n", "one document"),
            ("{1: 2}", "JSON does not have"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }
}
