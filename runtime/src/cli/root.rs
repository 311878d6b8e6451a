//! The state root: the folder with the states of all containers, from `--root`, the system, or the
//! user's runtime directory.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::command::RootOrigin;
use super::error::CommandError;
use super::program::Name;
use crate::sys::process;

/// What the choice depends on, gathered by [`Surroundings::of_process`].
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// `XDG_RUNTIME_DIR`, if it is set and not empty.
    pub(super) xdg_runtime_dir: Option<OsString>,
    /// `USER`.
    pub(super) user: Option<OsString>,
    /// Whether the effective user is root, if only of a user namespace.
    pub(super) is_root: bool,
    /// Whether the process is in a user namespace.
    pub(super) in_user_namespace: bool,
    /// The folder that relative paths start from; absent for the current one, which is asked for
    /// only when it matters: a container must be killed also from a folder that is gone.
    pub(super) current: Option<PathBuf>,
}

impl Surroundings {
    /// What holds for this process.
    pub(super) fn of_process() -> Self {
        let xdg_runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let is_root = process::euid_at_start() == 0;
        // The file is read only where the answer is asked for: most starts are spared it.
        let in_user_namespace = xdg_runtime_dir.is_some()
            && is_root
            && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_partial(&map));
        let user = std::env::var_os("USER");
        Self { xdg_runtime_dir, user, is_root, in_user_namespace, current: None }
    }

    /// A path given by the user, absolute and without `.` and `..`, which are resolved by text as
    /// callers of runc expect.
    ///
    /// # Errors
    /// The path is relative, and the current folder is gone.
    pub(super) fn absolute(&self, path: &OsStr) -> Result<PathBuf, CommandError> {
        let mut clean = PathBuf::from("/");
        for component in self.joined(path)?.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => {
                    clean.pop();
                }
                _ => {}
            }
        }
        Ok(clean)
    }

    /// A path given by the user, absolute, and otherwise as it is.
    ///
    /// # Errors
    /// The path is relative, and the current folder is gone.
    pub(super) fn joined(&self, path: &OsStr) -> Result<PathBuf, CommandError> {
        if Path::new(path).is_absolute() {
            return Ok(path.into());
        }
        let current = match &self.current {
            Some(current) => current.clone(),
            None => std::env::current_dir()
                .map_err(|error| CommandError::file("getcwd", Path::new("."), &error))?,
        };
        Ok(if path.is_empty() { current } else { current.join(path) })
    }
}

/// Whether this process is root, and not only of a user namespace.
pub(super) fn is_privileged() -> bool {
    let map = || std::fs::read_to_string("/proc/self/uid_map");
    process::geteuid() == 0 && !map().is_ok_and(|map| is_partial(&map))
}

/// Whether an id map is another than that of the first user namespace.
fn is_partial(map: &str) -> bool {
    !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Chooses the state root.
///
/// # Errors
/// `--root` names the root of the file system, where states would lie between `bin` and `etc`.
pub(super) fn choose(
    flag: Option<&OsStr>,
    name: Name,
    surroundings: &Surroundings,
) -> Result<(PathBuf, RootOrigin), CommandError> {
    if let Some(flag) = flag {
        let root = surroundings.absolute(flag)?;
        if root == Path::new("/") {
            return Err(CommandError::new("Option --root argument should not be set to /"));
        }
        return Ok((root, RootOrigin::Flag));
    }
    // Root of a user namespace is root to itself, but has no place in /run of the host.
    let honours_xdg = !surroundings.is_root
        || surroundings.in_user_namespace
            && surroundings.user.as_deref() != Some(OsStr::new("root"));
    match surroundings.xdg_runtime_dir.as_ref().filter(|_| honours_xdg) {
        Some(dir) => Ok((surroundings.absolute(dir)?.join(name.as_str()), RootOrigin::Xdg)),
        None => Ok((Path::new("/run").join(name.as_str()), RootOrigin::System)),
    }
}

/// Makes the state root in the user's runtime directory. The sticky bit keeps those who clean up
/// there from removing it after some hours without an access.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_in_xdg(root: &Path) -> Result<(), CommandError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
    let sticky = |()| std::fs::set_permissions(root, Permissions::from_mode(0o1700));
    made.and_then(sticky).map_err(|error: io::Error| CommandError::file("mkdir", root, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: Option<&str>, name: Name, at: &Surroundings) -> Result<String, String> {
        let chosen = choose(flag.map(OsStr::new), name, at);
        chosen.map(|(root, _)| root.display().to_string()).map_err(|error| error.message)
    }

    fn surroundings(is_root: bool) -> Surroundings {
        let xdg_runtime_dir = Some("/run/user/7".into());
        Surroundings {
            xdg_runtime_dir,
            is_root,
            current: Some("/here/b".into()),
            ..Default::default()
        }
    }

    #[test]
    fn keeps_the_root_of_a_user_from_being_cleaned_up() {
        let base = std::env::temp_dir().join(format!("keel-root-{}", std::process::id()));
        let root = base.join("runtime/keel");
        for _ in 0..2 {
            make_in_xdg(&root).unwrap();
            let mode = std::fs::metadata(&root).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o1700);
        }
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn follows_the_name_and_the_user() {
        let root = surroundings(true);
        assert_eq!(check(None, Name::Keel, &root).unwrap(), "/run/keel");
        assert_eq!(check(None, Name::Runc, &root).unwrap(), "/run/runc");
        let user = surroundings(false);
        assert_eq!(check(None, Name::Keel, &user).unwrap(), "/run/user/7/keel");
        assert_eq!(check(None, Name::Runc, &user).unwrap(), "/run/user/7/runc");
        let bare = Surroundings { xdg_runtime_dir: None, ..user };
        assert_eq!(check(None, Name::Keel, &bare).unwrap(), "/run/keel");
    }

    #[test]
    fn asks_for_the_name_of_root_in_a_user_namespace() {
        for (user, expected) in [
            (None, "/run/user/7/keel"),
            (Some("ann"), "/run/user/7/keel"),
            (Some("root"), "/run/keel"),
        ] {
            let user = user.map(OsString::from);
            let inside = Surroundings { user, in_user_namespace: true, ..surroundings(true) };
            assert_eq!(check(None, Name::Keel, &inside).unwrap(), expected);
        }
        assert!(is_partial("         0     100000      65536\n"));
        assert!(!is_partial("         0          0 4294967295\n"));
    }

    #[test]
    fn reads_the_flag_from_the_current_folder_and_refuses_the_root() {
        let at = surroundings(false);
        for (flag, expected) in [
            ("/r/s", Ok("/r/s")),
            ("s", Ok("/here/b/s")),
            ("../s/./t/", Ok("/here/s/t")),
            ("", Ok("/here/b")),
            ("/", Err("Option --root argument should not be set to /")),
            ("../../..", Err("Option --root argument should not be set to /")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(check(Some(flag), Name::Keel, &at), expected, "{flag}");
        }
    }
}
