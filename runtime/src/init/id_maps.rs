//! The id maps of a new user namespace. Who may map any id writes them; who may not writes the one
//! line that maps its own id, and leaves every other map to newuidmap(1) and newgidmap(1), which know
//! from subuid(5) and subgid(5) what a user was given.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::InitError;
use super::parent::parent_failure;
use crate::arena::Arena;
use crate::failure::{Failure, Origin};
use crate::hooks::apply::{Output, Place, Surroundings, run};
use crate::hooks::plan::Prepared;
use crate::limits::ID_MAP_WAIT_MS;
use crate::namespaces::plan::Plan;
use crate::procfs::Procfs;
use crate::sys::process::{ExecStrings, getegid, geteuid};

/// What a map is called by the kernel, by the configuration, and by the tool for it.
struct Map<'a> {
    file: &'static str,
    field: &'static str,
    tool: &'static str,
    /// Where users are given ids.
    delegation: &'static str,
    content: &'a str,
    /// The caller's own id, which needs no right.
    own: u32,
}

/// Writes both maps of the process `pid`, which is alone in its user namespace. `privileged` is whether
/// this process may map any id.
///
/// # Errors
/// [`InitError::Parent`], naming the field and the call, or [`InitError::Mapping`] with the words of
/// the tool.
pub(super) fn write(
    procfs: &Procfs,
    pid: i32,
    plan: &Plan,
    privileged: bool,
) -> Result<(), InitError> {
    let gids = Map {
        file: "gid_map",
        field: "linux.gidMappings",
        tool: "newgidmap",
        delegation: "/etc/subgid",
        content: &plan.gid_map,
        own: getegid(),
    };
    let uids = Map {
        file: "uid_map",
        field: "linux.uidMappings",
        tool: "newuidmap",
        delegation: "/etc/subuid",
        content: &plan.uid_map,
        own: geteuid(),
    };
    if !privileged && gids.is_own() {
        // The kernel's condition for a map without a right (user_namespaces(7)).
        procfs_write(procfs, pid, "setgroups", "deny")
            .map_err(parent_failure("linux.gidMappings: setgroups"))?;
    }
    for map in [gids, uids] {
        if privileged || map.is_own() {
            procfs_write(procfs, pid, map.file, map.content).map_err(|source| {
                InitError::Parent { what: format!("{}: {}", map.field, map.file), source }
            })?;
        } else {
            map.write_by_tool(pid)?;
        }
    }
    Ok(())
}

fn procfs_write(procfs: &Procfs, pid: i32, name: &str, value: &str) -> Result<(), Failure> {
    let path = CString::new(format!("{pid}/{name}")).unwrap_or_default();
    procfs.write(&path, value.as_bytes())
}

impl Map<'_> {
    /// Whether it maps the caller's own id and nothing else.
    fn is_own(&self) -> bool {
        let words: Vec<&str> = self.content.split_ascii_whitespace().collect();
        matches!(words[..], [_, outside, "1"] if outside == self.own.to_string())
    }

    fn write_by_tool(&self, pid: i32) -> Result<(), InitError> {
        let failed = |reason: String, hint: String| InitError::Mapping {
            field: self.field,
            tool: self.tool,
            reason,
            hint,
        };
        let Some(program) = find(self.tool) else {
            let hint = format!(
                "only {} can map more than one's own id for an ordinary user; it is in the package \
                 uidmap",
                self.tool
            );
            return Err(failed("executable file not found in $PATH".to_owned(), hint));
        };
        let mut words = vec![self.tool.to_owned(), pid.to_string()];
        words.extend(self.content.split_ascii_whitespace().map(str::to_owned));
        let mut arena = Arena::default();
        let prepared = Prepared {
            path: arena.add(program.as_os_str().as_bytes()),
            args: ExecStrings::new(&words),
            env: None,
            timeout_ms: ID_MAP_WAIT_MS,
            origin: Origin::field(self.field),
        };
        let env = ExecStrings::new(<[&str; 0]>::default());
        let surroundings =
            Surroundings { place: Place::Here, directory: None, state: b"", env: &env };
        let mut output = Output::default();
        match run(&prepared, &arena, &surroundings, &mut output) {
            Ok(_) => Ok(()),
            Err(Failure::Ended(_)) => {
                let text = output.text();
                // The tool's own line begins with its name, which stands before the reason already.
                let prefix = format!("{}: ", self.tool);
                let reason = text.strip_prefix(&prefix).unwrap_or(&text).replace('\n', "; ");
                let hint = format!(
                    "{} must give this user the host ids that {} names ({})",
                    self.delegation,
                    self.field,
                    self.content.trim_end().replace('\n', ", ")
                );
                Err(failed(reason, hint))
            }
            Err(failure) => Err(failed(failure.to_string(), String::new())),
        }
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_map() {
        for (content, own) in [
            ("0 1000 1\n", true),
            ("7 1000 1\n", true),
            ("0 1001 1\n", false),
            ("0 1000 2\n", false),
            ("0 1000 1\n1 100000 65536\n", false),
            ("", false),
        ] {
            let map = Map {
                file: "uid_map",
                field: "linux.uidMappings",
                tool: "newuidmap",
                delegation: "/etc/subuid",
                content,
                own: 1000,
            };
            assert_eq!(map.is_own(), own, "{content:?}");
        }
    }
}
