//! `delete`: cleans up after a shim, whether it went in order or was killed, and prints how the container ended.
//!
//! containerd calls it after every task. Where the shim deleted the container itself its journal is gone, and nothing
//! has to be asked of the runtime any more.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use crate::args::Args;
use crate::bundle;
use crate::engine::{Engine, Streams};
use crate::events::Exit;
use crate::job::delete_answer;
use crate::limits;
use crate::rootfs_mounts;
use crate::socket::is_served;

/// Does `delete`.
pub fn delete(args: &Args) -> Result<(), String> {
    let bundle = match args.bundle.as_str() {
        "" => std::env::current_dir().map_err(|error| format!("working directory: {error}"))?,
        path => path.into(),
    };
    if !bundle.is_absolute() {
        return Err(format!("bundle {}: it is no absolute path", bundle.display()));
    }
    let pid = bundle::read_pid(&bundle::pid_file(&bundle, "")).unwrap_or(0);
    let mut failed = None;
    if let Some(options) = bundle::journal(&bundle) {
        let engine = Engine::new(&options, &args.namespace, &bundle);
        let words = ["--force".into(), args.id.clone().into()];
        let ended = engine
            .run("delete", &words, Streams::Captured(limits::OUTPUT_BYTES))
            .and_then(|it| it.wait(limits::END));
        match ended {
            Ok(_) => bundle::remove_journal(&bundle),
            Err(error) => failed = Some(error.message),
        }
    }
    rootfs_mounts::unmount_all(&bundle.join("rootfs"));
    remove_socket(&bundle);
    if let Some(error) = failed {
        return Err(error);
    }
    let exit = Exit { status: 128 + 9, at: SystemTime::now() };
    io::stdout()
        .write_all(&delete_answer(pid, exit))
        .map_err(|error| format!("standard output: {error}"))
}

/// Removes the socket of a shim that was killed; the pod's other containers may still have theirs.
fn remove_socket(bundle: &Path) {
    let Some(address) = bundle::address(bundle) else { return };
    let Some(path) = address.strip_prefix("unix://").map(Path::new) else { return };
    if path.exists() && !is_served(path) {
        let _ = std::fs::remove_file(path);
    }
}
