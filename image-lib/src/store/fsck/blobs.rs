//! Every file below `blobs/`, by its name: do its bytes have that digest?

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Damage, Finding, FsckOptions, Report};
use crate::blob::Meter;
use crate::identity::{Algorithm, Digest};
use crate::store::error::At;
use crate::store::{Store, StoreError};

impl Store {
    pub(super) fn check_blobs(
        &self,
        options: FsckOptions,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        self.check_names(report)?;
        let blobs = self.all_blobs()?;
        report.blobs = blobs.len();
        report.bytes = blobs.iter().map(|(_, _, size)| size).sum();
        if options.quick {
            return Ok(());
        }
        for (digest, path, reason) in damaged(&blobs) {
            let mut finding = Finding::new(Damage::Blob { digest, reason });
            if options.repair {
                // As long as it has its name and size, it would be taken for the right one.
                fs::remove_file(&path).at("remove", &path)?;
                finding.repaired = true;
            }
            report.findings.push(finding);
        }
        Ok(())
    }

    /// What is not named as a blob was put there by nobody that knows layouts; it stays.
    fn check_names(&self, report: &mut Report) -> Result<(), StoreError> {
        let blobs = self.path().join("blobs");
        for entry in fs::read_dir(&blobs).at("read", &blobs)? {
            let folder = entry.at("read", &blobs)?.path();
            let algorithm = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(entries) = fs::read_dir(&folder) else {
                orphan(self.path(), &folder, report);
                continue;
            };
            for entry in entries {
                let path = entry.at("read", &folder)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let is_blob = format!("{algorithm}:{name}").parse::<Digest>().is_ok()
                    && fs::symlink_metadata(&path).is_ok_and(|m| m.is_file());
                if !is_blob {
                    orphan(self.path(), &path, report);
                }
            }
        }
        Ok(())
    }
}

fn orphan(store: &Path, path: &Path, report: &mut Report) {
    let path = path.strip_prefix(store).unwrap_or(path).to_owned();
    report.findings.push(Finding::new(Damage::Orphan { path }));
}

/// Reads all blobs, on as many threads as there are processors.
fn damaged(blobs: &[(Digest, PathBuf, u64)]) -> Vec<(Digest, PathBuf, String)> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some((digest, path, _)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let reason = match digest_of(path, digest.algorithm()) {
                Ok(actual) if actual == *digest => continue,
                Ok(actual) => format!("its bytes have the digest {actual}"),
                Err(error) => error.to_string(),
            };
            let damage = (digest.clone(), path.clone(), reason);
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(damage);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(blobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort();
    found
}

fn digest_of(path: &Path, algorithm: Algorithm) -> io::Result<Digest> {
    let mut meter = Meter::writer(io::sink(), algorithm);
    io::copy(&mut File::open(path)?, &mut meter)?;
    Ok(meter.into_parts().1)
}
