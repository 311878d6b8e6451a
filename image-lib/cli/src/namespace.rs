//! An ordinary user as root of a user namespace: with the subordinate ids that newuidmap and
//! newgidmap give, or with its own id alone. A mount namespace goes with it, in which overlayfs may
//! be mounted. This process itself enters, so that signals, terminal and exit code stay its own.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use keel_image::bundle::{IdMapping, Privilege};
use nix::sched::{CloneFlags, unshare};

use crate::failure::Failure;

/// Has this process entered a namespace, or was it root of one from the beginning?
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Which ids an ordinary user's namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ids {
    /// The subordinate ones if there are any, otherwise the user's own
    Auto,
    /// Those of /etc/subuid and /etc/subgid
    Subordinate,
    /// The user's own: all files are the user's, real owners are recorded
    Single,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The command; a shell without one
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    words: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MapArguments {
    pid: u32,
}

/// `keel-image unshare`: a command where this user's layers and bundles look as they do to
/// containers, to look at them and to remove them.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let shell = || std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, words) = match arguments.words.split_first() {
        Some((program, words)) => (program.clone(), words),
        None => (shell(), &[][..]),
    };
    let error = Command::new(&program).args(words).exec();
    Err(Failure::at("run", Path::new(&program), &error))
}

/// Makes an ordinary user root of a namespace of its own; root stays where it is. To be called
/// before there is a second thread.
pub(crate) fn enter(ids: Ids) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let has_ranges =
        ["/etc/subuid", "/etc/subgid"].iter().all(|file| !ranges(file, uid).is_empty());
    let has_tools = in_path("newuidmap").is_some() && in_path("newgidmap").is_some();
    match (ids, has_ranges, has_tools) {
        (Ids::Single, ..) | (Ids::Auto, false, _) | (Ids::Auto, _, false) => enter_alone(uid, gid),
        (_, true, true) => enter_with_subordinates(),
        (_, false, _) => Err(Failure::new("this user has no subordinate ids").with_hint(
            "usermod --add-subuids and --add-subgids give some; --ids single needs none",
        )),
        (_, _, false) => Err(Failure::new("newuidmap and newgidmap are not in $PATH")
            .with_hint("install the package uidmap, or use --ids single")),
    }?;
    ENTERED.store(true, Ordering::Relaxed);
    Ok(())
}

fn separate() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|errno| {
        Failure::new(format!("cannot make a user namespace: {}", errno.desc())).with_hint(
            "user.max_user_namespaces, kernel.unprivileged_userns_clone or AppArmor may forbid it \
             to ordinary users",
        )
    })
}

fn enter_alone(uid: u32, gid: u32) -> Result<(), Failure> {
    separate()?;
    let write = |name: &str, text: String| {
        let path = Path::new("/proc/self").join(name);
        fs::write(&path, text).map_err(|error| Failure::at("write", &path, &error))
    };
    // The kernel lets nobody map a group before this.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}

/// A process that stays outside calls newuidmap and newgidmap on this one: from inside nobody may.
fn enter_with_subordinates() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot map ids: {error}"));
    let mut helper = Command::new("/proc/self/exe");
    helper.args(["map-ids", &std::process::id().to_string()]).stdin(Stdio::piped());
    let mut helper = helper.spawn().map_err(failed)?;
    let separated = separate();
    // Its input ends: the namespace is there, or will not be.
    drop(helper.stdin.take());
    let mapped = helper.wait().map_err(failed)?;
    separated?;
    // It has said why.
    if mapped.success() { Ok(()) } else { Err(Failure::new("cannot map the subordinate ids")) }
}

/// The hidden command of that process.
pub(crate) fn map(arguments: &MapArguments) -> Result<(), Failure> {
    let mut nothing = Vec::new();
    let waited = std::io::stdin().read_to_end(&mut nothing);
    waited.map_err(|error| Failure::of(&error))?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    for (tool, file, own) in [("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", gid)]
    {
        let mut command = Command::new(in_path(tool).unwrap_or_else(|| tool.into()));
        command.arg(arguments.pid.to_string()).args(["0", &own.to_string(), "1"]);
        let mut inside = 1;
        for (first, count) in ranges(file, uid) {
            command.args([inside, first, count].map(|number| number.to_string()));
            inside += count;
        }
        let status =
            command.status().map_err(|error| Failure::at("run", Path::new(tool), &error))?;
        if !status.success() {
            return Err(Failure::new(format!("{tool} refused the ids of {file}")));
        }
    }
    Ok(())
}

/// What a container that the user starts later, outside, may ask for.
pub(crate) fn privilege_outside() -> Privilege {
    if !ENTERED.load(Ordering::Relaxed) {
        return Privilege::of_this_process();
    }
    Privilege::User { uids: mappings("uid_map"), gids: mappings("gid_map") }
}

fn mappings(name: &str) -> Vec<IdMapping> {
    let text = fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
    let mapping = |line: &str| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        let (inside, outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(IdMapping { container_id: inside, host_id: outside, size: count })
    };
    text.lines().filter_map(mapping).collect()
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The ranges that a file gives to a user, by its name or its number: first id and count.
fn ranges(file: &str, uid: u32) -> Vec<(u32, u32)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    ranges_in(&read(file), &read("/etc/passwd"), uid)
}

fn ranges_in(text: &str, passwd: &str, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let account = passwd.lines().find(|line| line.split(':').nth(2) == Some(&number));
    let name = account.and_then(|line| line.split(':').next());
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (Some(owner) == name || owner == number).then_some(range).filter(|(_, count)| *count > 0)
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_users_ranges() {
        let passwd = "root:x:0:0::/:/bin/sh\nana:x:1000:1000::/:/bin/sh\n";
        let text = "# comment\nbob:1:2\nana:100000:65536\n1000:300000:10\nana:5:0\nana:x:1\n";
        assert_eq!(ranges_in(text, passwd, 1000), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(ranges_in(text, passwd, 1001), []);
    }
}
