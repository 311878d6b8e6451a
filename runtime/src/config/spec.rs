//! The whole config as a checked value.

use super::error::{ConfigErrors, Kind};
use super::field::{Field, Findings};
use super::hooks::Hooks;
use super::idmap;
use super::json::Json;
use super::linux::Linux;
use super::mounts::Mount;
use super::process::Process;
use super::rules;

/// A config that obeys the specification, as far as that can be told without asking the kernel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spec {
    /// The version of the specification that the config follows.
    pub oci_version: String,
    /// `root.path`: the rootfs, absolute or relative to the bundle.
    pub root_path: String,
    /// `root.readonly`.
    pub root_readonly: bool,
    /// What is run.
    pub process: Option<Process>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Host name inside the container.
    pub hostname: Option<String>,
    /// Domain name inside the container.
    pub domainname: Option<String>,
    /// Hooks.
    pub hooks: Hooks,
    /// Annotations, in the order of their keys.
    pub annotations: Vec<(String, String)>,
    /// What is particular to Linux.
    pub linux: Linux,
}

/// What reading a config gave: the value, and what the user should know.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked<T> {
    /// The value.
    pub value: T,
    /// One line each, beginning with the field.
    pub warnings: Vec<String>,
}

impl Spec {
    /// Reads and checks a parsed `config.json`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each finding with the path of its field.
    pub fn from_json<'t>(document: impl Into<Json<'t>>) -> Result<Checked<Self>, ConfigErrors> {
        checked(&document.into(), Self::read)
    }

    fn read(root: &Field<'_>) -> Option<Self> {
        root.object()?;
        let text = |name: &str| {
            root.get(name).string().filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let mut spec = Self {
            oci_version: oci_version(&root.get("ociVersion")),
            root_path: root_path(root),
            root_readonly: root.get("root").get("readonly").boolean().unwrap_or(false),
            process: Process::read(&root.get("process")),
            mounts: root.get("mounts").collect(Mount::read),
            hostname: text("hostname"),
            domainname: text("domainname"),
            hooks: Hooks::read(&root.get("hooks")).unwrap_or_default(),
            annotations: annotations(&root.get("annotations")),
            linux: Linux::read(&root.get("linux")).unwrap_or_default(),
        };
        idmap::resolve(&mut spec.mounts, &spec.linux, root);
        rules::check(&spec, root);
        Some(spec)
    }
}

impl Process {
    /// Reads and checks a process object that stands alone, as `exec --process` takes it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each finding with the path of its field.
    pub fn from_json<'t>(document: impl Into<Json<'t>>) -> Result<Checked<Self>, ConfigErrors> {
        checked(&document.into(), Self::read)
    }
}

pub(super) fn checked<T>(
    document: &Json<'_>,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Result<Checked<T>, ConfigErrors> {
    let findings = Findings::default();
    let value = read(&Field::root(document, &findings));
    let (errors, warnings) = findings.into_parts();
    match value {
        Some(value) if errors.is_empty() => Ok(Checked { value, warnings }),
        _ => Err(ConfigErrors(errors)),
    }
}

fn oci_version(field: &Field<'_>) -> String {
    let version = field.required_string().unwrap_or_default();
    let mut numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
    let well_formed = {
        let mut next = || numbers.next().is_some_and(|n| n.parse::<u32>().is_ok());
        next() && next() && next()
    };
    if field.is_present() && !(well_formed && numbers.next().is_none()) {
        field.refuse(Kind::Invalid, format!("{version:?} is not a version like 1.2.0"));
    } else if field.is_present() && !version.starts_with("1.") {
        field.refuse(Kind::Unsupported, format!("{version:?} (known: 1.x)"));
    }
    version.to_owned()
}

fn root_path(root: &Field<'_>) -> String {
    let object = root.get("root");
    if object.require().is_none() || object.object().is_none() {
        return String::new();
    }
    let field = object.get("path");
    let path = field.required_string().unwrap_or_default();
    if field.is_present() && path.is_empty() {
        field.refuse(Kind::Invalid, "is empty");
    }
    path.to_owned()
}

fn annotations(field: &Field<'_>) -> Vec<(String, String)> {
    let all = field.string_map();
    if all.iter().any(|(key, _)| key.is_empty()) {
        field.refuse(Kind::Invalid, "an annotation has an empty name");
    }
    all
}
