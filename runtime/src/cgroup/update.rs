//! Changing the limits of a cgroup that is there, all or none: what the files held is read first, and
//! written back when one of the new values is refused.

use std::borrow::Cow;
use std::path::Path;

use super::apply::{Join, Member, write_limits};
use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use super::plan::{Missing, Plan, Write};
use crate::config::resources::Memory;
use crate::sys::open::CWD;

/// What the files of a cgroup held before an update.
#[derive(Debug)]
pub struct Former(Plan);

/// Writes the limits of a plan for a cgroup that is there.
///
/// # Errors
/// The first limit that was refused. What was written before it is undone; if that fails too, the
/// error says so.
pub fn update(plan: &Plan) -> Result<Former, CgroupError> {
    let members = open(plan)?;
    let former = Former(former(plan));
    match write_limits(plan, &members) {
        Ok(()) => Ok(former),
        Err(error) => Err(match write_limits(&former.0, &members) {
            Ok(()) => error,
            Err(second) => CgroupError::NotUndone(Box::new(error), Box::new(second)),
        }),
    }
}

impl Former {
    /// Writes back what the files held.
    ///
    /// # Errors
    /// The first value that the kernel refuses.
    pub fn restore(&self) -> Result<(), CgroupError> {
        write_limits(&self.0, &open(&self.0)?)
    }
}

/// The directories that something is written to.
fn open(plan: &Plan) -> Result<Vec<Option<Member>>, CgroupError> {
    let members = plan.directories.iter().enumerate().map(|(index, directory)| {
        if !plan.writes.iter().any(|write| write.directory == index) {
            return Ok(None);
        }
        let path = directory.path();
        let opened = file::open_directory(&path);
        let opened = opened.map_err(|source| CgroupError::File { file: path.clone(), source })?;
        let keys = directory.keys.clone();
        Ok(Some(Member { keys, path, directory: Some(opened), join: Join::Later }))
    });
    members.collect()
}

/// The writes that bring back what the files hold now, last one first.
fn former(plan: &Plan) -> Plan {
    let writes = plan.writes.iter().rev().filter_map(|write| {
        let directory = plan.directories.get(write.directory)?.path();
        let read = |name: &str| file::read(CWD, directory.join(name).to_string_lossy().as_ref());
        let (name, text) = match (read(&write.file), &write.alternative) {
            (Ok(text), _) => (write.file.clone(), text),
            (Err(_), Some((other, _))) => (Cow::Borrowed(*other), read(other).ok()?),
            // Writing it will fail for the same reason, or is passed over.
            (Err(_), None) => return None,
        };
        let text = match name.as_ref() {
            // A cgroup with processes in it may not get an empty list again: it gets what that meant.
            "cpuset.cpus" | "cpuset.mems" if text.trim().is_empty() => {
                read(&format!("{name}.effective")).unwrap_or(text)
            }
            _ => text,
        };
        let value = value_of(&name, &text, &write.value)?;
        let (missing, alternative) = (Missing::Skip, None);
        Some(Write { file: name, value, missing, alternative, ..write.clone() })
    });
    let writes = writes.collect();
    Plan { writes, device_program: None, warnings: Vec::new(), ..plan.clone() }
}

/// What to write to a file that holds `text` to undo a write of `new`; `None` for what cannot be
/// undone.
fn value_of(name: &str, text: &str, new: &str) -> Option<String> {
    let line_of = |key: &str| {
        text.lines().find(|line| line.split_whitespace().next() == Some(key)).map(str::trim)
    };
    match name {
        // The files that list a line for each device or interface.
        "io.max" => keyed(new, line_of, "rbps=max wbps=max riops=max wiops=max"),
        "io.latency" => keyed(new, line_of, "target=0"),
        "rdma.max" => keyed(new, line_of, "hca_handle=max hca_object=max"),
        "net_prio.ifpriomap" => keyed(new, line_of, "0"),
        _ if name.starts_with("blkio.throttle.") => keyed(new, line_of, "0"),
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" if new.contains(':') => {
            keyed(new, line_of, "default")
        }
        "blkio.weight_device" | "blkio.leaf_weight_device" => keyed(new, line_of, "0"),
        // The one value beside those of devices.
        "io.weight" | "io.bfq.weight" => {
            let line = line_of("default").unwrap_or(text);
            Some(line.trim_start_matches("default").trim().to_owned())
        }
        "memory.oom_control" => line_of("oom_kill_disable")
            .and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned),
        // Switches controllers on and off by signs; nothing is lost by leaving them on.
        "cgroup.subtree_control" | "cgroup.procs" | "cgroup.threads" | "cgroup.kill" => None,
        // An empty list is written as an empty line: of no bytes the kernel takes no notice.
        _ if text.trim().is_empty() => Some("\n".to_owned()),
        _ => Some(text.trim().to_owned()),
    }
}

fn keyed<'a>(
    new: &str,
    line_of: impl Fn(&str) -> Option<&'a str>,
    unlimited: &str,
) -> Option<String> {
    let key = new.split_whitespace().next()?;
    Some(line_of(key).map_or_else(|| format!("{key} {unlimited}"), str::to_owned))
}

/// Refuses limits on memory that are not above what is in use, where v2 would kill for it. v1 refuses
/// them by itself. What is in use is only looked at: it may grow the next moment.
///
/// # Errors
/// [`CgroupError::BelowUsage`].
pub fn check_memory(memory: &Memory, paths: &Paths) -> Result<(), CgroupError> {
    let unified = paths.get("").filter(|_| memory.check_before_update);
    let usage = unified.and_then(usage).filter(|_| paths.get("memory").is_none());
    let Some(usage) = usage else { return Ok(()) };
    for (swap, limit) in [(true, memory.swap), (false, memory.limit)] {
        if let Some(limit @ 1..) = limit
            && limit.unsigned_abs() <= usage
        {
            return Err(CgroupError::BelowUsage { swap, limit, usage });
        }
    }
    Ok(())
}

fn usage(directory: &Path) -> Option<u64> {
    let text = file::read_value(CWD, directory.join("memory.current")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_back_single_values() {
        for (name, text, former) in [
            ("memory.limit_in_bytes", "9223372036854771712\n", "9223372036854771712"),
            ("cpu.max", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0-1\n", "0-1"),
            ("cpuset.cpus", "\n", "\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "0"),
            ("io.weight", "default 100\n8:0 50\n", "100"),
            ("io.bfq.weight", "100\n", "100"),
        ] {
            assert_eq!(value_of(name, text, "7").as_deref(), Some(former), "{name}");
        }
        assert_eq!(value_of("cgroup.subtree_control", "cpu\n", "+memory"), None);
    }

    #[test]
    fn takes_back_a_line_of_a_device_or_that_there_was_none() {
        let text = "8:0 rbps=1 wbps=max riops=max wiops=max\n";
        let former = |name: &str, text: &str, new: &str| value_of(name, text, new).unwrap();
        assert_eq!(former("io.max", text, "8:0 rbps=9"), text.trim());
        let none = "8:16 rbps=max wbps=max riops=max wiops=max";
        assert_eq!(former("io.max", text, "8:16 rbps=9"), none);
        assert_eq!(former("io.latency", "8:0 target=7\n", "8:16 target=9"), "8:16 target=0");
        assert_eq!(former("blkio.throttle.read_bps_device", "8:0 5\n", "8:0 9"), "8:0 5");
        assert_eq!(former("blkio.throttle.read_bps_device", "", "8:0 9"), "8:0 0");
        assert_eq!(former("io.weight", "default 100\n8:0 50\n", "8:0 70"), "8:0 50");
        assert_eq!(former("io.bfq.weight", "default 100\n", "8:0 70"), "8:0 default");
        let rdma = "mlx5_0 hca_handle=2 hca_object=max";
        assert_eq!(former("rdma.max", rdma, "mlx5_0 hca_handle=9"), rdma);
        assert_eq!(former("rdma.max", "", "a hca_object=9"), "a hca_handle=max hca_object=max");
    }
}
