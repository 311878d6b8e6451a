//! Which unit a container is: `slice:prefix:name` of `linux.cgroupsPath` → unit, slice, cgroup.

use super::error::SystemdError;

/// A unit of systemd for one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name: `prefix-name.scope`, or a name that ends in `.slice`.
    pub name: String,
    /// The slice it is in.
    pub slice: String,
}

/// Before a container's name, unless the config says another word.
const PREFIX: &str = "keel";

/// `UNIT_NAME_MAX` of systemd: with its end mark a name has 256 bytes.
const NAME_BYTES_MAX: usize = 255;

impl Unit {
    /// The unit that a config names. For want of a path it is a scope with the container's `id` in
    /// the slice of the system, or, for a `user`'s systemd, in the slice of the user.
    ///
    /// # Errors
    /// [`SystemdError::Form`], [`SystemdError::Name`].
    pub fn new(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self, SystemdError> {
        let default_slice = if user { "user.slice" } else { "system.slice" };
        let given = cgroups_path.filter(|path| !path.is_empty());
        let (slice, prefix, name) = match given {
            None => ("", PREFIX, id),
            Some(path) => {
                let parts: Vec<&str> = path.split(':').collect();
                let [slice, prefix, name] = parts[..] else {
                    return Err(SystemdError::Form(path.to_owned()));
                };
                (slice, prefix, name)
            }
        };
        let slice = match slice {
            "" => default_slice,
            "-" => "-.slice",
            other => other,
        };
        let invalid = |what, name: &str| SystemdError::Name { what, name: name.to_owned() };
        if !is_slice(slice) {
            return Err(invalid("slice", slice));
        }
        let unit = match name.ends_with(".slice") {
            true if is_slice(name) => name.to_owned(),
            true => return Err(invalid("slice", name)),
            false => format!("{prefix}-{name}.scope"),
        };
        if name.is_empty() || unit.len() > NAME_BYTES_MAX || !unit.bytes().all(is_allowed) {
            return Err(invalid("unit", &unit));
        }
        Ok(Self { name: unit, slice: slice.to_owned() })
    }

    /// Whether it is a scope, which begins with a process; a slice has none of its own.
    #[must_use]
    pub fn is_scope(&self) -> bool {
        !self.name.ends_with(".slice")
    }

    /// The unit's cgroup below the mount, with a leading slash. `manager` is the cgroup below which
    /// this systemd has its units: empty for that of the system.
    #[must_use]
    pub fn cgroup(&self, manager: &str) -> String {
        let mut path = manager.trim_end_matches('/').to_owned();
        for slice in nested(&self.slice) {
            path = format!("{path}/{slice}");
        }
        format!("{path}/{}", self.name)
    }
}

/// The characters of unit names (systemd.unit(5)).
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte)
}

/// Whether this names a slice: words between single dashes, or the root.
fn is_slice(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        Some("-") => true,
        Some(words) => {
            words.split('-').all(|word| !word.is_empty() && word.bytes().all(is_allowed))
        }
        None => false,
    }
}

/// The slices that a slice is in, and itself: `a-b.slice` is in `a.slice`; the root is in none.
fn nested(slice: &str) -> Vec<String> {
    let words = slice.strip_suffix(".slice").unwrap_or(slice);
    if words == "-" {
        return Vec::new();
    }
    let ends = words.match_indices('-').map(|(at, _)| at).chain([words.len()]);
    ends.map(|end| format!("{}.slice", &words[..end])).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(path: Option<&str>) -> String {
        Unit::new(path, "box", false).unwrap().cgroup("")
    }

    #[test]
    fn names_units_as_runc_does() {
        assert_eq!(place(None), "/system.slice/keel-box.scope");
        assert_eq!(place(Some("")), "/system.slice/keel-box.scope");
        assert_eq!(place(Some(":runc:7")), "/system.slice/runc-7.scope");
        assert_eq!(place(Some("-:runc:7")), "/runc-7.scope");
        assert_eq!(
            place(Some("kubepods-besteffort-pod1.slice:cri-containerd:ab")),
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/\
             cri-containerd-ab.scope"
        );
        assert_eq!(place(Some("a.slice:x:a-b.slice")), "/a.slice/a-b.slice");
        let user = Unit::new(None, "box", true).unwrap();
        assert_eq!(user.cgroup("/u/user@7.service"), "/u/user@7.service/user.slice/keel-box.scope");
    }

    #[test]
    fn refuses_what_systemd_has_no_name_for() {
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:b:c",
            "/a.slice:b:c",
            "-a.slice:b:c",
            "a.slice:b:",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            ".slice:b:c",
            "a.slice:b:x--y.slice",
            "a.slice:b:+",
            "../../x.slice:b:c",
        ] {
            assert!(Unit::new(Some(path), "box", false).is_err(), "{path}");
        }
        assert!(Unit::new(Some(&format!("::{}", "x".repeat(250))), "box", false).is_err());
    }
}
