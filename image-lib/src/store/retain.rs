//! Digests that something beside the index needs: the records of a build cache.

use std::fs;
use std::io;

use super::error::At;
use super::{Store, StoreError};
use crate::identity::Digest;

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
        check_name(name)?;
        let text: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
        self.replace_file(&format!("retained/{name}"), text.as_bytes())
    }

    /// Ends what [`Store::retain`] began; that nothing was retained is no error.
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

    /// All retained digests.
    pub(super) fn retained(&self) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::new();
        let path = self.path().join("retained");
        for entry in fs::read_dir(&path).at("read", &path)? {
            let path = entry.at("read", &path)?.path();
            let text = fs::read_to_string(&path).at("read", &path)?;
            digests.extend(text.lines().filter_map(|line| line.parse().ok()));
        }
        Ok(digests)
    }
}
