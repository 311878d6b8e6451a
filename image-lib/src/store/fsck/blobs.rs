//! Every file below `blobs/`, by its name: do its bytes have that digest?

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Damage, Finding, FsckOptions, Report};
use crate::blob::Meter;
use crate::identity::{Algorithm, Digest};
use crate::store::error::At;
use crate::store::{Store, StoreError, workers};

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
    let examine = |(digest, path, _): &(Digest, PathBuf, u64)| {
        let reason = match digest_of(path, digest.algorithm()) {
            Ok(actual) if actual == *digest => return None,
            Ok(actual) => format!("its bytes have the digest {actual}"),
            Err(error) => error.to_string(),
        };
        Some((digest.clone(), path.clone(), reason))
    };
    let examined = workers::map_all(blobs, examine, |_| false);
    let mut found: Vec<_> = examined.into_iter().flatten().collect();
    found.sort();
    found
}

fn digest_of(path: &Path, algorithm: Algorithm) -> io::Result<Digest> {
    let mut meter = Meter::writer(io::sink(), algorithm);
    io::copy(&mut File::open(path)?, &mut meter)?;
    Ok(meter.into_parts().1)
}
