//! `plan`: what `create` would do, in words, without privilege and without doing it.

use std::fmt::Write;
use std::path::Path;

use super::command::Global;
use super::create::{explain, id, warn};
use super::error::CommandError;
use super::output::Output;
use crate::lifecycle::launch::plan_only;
use crate::lifecycle::request::Request;

pub(super) fn run(
    bundle: &Path,
    config: Option<&Path>,
    name: Option<&str>,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let id = id(name.unwrap_or("container"))?;
    let request = Request {
        config: config.map(Path::to_owned),
        systemd_cgroup: global.systemd_cgroup,
        ..Request::new(id, &global.root, bundle)
    };
    let (plan, cgroups, warnings) = plan_only(&request).map_err(|error| explain(&error))?;
    warn(&warnings, output);
    let mut text = String::new();
    for directory in &cgroups.directories {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "linux.cgroupsPath: make {}", directory.path().display());
    }
    for write in &cgroups.writes {
        let path = write.path(&cgroups);
        let _ = writeln!(text, "{}: write {:?} to {}", write.origin, write.value, path.display());
    }
    let _ = write!(text, "{plan}");
    output.print(&text)?;
    Ok(0)
}
