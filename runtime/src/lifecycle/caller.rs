//! What passes between this program and its caller beside the command line: descriptors to inherit, the
//! pid file, the socket for a pidfd.

use std::ffi::CString;
use std::path::Path;

use super::error::RuntimeError;
use crate::init::parent::Started;
use crate::sys::open::{CWD, OpenFlags, openat, survives_exec};
use crate::sys::process::getpid;

/// Makes sure that the descriptors are there that the program shall inherit; else it would get some of
/// ours.
///
/// # Errors
/// [`RuntimeError::Refused`], in runc's words.
pub(super) fn check_inherited(listened: u32, preserved: u32) -> Result<(), RuntimeError> {
    let is_open = |number: u32| survives_exec(i32::try_from(number).unwrap_or(i32::MAX));
    let first = 3 + listened;
    if let Some(number) = (3..first).find(|number| !is_open(*number)) {
        let text = format!("LISTEN_FDS is {listened}, but descriptor {number} is not open");
        return Err(RuntimeError::Refused(text));
    }
    match (0..preserved).find(|index| !is_open(first.saturating_add(*index))) {
        None => Ok(()),
        Some(index) => {
            let text = format!("unable to stat preserved-fd {index} (of {preserved})");
            Err(RuntimeError::Refused(text))
        }
    }
}

/// Sends a process's descriptor to whoever listens at `path`.
///
/// # Errors
/// [`RuntimeError::System`], naming the socket.
pub(super) fn send_pidfd(path: &Path, started: &Started, word: &[u8]) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system(format!("--pidfd-socket {}", path.display()));
    let socket = crate::sys::socket::connect_stream(path, 0).map_err(failed())?;
    crate::sys::socket::send_descriptor(&socket, word, started.pidfd()).map_err(failed())
}

/// Writes a pid so that readers see the whole number or no file.
///
/// # Errors
/// [`RuntimeError::System`], naming the file.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system(format!("--pid-file {}", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let c_string = |text: &[u8]| CString::new(text).unwrap_or_default();
    let directory = c_string(directory.as_os_str().as_encoded_bytes());
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
    let directory = openat(CWD, &directory, flags, 0).map_err(failed())?;
    let new = c_string(format!(".{name}.{}", getpid()).as_bytes());
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_EXCL;
    openat(&directory, &new, flags, 0o666)
        .and_then(|file| crate::sys::open::write_all(file, pid.to_string().as_bytes()))
        .and_then(|()| crate::sys::open::renameat(&directory, &new, &c_string(name.as_bytes())))
        .map_err(failed())
}
