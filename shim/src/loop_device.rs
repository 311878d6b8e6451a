//! Loop devices: a file as a block device, for mounts with the option `loop` (loop(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::sys;

/// How often another one may take the free device first.
const TRIES: u32 = 64;

/// A device that stands for a file. The kernel frees it when it is no longer open and nothing of it is mounted.
#[derive(Debug)]
pub struct LoopDevice {
    /// `/dev/loop0`.
    pub path: PathBuf,
    /// Holds it until it is mounted.
    _open: File,
}

impl LoopDevice {
    /// Finds a free device for `file`, which only reads where it is for reading.
    pub fn attach(file: &Path, readonly: bool) -> io::Result<Self> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(!readonly).custom_flags(libc::O_CLOEXEC);
            options.open(path)
        };
        let backing = open(file)?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..TRIES {
            let path = PathBuf::from(format!("/dev/loop{}", sys::free_loop_device(&control)?));
            let device = open(&path)?;
            match sys::configure_loop_device(&device, &backing, readonly) {
                Ok(()) => return Ok(Self { path, _open: device }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}
