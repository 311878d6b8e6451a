//! Limits and layout → which directories to make and what to write into which of their files. Pure:
//! the same config and host give the same plan, and `keel plan` can show it without privileges.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::devices::{self, DeviceProgram};
use super::location::Location;
use super::paths::Paths;
use super::router::{Controller, HierarchyKind, Layout};
use super::{limits_v1, limits_v2};
use crate::config::resources::Resources;

/// What is to be done, in order: first all directories, then all writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One per hierarchy.
    pub directories: Vec<Directory>,
    /// Limits; those of one file stand together.
    pub writes: Vec<Write>,
    /// The rules on devices where v2 has to enforce them: the index of a directory, and a program.
    pub device_program: Option<(usize, DeviceProgram)>,
    /// What the host cannot do and the other runtimes pass over.
    pub warnings: Vec<String>,
    /// The container's own process is in the directory already, put there by whoever made it.
    pub occupied: bool,
}

/// A cgroup to make in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where the hierarchy is mounted.
    pub mount_point: PathBuf,
    /// The cgroup below that, without a leading slash.
    pub below: String,
    /// The keys under which state files list it: its v1 controllers, `name=systemd`, or empty for v2.
    pub keys: Vec<String>,
    /// What is particular to its version.
    pub kind: DirectoryKind,
    /// Without the permission to make it the container does without.
    pub optional: bool,
}

/// What making a cgroup takes, by version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryKind {
    /// Nothing else.
    V1,
    /// The files that may not be empty before a process can enter; what the config does not set is
    /// taken from the parent, and parents that are made on the way likewise.
    V1Cpuset {
        /// `cpuset.cpus`, or `cpus` on a mount without prefixes.
        cpus: &'static str,
        /// Likewise.
        mems: &'static str,
    },
    /// Controllers to enable in every parent, from the root down.
    V2 {
        /// Names as in `cgroup.controllers`.
        enable: Vec<String>,
    },
}

impl Directory {
    /// The absolute path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.mount_point.join(&self.below)
    }
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Index into [`Plan::directories`].
    pub directory: usize,
    /// The name of the file.
    pub file: Cow<'static, str>,
    /// What is written.
    pub value: String,
    /// File and value where the kernel lacks the first file.
    pub alternative: Option<(&'static str, String)>,
    /// Whether it may be passed over when the file is missing.
    pub missing: Missing,
    /// The field of the config that says so.
    pub origin: Cow<'static, str>,
}

/// What a missing file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The limit cannot be set, which is an error.
    Fail,
    /// What the file would say is so anyway.
    Skip,
}

/// With which right the plan will be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// As root: every directory has to be made.
    Full,
    /// Rootless: without a cgroupsPath, directories that may not be made are left out, and device
    /// rules, which the kernel would not take from it, are not planned.
    Rootless,
}

/// Why a limit cannot be planned; each names its field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The host lacks the controller.
    #[error("{field}: this host has no cgroup controller {controller:?}{}", where_to(*v2))]
    NoController {
        /// The field of the config.
        field: Cow<'static, str>,
        /// As the field's version names it.
        controller: String,
        /// Whether it has to be on v2.
        v2: bool,
    },
    /// The kernel would take the value and do something else.
    #[error("{field}: {detail}")]
    Value {
        /// The field of the config.
        field: Cow<'static, str>,
        /// The value, and what is wrong with it.
        detail: String,
    },
}

fn where_to(v2: bool) -> &'static str {
    if v2 { " on cgroup v2: invalid configuration" } else { "" }
}

/// All that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

/// Plans the cgroups of a container at `location` on a host of `layout`.
///
/// # Errors
/// Every limit that the host cannot keep.
pub fn plan(
    resources: &Resources,
    layout: &Layout,
    location: &Location,
    privilege: Privilege,
) -> Result<Plan, PlanErrors> {
    let (directories, places) = directories(layout, location, privilege);
    let mut draft = Draft {
        layout,
        places,
        plan: Plan {
            directories,
            writes: Vec::new(),
            device_program: None,
            warnings: Vec::new(),
            occupied: false,
        },
        errors: Vec::new(),
    };
    if privilege == Privilege::Full {
        devices::plan(&resources.devices, &mut draft);
    }
    limits(resources, &mut draft);
    if draft.errors.is_empty() { Ok(draft.plan) } else { Err(PlanErrors(draft.errors)) }
}

/// Plans the writes that change the limits of the container whose cgroups stand at `paths`. The rules
/// on devices are left alone.
///
/// # Errors
/// Every limit that the host cannot keep.
pub fn plan_update(
    resources: &Resources,
    layout: &Layout,
    paths: &Paths,
) -> Result<Plan, PlanErrors> {
    let (directories, places) = existing(layout, paths);
    let plan = Plan {
        directories,
        writes: Vec::new(),
        device_program: None,
        warnings: Vec::new(),
        occupied: false,
    };
    let mut draft = Draft { layout, places, plan, errors: Vec::new() };
    limits(resources, &mut draft);
    if draft.errors.is_empty() { Ok(draft.plan) } else { Err(PlanErrors(draft.errors)) }
}

fn limits(resources: &Resources, draft: &mut Draft<'_>) {
    for controller in Controller::ALL {
        let version = draft.version_of(controller);
        let mut sink = Sink { controller, draft: &mut *draft };
        if version == Some(Version::V2) {
            limits_v2::plan(resources, &mut sink);
        } else {
            // Also where the controller is nowhere: whatever would be written is then an error.
            limits_v1::plan(resources, &mut sink);
        }
    }
    limits_v2::plan_unified(&resources.unified, draft);
}

impl Plan {
    /// Every path under its keys, as state files list them (`cgroup_paths`). To be journalled before
    /// [`super::apply`].
    #[must_use]
    pub fn paths(&self) -> Vec<(String, PathBuf)> {
        let mut all: Vec<_> = self
            .directories
            .iter()
            .flat_map(|directory| directory.keys.iter().map(|key| (key.clone(), directory.path())))
            .collect();
        all.sort();
        all
    }
}

/// The cgroup in every hierarchy, and for each hierarchy of the layout the index of its directory.
fn directories(
    layout: &Layout,
    location: &Location,
    privilege: Privilege,
) -> (Vec<Directory>, Vec<Option<usize>>) {
    let optional = privilege == Privilege::Rootless && !location.is_explicit();
    let mut all: Vec<Directory> = Vec::new();
    let mut places = vec![None; layout.hierarchies().len()];
    let mut add = |index: usize, key: &str, optional: bool| {
        let hierarchy = &layout.hierarchies()[index];
        if let Some(known) = places[index].and_then(|place: usize| all.get_mut(place)) {
            known.keys.push(key.to_owned());
            return;
        }
        places[index] = Some(all.len());
        all.push(Directory {
            mount_point: hierarchy.mount_point.clone(),
            below: location.below(hierarchy, layout.is_v2_only()),
            keys: vec![key.to_owned()],
            kind: kind_of(&hierarchy.kind, layout.is_v2_only()),
            optional,
        });
    };
    for controller in Controller::ALL {
        if let Some(index) = layout.v1_of(controller) {
            add(index, controller.name(), optional);
        }
    }
    for (index, hierarchy) in layout.hierarchies().iter().enumerate() {
        match &hierarchy.kind {
            // Limits nothing; a container that has none lacks nothing.
            HierarchyKind::V1 { name: Some(name), .. } if name == "name=systemd" => {
                add(index, name, true);
            }
            HierarchyKind::V2 { .. } => add(index, "", optional || !layout.is_v2_only()),
            HierarchyKind::V1 { .. } => {}
        }
    }
    (all, places)
}

/// The cgroups that are there, and for each hierarchy of the layout the index of its directory.
fn existing(layout: &Layout, paths: &Paths) -> (Vec<Directory>, Vec<Option<usize>>) {
    let mut all: Vec<Directory> = Vec::new();
    let places = layout.hierarchies().iter().map(|hierarchy| {
        let kind = kind_of(&hierarchy.kind, layout.is_v2_only());
        let belongs = |key: &str| match &hierarchy.kind {
            HierarchyKind::V1 { controllers, .. } => {
                controllers.iter().any(|controller| controller.name() == key)
            }
            HierarchyKind::V2 { .. } => key.is_empty(),
        };
        let found: Vec<_> = paths.iter().filter(|(key, _)| belongs(key)).collect();
        let (_, path) = *found.first()?;
        // Found at its creation, perhaps below another mount point of the same hierarchy.
        let (mount_point, below) = match path.strip_prefix(&hierarchy.mount_point) {
            Ok(below) => (hierarchy.mount_point.clone(), below),
            Err(_) => (PathBuf::from("/"), path.strip_prefix("/").unwrap_or(path)),
        };
        all.push(Directory {
            mount_point,
            below: below.to_string_lossy().into_owned(),
            keys: found.iter().map(|(key, _)| (*key).to_owned()).collect(),
            kind,
            optional: false,
        });
        Some(all.len() - 1)
    });
    let places = places.collect();
    (all, places)
}

fn kind_of(kind: &HierarchyKind, v2_only: bool) -> DirectoryKind {
    match kind {
        HierarchyKind::V1 { controllers, no_prefix, .. } => {
            if !controllers.contains(&Controller::Cpuset) {
                return DirectoryKind::V1;
            }
            let (cpus, mems) =
                if *no_prefix { ("cpus", "mems") } else { ("cpuset.cpus", "cpuset.mems") };
            DirectoryKind::V1Cpuset { cpus, mems }
        }
        // Where v2 is all there is, its files are also what statistics are read from.
        HierarchyKind::V2 { controllers } if v2_only => {
            DirectoryKind::V2 { enable: controllers.clone() }
        }
        HierarchyKind::V2 { .. } => DirectoryKind::V2 { enable: Vec::new() },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) layout: &'a Layout,
    places: Vec<Option<usize>>,
    pub(super) plan: Plan,
    pub(super) errors: Vec<PlanError>,
}

impl Draft<'_> {
    pub(super) fn version_of(&self, controller: Controller) -> Option<Version> {
        let index = self.layout.of(controller)?;
        Some(match self.layout.hierarchies()[index].kind {
            HierarchyKind::V1 { .. } => Version::V1,
            HierarchyKind::V2 { .. } => Version::V2,
        })
    }

    /// The directory in the hierarchy of this index.
    pub(super) fn place(&self, hierarchy: Option<usize>) -> Option<usize> {
        self.places.get(hierarchy?).copied().flatten()
    }

    /// Adds a controller to those that the parents of a v2 directory have to enable.
    pub(super) fn enable(&mut self, directory: usize, controller: &str) {
        if let Some(DirectoryKind::V2 { enable }) =
            self.plan.directories.get_mut(directory).map(|directory| &mut directory.kind)
            && !enable.iter().any(|known| known == controller)
        {
            enable.push(controller.to_owned());
        }
    }
}

impl Draft<'_> {
    /// Plans a write of every line of `text` to a file of v2: the kernel reads one at a time.
    pub(super) fn put_lines(&mut self, directory: usize, file: &str, text: &str, origin: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            self.plan.writes.push(Write {
                directory,
                file: Cow::Owned(file.to_owned()),
                value: line.to_owned(),
                alternative: None,
                missing: Missing::Fail,
                origin: Cow::Owned(origin.to_owned()),
            });
        }
    }
}

/// Takes the writes of one controller.
pub(super) struct Sink<'a, 'b> {
    pub(super) controller: Controller,
    draft: &'a mut Draft<'b>,
}

impl Sink<'_, '_> {
    /// Plans a write; refuses the field where the host has no such controller. The write is returned
    /// for adjustment.
    pub(super) fn put(
        &mut self,
        file: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        origin: impl Into<Cow<'static, str>>,
    ) -> Option<&mut Write> {
        let origin = origin.into();
        let place = self.draft.place(self.draft.layout.of(self.controller));
        let Some(directory) = place else {
            let controller = self.controller.name().to_owned();
            self.draft.errors.push(PlanError::NoController {
                field: origin,
                controller,
                v2: false,
            });
            return None;
        };
        self.draft.enable(directory, self.controller.name_v2());
        self.draft.plan.writes.push(Write {
            directory,
            file: file.into(),
            value: value.to_string(),
            alternative: None,
            missing: Missing::Fail,
            origin,
        });
        self.draft.plan.writes.last_mut()
    }

    /// The host's layout.
    pub(super) fn layout(&self) -> &Layout {
        self.draft.layout
    }

    /// Refuses a value.
    pub(super) fn refuse(&mut self, field: &'static str, detail: impl Into<String>) {
        let error = PlanError::Value { field: Cow::Borrowed(field), detail: detail.into() };
        self.draft.errors.push(error);
    }

    /// Notes that v2 has nothing for a field.
    pub(super) fn without_equal(&mut self, field: &str) {
        self.draft.plan.warnings.push(format!("{field}: ignored: cgroup v2 has nothing like it"));
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.file, self.value, self.origin)
    }
}

impl Write {
    /// The absolute path of the file, for messages.
    #[must_use]
    pub fn path(&self, plan: &Plan) -> PathBuf {
        let directory = plan.directories.get(self.directory).map(Directory::path);
        directory.as_deref().unwrap_or(Path::new("")).join(&*self.file)
    }
}
