//! A container's cgroups by their paths, as the state file lists them: what `kill`, `pause`, `ps`,
//! `delete` and the like work on.

use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::{freeze, kill, procs, remove};

/// Paths by runc's keys: v1 controllers, `name=systemd`, and the empty key for v2.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths(Vec<(String, PathBuf)>);

/// The directory that freezes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

impl Paths {
    /// From keys and paths, in any order.
    #[must_use]
    pub fn new(paths: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        let mut paths: Vec<_> = paths.into_iter().collect();
        paths.sort();
        paths.dedup();
        Self(paths)
    }

    /// Keys and paths, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(key, path)| (key.as_str(), path.as_path()))
    }

    /// The path under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Path> {
        self.iter().find(|(known, _)| *known == key).map(|(_, path)| path)
    }

    /// Each directory once: controllers may share one.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let mut all: Vec<_> = self.0.iter().map(|(_, path)| path.as_path()).collect();
        all.sort();
        all.dedup();
        all.into_iter()
    }

    pub(super) fn freezer(&self) -> Option<Freezer<'_>> {
        let v1 = self.get("freezer").map(Freezer::V1);
        v1.or_else(|| self.get("").map(Freezer::V2))
    }

    /// The directory whose list of processes is taken for the container's.
    fn listing(&self) -> Option<&Path> {
        let keys = ["devices", "freezer", "pids", "memory", ""];
        keys.into_iter().find_map(|key| self.get(key))
    }

    /// The pids in the container's cgroup itself, in this process's pid namespace. Empty once the
    /// cgroup is gone.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] without any cgroup; [`CgroupError::File`].
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let path = self.listing().ok_or(CgroupError::Missing { what: "processes" })?;
        procs::pids(path)
    }

    /// The pids in the container's cgroup and in those below it, ascending.
    ///
    /// # Errors
    /// As [`Paths::pids`].
    pub fn all_pids(&self) -> Result<Vec<i32>, CgroupError> {
        let path = self.listing().ok_or(CgroupError::Missing { what: "processes" })?;
        procs::all_pids(path)
    }

    /// Stops all processes and waits until they are stopped.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] where nothing can freeze; [`CgroupError::Timeout`], after which they
    /// run again; [`CgroupError::Inside`] for one's own cgroup; [`CgroupError::File`].
    pub fn freeze(&self) -> Result<(), CgroupError> {
        freeze::freeze(self.freezer().ok_or(CgroupError::Missing { what: "a freezer" })?)
    }

    /// Lets all processes run again.
    ///
    /// # Errors
    /// As [`Paths::freeze`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        freeze::thaw(self.freezer().ok_or(CgroupError::Missing { what: "a freezer" })?)
    }

    /// Whether the cgroup itself, not a parent, is frozen or about to be. False where nothing can
    /// freeze, and where the cgroup is gone.
    ///
    /// # Errors
    /// [`CgroupError::File`].
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        self.freezer().map_or(Ok(false), freeze::is_frozen)
    }

    /// Sends `signal` to every process of the cgroup and of those below it. SIGKILL reaches frozen
    /// ones too, and those that are being forked, and is waited for.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] without any cgroup; [`CgroupError::File`].
    pub fn signal_all(&self, signal: i32) -> Result<(), CgroupError> {
        kill::signal_all(self, signal)
    }

    /// Removes all directories that nothing is in the way of. Says whether all are gone.
    #[must_use]
    pub fn remove_at_once(&self) -> bool {
        let gone: Vec<bool> = self.directories().map(remove::remove_at_once).collect();
        !gone.contains(&false)
    }

    /// Removes all directories and those that the container made below them. Those that are gone
    /// already are no error; one that cannot be removed does not keep the others.
    ///
    /// # Errors
    /// The first directory that stays: [`CgroupError::Remove`], [`CgroupError::NoCgroup`].
    pub fn remove(&self) -> Result<(), CgroupError> {
        let results: Vec<_> = self.directories().map(remove::remove).collect();
        results.into_iter().collect()
    }
}
