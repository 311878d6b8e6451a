//! `delete`: cleans up after a shim, whether it went in order or was killed, and prints how the container ended.
//!
//! containerd calls it after every task. Where the shim deleted the container itself its journal is gone, and nothing
//! has to be asked of the runtime any more.

use std::collections::BTreeMap;
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
use crate::sandbox;
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
    // Where a sandbox's shim is gone, its containers have lost theirs, and containerd may not call for each.
    let served = bundle::address(&bundle).is_some_and(|it| socket_of(&it).is_some_and(is_served));
    let members = if served { BTreeMap::new() } else { sandbox::members(&bundle) };
    let failed: Vec<String> = members
        .iter()
        .map(|(id, bundle)| (id.as_str(), bundle.as_path()))
        .chain([(args.id.as_str(), bundle.as_path())])
        .filter_map(|(id, bundle)| clean(&args.namespace, id, bundle).err())
        .collect();
    remove_socket(&bundle);
    if !failed.is_empty() {
        return Err(failed.join("; "));
    }
    let exit = Exit { status: 128 + 9, at: SystemTime::now() };
    io::stdout()
        .write_all(&delete_answer(pid, exit))
        .map_err(|error| format!("standard output: {error}"))
}

/// Has the runtime remove what is left of a container, and unmounts its root.
fn clean(namespace: &str, id: &str, bundle: &Path) -> Result<(), String> {
    let ended = match bundle::journal(bundle) {
        Some(options) => Engine::new(&options, namespace, bundle)
            .run("delete", &["--force".into(), id.into()], Streams::Captured(limits::OUTPUT_BYTES))
            .and_then(|it| it.wait(limits::END))
            .map(|_| bundle::remove_journal(bundle)),
        None => Ok(()),
    };
    rootfs_mounts::unmount_root(bundle);
    ended.map_err(|error| error.message)
}

fn socket_of(address: &str) -> Option<&Path> {
    address.strip_prefix("unix://").map(Path::new)
}

/// Removes the socket of a shim that was killed; the pod's other containers may still have theirs.
fn remove_socket(bundle: &Path) {
    let Some(address) = bundle::address(bundle) else { return };
    let Some(path) = socket_of(&address) else { return };
    if path.exists() && !is_served(path) {
        let _ = std::fs::remove_file(path);
    }
}
