//! Where a container's cgroup is: `linux.cgroupsPath` and the container's id → a path below each
//! hierarchy, as runc's cgroupfs driver has it.

use thiserror::Error;

use super::router::{Hierarchy, HierarchyKind};

/// A path that cannot leave the hierarchy: normal components only, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    base: Base,
    explicit: bool,
    components: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// An absolute cgroupsPath: below the mount point.
    Mount,
    /// A relative or absent one: below the cgroup of the process that creates the container.
    Own,
}

/// Why a cgroupsPath names no place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LocationError {
    /// `slice:prefix:name`, the form of the systemd driver.
    #[error(
        "linux.cgroupsPath: {0:?} has the form slice:prefix:name of the systemd driver, which \
         --systemd-cgroup chooses; give a path below the cgroup mount without it"
    )]
    Systemd(String),
    /// Nothing is left once it is made clean.
    #[error("linux.cgroupsPath: {0:?} names no cgroup below the root")]
    Root(String),
    /// The kernel takes no such name.
    #[error("linux.cgroupsPath: {0:?} is too long, or has a name that is")]
    TooLong(String),
}

/// `NAME_MAX` and `PATH_MAX` of linux/limits.h.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4095;

impl Location {
    /// The place that a config gives a container: an absolute path is below every mount point; a
    /// relative one, or for want of one the container's `id`, is below the caller's own cgroup. `..`
    /// leads at most to the top.
    ///
    /// # Errors
    /// See [`LocationError`].
    pub fn new(cgroups_path: Option<&str>, id: &str) -> Result<Self, LocationError> {
        let given = cgroups_path.unwrap_or("");
        let (base, path) = match given {
            "" => (Base::Own, id),
            _ if given.starts_with('/') => (Base::Mount, given),
            _ if given.split(':').count() == 3 => {
                return Err(LocationError::Systemd(given.to_owned()));
            }
            _ => (Base::Own, given),
        };
        let mut components: Vec<String> = Vec::new();
        for component in path.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(components.pop()),
                name => components.push(name.to_owned()),
            }
        }
        if components.is_empty() {
            return Err(LocationError::Root(path.to_owned()));
        }
        let long_name = components.iter().any(|name| name.len() > NAME_BYTES_MAX);
        if long_name || path.len() > PATH_BYTES_MAX {
            return Err(LocationError::TooLong(path.to_owned()));
        }
        Ok(Self { base, explicit: !given.is_empty(), components })
    }

    /// Whether the config named the place; if not, a rootless caller may do without cgroups.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.explicit
    }

    /// The path below the hierarchy's mount point, without a leading slash.
    ///
    /// v2 forbids controllers below a cgroup with processes, and the caller's own has one. So there a
    /// relative place is beside the caller's cgroup where v2 is alone, and at the top where v1 has
    /// the controllers, as runc places it.
    pub(super) fn below(&self, hierarchy: &Hierarchy, v2_only: bool) -> String {
        let own: Vec<&str> = hierarchy.own.split('/').filter(|name| !name.is_empty()).collect();
        let parent = match (self.base, &hierarchy.kind) {
            (Base::Mount, _) => &[][..],
            (Base::Own, HierarchyKind::V1 { .. }) => &own[..],
            (Base::Own, HierarchyKind::V2 { .. }) if v2_only => &own[..own.len().saturating_sub(1)],
            (Base::Own, HierarchyKind::V2 { .. }) => &[],
        };
        let names = parent.iter().copied().chain(self.components.iter().map(String::as_str));
        names.collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::super::router::tests::{hybrid, v2};
    use super::super::router::{Controller, Layout};
    use super::*;

    fn places(path: Option<&str>) -> [String; 3] {
        let location = Location::new(path, "box").unwrap();
        let place = |layout: &Layout, at: Option<usize>| {
            location.below(&layout.hierarchies()[at.unwrap()], layout.is_v2_only())
        };
        let (hybrid, v2) = (hybrid(), v2());
        [
            place(&hybrid, hybrid.of(Controller::Memory)),
            place(&hybrid, hybrid.v2()),
            place(&v2, v2.v2()),
        ]
    }

    #[test]
    fn places_as_runc_does() {
        assert_eq!(places(Some("/a/b")), ["a/b", "a/b", "a/b"]);
        assert_eq!(places(Some("a/b")), ["jobs/7/a/b", "a/b", "user.slice/a/b"]);
        assert_eq!(places(None), ["jobs/7/box", "box", "user.slice/box"]);
        assert_eq!(places(Some("")), places(None));
    }

    #[test]
    fn never_leaves_the_hierarchy() {
        assert_eq!(places(Some("/../../a/./../b//c"))[0], "b/c");
        assert_eq!(places(Some("../../../x"))[0], "jobs/7/x");
    }

    #[test]
    fn refuses_what_names_no_place() {
        let refused = |path: &str| Location::new(Some(path), "box").unwrap_err().to_string();
        assert!(refused("system.slice:docker:12").contains("systemd driver"));
        assert!(refused("/a/..").contains("names no cgroup below the root"));
        assert!(refused(&format!("/{}", "x".repeat(256))).contains("too long"));
    }
}
