//! `spec`: a `config.json` to begin with, equal to the one runc writes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::CommandError;
use super::json::Json;
use super::version;
use crate::sys::process;

const FILE_NAME: &str = "config.json";

/// A path that only the unified cgroup hierarchy has at its mount point.
const UNIFIED_MARK: &str = "/sys/fs/cgroup/cgroup.controllers";

/// What the config depends on.
#[derive(Debug, Clone, Copy)]
struct Setting {
    /// The caller's effective ids, where the config must do without privileges.
    rootless: Option<(u32, u32)>,
    /// Whether cgroups are those of version 2, where a cgroup namespace hides the host's.
    unified: bool,
}

/// Writes the config into a folder, the current one where absent.
///
/// # Errors
/// There is one already, or the folder cannot be written to.
pub(super) fn run(bundle: Option<&Path>, rootless: bool) -> Result<(), CommandError> {
    let ids = || (process::geteuid(), process::getegid());
    let setting =
        Setting { rootless: rootless.then(ids), unified: Path::new(UNIFIED_MARK).exists() };
    let path = bundle.map_or_else(|| FILE_NAME.into(), |bundle| bundle.join(FILE_NAME));
    // Never through a link and never over a file, so that the answer cannot change between the
    // question whether there is one and the opening of it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CommandError::new(format!("File {FILE_NAME} exists. Remove it first")));
        }
        opened => opened.map_err(|error| match bundle {
            Some(bundle) if error.kind() == io::ErrorKind::NotFound => {
                CommandError::file("chdir", bundle, &error)
            }
            _ => CommandError::file("open", &path, &error),
        })?,
    };
    let text = document(setting).indented("\t");
    file.write_all(text.as_bytes()).map_err(|error| {
        // Half a config would be in the way of the next attempt.
        let _ = std::fs::remove_file(&path);
        CommandError::file("write", &path, &error)
    })
}

fn document(setting: Setting) -> Json {
    Json::object([
        ("ociVersion", version::SPEC.into()),
        ("process", container_process()),
        ("root", Json::object([("path", "rootfs".into()), ("readonly", Json::Bool(true))])),
        // Tools that compare configs expect this name from every runtime.
        ("hostname", "runc".into()),
        ("mounts", mounts(setting)),
        ("linux", linux(setting)),
    ])
}

fn container_process() -> Json {
    let capabilities = || Json::texts(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let user = Json::object([("uid", Json::Number(0)), ("gid", Json::Number(0))]);
    let files = Json::object([
        ("type", "RLIMIT_NOFILE".into()),
        ("hard", Json::Number(1024)),
        ("soft", Json::Number(1024)),
    ]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    // No ambient set: it would hand the capabilities to every program of an unprivileged user. Old
    // releases of runc still wrote one.
    let sets = Json::object([
        ("bounding", capabilities()),
        ("effective", capabilities()),
        ("permitted", capabilities()),
    ]);
    Json::object([
        ("terminal", Json::Bool(true)),
        ("user", user),
        ("args", Json::texts(["sh"])),
        ("env", Json::texts([path, "TERM=xterm"])),
        ("cwd", "/".into()),
        ("capabilities", sets),
        ("rlimits", Json::List(vec![files])),
        ("noNewPrivileges", Json::Bool(true)),
    ])
}

fn mounts(setting: Setting) -> Json {
    let sysfs: (&str, &str, &str, &[&str]) = match setting.rootless {
        None => ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        // Without an own network namespace the kernel refuses a new sysfs.
        Some(_) => ("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
    };
    // The group of terminals, 5, has no place in a map of one id.
    let terminals: &[&str] =
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let terminals = &terminals[..terminals.len() - usize::from(setting.rootless.is_some())];
    let list: [(&str, &str, &str, &[&str]); 7] = [
        ("/proc", "proc", "proc", &[]),
        ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts", terminals),
        ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sysfs,
        ("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ];
    Json::List(list.into_iter().map(mount).collect())
}

fn mount((destination, kind, source, options): (&str, &str, &str, &[&str])) -> Json {
    Json::present([
        ("destination", Some(destination.into())),
        ("type", Some(kind.into())),
        ("source", Some(source.into())),
        ("options", (!options.is_empty()).then(|| Json::texts(options.iter().copied()))),
    ])
}

fn linux(setting: Setting) -> Json {
    let map = |id: u32| {
        let entry = Json::object([
            ("containerID", Json::Number(0)),
            ("hostID", Json::Number(id.into())),
            ("size", Json::Number(1)),
        ]);
        Json::List(vec![entry])
    };
    let denied = Json::object([("allow", Json::Bool(false)), ("access", "rwm".into())]);
    let resources = Json::object([("devices", Json::List(vec![denied]))]);
    Json::present([
        ("uidMappings", setting.rootless.map(|(uid, _)| map(uid))),
        ("gidMappings", setting.rootless.map(|(_, gid)| map(gid))),
        ("resources", setting.rootless.is_none().then_some(resources)),
        ("namespaces", Some(namespaces(setting))),
        ("maskedPaths", Some(Json::texts(MASKED))),
        ("readonlyPaths", Some(Json::texts(READ_ONLY))),
    ])
}

fn namespaces(setting: Setting) -> Json {
    let private = setting.rootless.is_none();
    let list = [
        ("pid", true),
        ("network", private),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", setting.unified),
        ("user", !private),
    ];
    let wanted = list.into_iter().filter(|(_, wanted)| *wanted);
    Json::List(wanted.map(|(name, _)| Json::object([("type", name.into())])).collect())
}

const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rootless: Option<(u32, u32)>, unified: bool, expected: &str) {
        let text = document(Setting { rootless, unified }).indented("\t");
        assert_eq!(text, expected.trim_end());
    }

    /// The expectation was compared with what runc 1.1.5 writes: only the version and the ambient
    /// set, which newer releases of runc leave out, differ.
    #[test]
    fn writes_what_runc_writes() {
        check(None, false, include_str!("golden/spec.json"));
        check(Some((1000, 100)), false, include_str!("golden/spec-rootless.json"));
    }

    #[test]
    fn hides_the_cgroups_of_the_host_where_they_are_unified() {
        let with = |text: &str, last: &str| {
            let entry = |name: &str| format!("{{\n\t\t\t\t\"type\": \"{name}\"\n\t\t\t}}");
            text.replace(&entry(last), &format!("{},\n\t\t\t{}", entry(last), entry("cgroup")))
        };
        check(None, true, &with(include_str!("golden/spec.json"), "mount"));
        let rootless = with(include_str!("golden/spec-rootless.json"), "mount");
        check(Some((1000, 100)), true, &rootless);
    }

    #[test]
    fn is_accepted_by_our_own_reader() {
        for rootless in [None, Some((1000, 1000))] {
            let text = document(Setting { rootless, unified: true }).indented("\t");
            let value = serde_json::from_str(&text).unwrap();
            let checked = crate::config::spec::Spec::from_json(&value);
            assert!(checked.is_ok(), "{checked:?}");
        }
    }

    #[test]
    fn never_touches_a_config_that_is_there() {
        let bundle = std::env::temp_dir().join(format!("keel-spec-{}", std::process::id()));
        std::fs::create_dir(&bundle).unwrap();
        run(Some(&bundle), false).unwrap();
        let file = bundle.join(FILE_NAME);
        std::fs::write(&file, "mine").unwrap();
        let error = run(Some(&bundle), false).unwrap_err();
        assert_eq!(error.message, "File config.json exists. Remove it first");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        std::fs::remove_dir_all(&bundle).unwrap();
        let missing = run(Some(&bundle), false).unwrap_err().message;
        assert_eq!(missing, format!("chdir {}: no such file or directory", bundle.display()));
    }
}
