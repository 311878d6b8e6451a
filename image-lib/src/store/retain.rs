//! Leases: digests that something beside the index needs, by a name, for ever or until a time. They
//! outlive the process that took them: the records of a build cache, a pull that was interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::error::At;
use super::{Store, StoreError};
use crate::identity::Digest;
use crate::spec::Timestamp;

/// Begins the line that says when a lease ends.
const EXPIRES: &str = "expires ";

/// Digests that are kept by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Blobs by their digests, layers by their diff ids.
    pub digests: Vec<Digest>,
    /// When they are needed no longer; nothing means never.
    pub expires: Option<Timestamp>,
}

impl Lease {
    fn parse(text: &str) -> Self {
        let expires = text.lines().find_map(|line| line.strip_prefix(EXPIRES)?.parse().ok());
        let digests = text.lines().filter_map(|line| line.parse().ok()).collect();
        Self { digests, expires }
    }

    /// Is it over at the time `now`?
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let plain = !name.starts_with('.') && (1..=128).contains(&name.len());
    if plain && name.bytes().all(fits) {
        return Ok(());
    }
    Err(StoreError::RetainName { name: name.to_owned() })
}

impl Store {
    /// Protects `digests` (blobs by their digests, layers by their diff ids) from garbage
    /// collection until `name` is released. What was retained under the name before is not any
    /// more. Called while a [`super::Hold`] is held since before the digests were made or looked up.
    ///
    /// # Errors
    /// The name is no file name; the disk's.
    pub fn retain(&self, name: &str, digests: &[Digest]) -> Result<(), StoreError> {
        self.lease(name, &Lease { digests: digests.to_vec(), expires: None })
    }

    /// As [`Store::retain`], also until a time.
    ///
    /// # Errors
    /// As [`Store::retain`].
    pub fn lease(&self, name: &str, lease: &Lease) -> Result<(), StoreError> {
        check_name(name)?;
        let mut text: String = lease.digests.iter().map(|digest| format!("{digest}\n")).collect();
        if let Some(end) = lease.expires {
            text = format!("{EXPIRES}{end}\n{text}");
        }
        self.replace_file(&format!("retained/{name}"), text.as_bytes())
    }

    /// Ends what [`Store::retain`] or [`Store::lease`] began; that nothing was retained is no error.
    ///
    /// # Errors
    /// The name is no file name; the disk's.
    pub fn release(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let path = self.path().join("retained").join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &path),
            _ => Ok(()),
        }
    }

    /// All leases by their names, also those that have ended and not been collected yet.
    ///
    /// # Errors
    /// The disk's.
    pub fn leases(&self) -> Result<BTreeMap<String, Lease>, StoreError> {
        let mut leases = BTreeMap::new();
        let folder = self.path().join("retained");
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let entry = entry.at("read", &folder)?;
            // It may be released just now.
            let Some(lease) = read(&entry.path())? else { continue };
            leases.insert(entry.file_name().to_string_lossy().into_owned(), lease);
        }
        Ok(leases)
    }

    /// All retained digests. Leases that have ended are removed.
    pub(super) fn retained(&self) -> Result<Vec<Digest>, StoreError> {
        let now = Timestamp::now();
        let mut digests = Vec::new();
        for (name, lease) in self.leases()? {
            if lease.has_ended(now) {
                let path = self.path().join("retained").join(name);
                // Whoever collects next finds it if it cannot be removed now.
                let _ = fs::remove_file(path);
                continue;
            }
            digests.extend(lease.digests);
        }
        Ok(digests)
    }
}

fn read(path: &Path) -> Result<Option<Lease>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Lease::parse(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}
