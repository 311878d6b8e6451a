//! Id-mapped mounts: how a container with a user namespace sees files that belong to the host's users
//! (mount_setattr(2)). containerd's snapshotters ask for them by the options `uidmap` and `gidmap`.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::sys;

/// A user namespace without processes, which holds the mappings.
#[derive(Debug)]
pub struct IdMapping(OwnedFd);

impl IdMapping {
    /// Of mappings as the options have them: `CONTAINER:HOST:SIZE`, several of them with commas.
    pub fn new(uids: &str, gids: &str) -> io::Result<Self> {
        let (uids, gids) = (lines(uids)?, lines(gids)?);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("pause").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sys::begin_in_user_namespace(&mut command);
        let mut holder = command.spawn()?;
        let held = || -> io::Result<OwnedFd> {
            let folder = format!("/proc/{}", holder.id());
            fs::write(format!("{folder}/uid_map"), uids)?;
            fs::write(format!("{folder}/gid_map"), gids)?;
            Ok(File::open(format!("{folder}/ns/user"))?.into())
        };
        let held = held();
        // The descriptor keeps the namespace.
        holder.kill()?;
        holder.wait()?;
        Ok(Self(held?))
    }

    /// Lays a mapped copy of the mount at `source` on `target`.
    pub fn map(&self, source: &Path, target: &Path, readonly: bool) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, source, flags)?;
        sys::map_mount(&tree, &self.0, readonly)?;
        Ok(move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }
}

/// The text of a file `uid_map`: container, host, size (user_namespaces(7)).
fn lines(mappings: &str) -> io::Result<String> {
    let mut text = String::new();
    for mapping in mappings.split(',') {
        let numbers: Vec<&str> = mapping.split(':').collect();
        if numbers.len() != 3 || numbers.iter().any(|it| it.parse::<u32>().is_err()) {
            let why = format!("mapping {mapping:?} is not CONTAINER:HOST:SIZE");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        text.push_str(&numbers.join(" "));
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_become_lines() {
        assert_eq!(lines("0:1000:10,10:5000:1").expect("lines"), "0 1000 10\n10 5000 1\n");
        for none in ["", "0:1000", "0:1000:-1", "0:1000:1:1", "a:b:c", "0:1:2,"] {
            assert!(lines(none).is_err(), "{none}");
        }
    }
}
