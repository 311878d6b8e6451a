//! Who uses the bridge, and what there is of it: files with locks below `/run`.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keel_image::build::NetworkError;

use super::firewall::Firewall;
use super::subnet::Subnet;

const FOLDER: &str = "/run/keel";

/// Commands have the numbers from 2; 1 is the host, 255 is everybody.
const NUMBERS: std::ops::RangeInclusive<u8> = 2..=254;

/// While it lives, no other process changes the records.
#[derive(Debug)]
pub(super) struct Exclusive(#[allow(dead_code, reason = "held for its lock")] File);

impl Exclusive {
    pub(super) fn lock() -> Result<Self, NetworkError> {
        let path = Path::new(FOLDER).join("build-net.lock");
        fs::create_dir_all(FOLDER).map_err(|error| at(&path, &error))?;
        let file = open(&path)?;
        // Whoever has it runs a few short programs, no more.
        file.lock().map_err(|error| at(&path, &error))?;
        Ok(Self(file))
    }
}

/// The records of the network namespace that this process is in.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
    name: String,
}

/// That a process uses the bridge.
#[derive(Debug)]
pub(super) struct Membership(File);

impl Membership {
    /// Whether no other process uses the bridge. None can begin to, either, while there is the exclusive lock.
    pub(super) fn is_last(&self, _: &Exclusive) -> bool {
        self.0.try_lock().is_ok()
    }

    /// Uses it from now on, together with others.
    pub(super) fn share(&self) -> Result<(), NetworkError> {
        self.0.lock_shared().map_err(|error| at(Path::new(FOLDER), &error))
    }
}

/// An address that is in use.
#[derive(Debug)]
pub(super) struct Record {
    number: u8,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Record {
    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// Takes the record away, and after it the lock.
    pub(super) fn remove(self) {
        self.unlink();
    }

    pub(super) fn unlink(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Records {
    pub(super) fn open() -> Result<Self, NetworkError> {
        let own = Path::new("/proc/self/ns/net");
        let number = fs::metadata(own).map_err(|error| at(own, &error))?.ino();
        let folder = Path::new(FOLDER).join(format!("build-net-{number}"));
        fs::create_dir_all(&folder).map_err(|error| at(&folder, &error))?;
        Ok(Self { folder, name: format!("keel-build-{number}") })
    }

    /// The network namespace of a number.
    pub(super) fn namespace(&self, number: u8) -> String {
        format!("{}-{number}", self.name)
    }

    pub(super) fn join(&self) -> Result<Membership, NetworkError> {
        open(&self.folder.join("users")).map(Membership)
    }

    /// Notes what is about to be made.
    pub(super) fn write_bridge(
        &self,
        subnet: Subnet,
        firewall: Firewall,
    ) -> Result<(), NetworkError> {
        let path = self.folder.join("bridge");
        fs::write(&path, format!("{subnet} {}\n", firewall.name()))
            .map_err(|error| at(&path, &error))
    }

    pub(super) fn read_bridge(&self) -> Option<(Subnet, Firewall)> {
        let text = fs::read_to_string(self.folder.join("bridge")).ok()?;
        let (subnet, firewall) = text.trim().split_once(' ')?;
        Some((subnet.parse().ok()?, Firewall::named(firewall)?))
    }

    /// The numbers that have records.
    pub(super) fn all(&self) -> Vec<u8> {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The records whose processes are no more.
    pub(super) fn dead(&self) -> Result<Vec<Record>, NetworkError> {
        let mut dead = Vec::new();
        for number in self.all() {
            let path = self.folder.join(number.to_string());
            // One that is gone by now has been removed by its own process.
            let Ok(file) = File::open(&path) else { continue };
            match file.try_lock() {
                Ok(()) => dead.push(Record { number, path, _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(at(&path, &error)),
            }
        }
        Ok(dead)
    }

    /// A number that nobody has.
    pub(super) fn reserve(&self) -> Result<Record, NetworkError> {
        for number in NUMBERS {
            let path = self.folder.join(number.to_string());
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    file.lock().map_err(|error| at(&path, &error))?;
                    return Ok(Record { number, path, _file: file });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path, &error)),
            }
        }
        Err(NetworkError {
            reason: "253 commands have a network already".to_owned(),
            hint: Some("wait until some have ended".to_owned()),
        })
    }

    /// Takes the records away.
    pub(super) fn remove_all(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn open(path: &Path) -> Result<File, NetworkError> {
    let opened = File::options().write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> NetworkError {
    NetworkError { reason: format!("{}: {error}", path.display()), hint: None }
}
