//! Why the program is not found or not executed: the path, the permissions, the file and its interpreter.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;

use super::elf::{self, Head};
use super::{Cause, args0};
use crate::config::linux::{IdMapping, NamespaceKind};
use crate::config::process::Process;
use crate::config::spec::Spec;
use crate::root::Root;
use crate::sys::open::{Status, fstat, mount_flags};

const FIELD: &str = "process.args";
/// How much of a file is read: the program headers and the interpreter's name stand at its beginning.
const HEAD_BYTES: u64 = 64 << 10;
/// How many interpreters may follow each other (the kernel's own limit).
const DEPTH_MAX: u32 = 5;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;

pub(super) fn check(spec: &Spec, process: &Process, root: &Root, causes: &mut Vec<Cause>) {
    let judge = Judge { spec, process, root };
    let found = match judge.find() {
        Ok(path) => judge.executable(&path, DEPTH_MAX),
        Err(cause) => Err(cause),
    };
    causes.extend(found.err());
}

struct Judge<'a> {
    spec: &'a Spec,
    process: &'a Process,
    root: &'a Root,
}

impl Judge<'_> {
    /// The path of the program, as the container's process looks for it.
    fn find(&self) -> Result<String, Cause> {
        let name = args0(self.process);
        if name.contains('/') {
            let from_cwd = format!("{}/{name}", self.process.cwd.trim_end_matches('/'));
            return Ok(if name.starts_with('/') { name.to_owned() } else { from_cwd });
        }
        let variable = self.process.env.iter().find_map(|entry| entry.strip_prefix("PATH="));
        let path =
            variable.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let candidates = path.split(':').map(|directory| format!("{directory}/{name}"));
        let there: Vec<String> = candidates.filter(|path| self.is_file(path)).collect();
        let runnable = there.iter().find(|path| self.executable(path, 0).is_ok());
        runnable.or(there.first()).cloned().ok_or_else(|| {
            let what = match variable {
                Some(_) => format!("{name:?} is in none of the directories of PATH ({path})"),
                None => format!("{name:?} is in none of {path}; process.env has no PATH"),
            };
            cause(
                "program-not-found",
                "ENOENT",
                what,
                "give the path of the program, or set PATH in process.env",
            )
        })
    }

    fn is_file(&self, path: &str) -> bool {
        self.status(path).is_some_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFREG)
    }

    fn status(&self, path: &str) -> Option<Status> {
        let path = CString::new(path.trim_start_matches('/')).ok()?;
        let path = if path.is_empty() { c".".to_owned() } else { path };
        fstat(self.root.find(&path).ok()?).ok()
    }

    /// Whether execve succeeds; `depth` interpreters are looked at.
    fn executable(&self, path: &str, depth: u32) -> Result<(), Cause> {
        self.enter_directories(path)?;
        let status = self.status(path).ok_or_else(|| {
            cause("program-not-found", "ENOENT", format!("{path} is not there"), "")
        })?;
        match status.st_mode & libc::S_IFMT {
            libc::S_IFREG => {}
            libc::S_IFDIR => {
                let what = format!("{path} is a directory");
                return Err(cause("not-a-file", "EISDIR", what, "name a program"));
            }
            _ => {
                let what = format!("{path} is no regular file");
                return Err(cause("not-a-file", "EACCES", what, "name a program"));
            }
        }
        if !self.may(&status, 0o1) {
            let what = format!(
                "{path} has mode {:03o} and belongs to {}:{}; {} may not execute it",
                status.st_mode & 0o777,
                status.st_uid,
                status.st_gid,
                self.who()
            );
            return Err(cause(
                "no-exec-permission",
                "EACCES",
                what,
                "chmod +x the file, or run as another user",
            ));
        }
        self.allows_exec(path)?;
        if depth == 0 { Ok(()) } else { self.content(path, depth) }
    }

    /// Every directory on the way must be one and let the user pass.
    fn enter_directories(&self, path: &str) -> Result<(), Cause> {
        for (at, _) in path.match_indices('/').skip(1) {
            let directory = &path[..at];
            let Some(status) = self.status(directory) else {
                let what = format!("{directory} is not there");
                return Err(cause("program-not-found", "ENOENT", what, ""));
            };
            if status.st_mode & libc::S_IFMT != libc::S_IFDIR {
                let what = format!("{directory} is no directory");
                return Err(cause("program-not-found", "ENOTDIR", what, ""));
            }
            if !self.may(&status, 0o1) {
                let what = format!(
                    "{directory} has mode {:03o} and belongs to {}:{}; {} may not enter it",
                    status.st_mode & 0o777,
                    status.st_uid,
                    status.st_gid,
                    self.who()
                );
                return Err(cause(
                    "no-search-permission",
                    "EACCES",
                    what,
                    "chmod +x the directory, or run as another user",
                ));
            }
        }
        Ok(())
    }

    fn who(&self) -> String {
        format!("user {}:{}", self.process.user.uid, self.process.user.gid)
    }

    /// The kernel's rule: one class of bits decides, and a capability overrules where it may.
    fn may(&self, status: &Status, bit: u32) -> bool {
        let linux = &self.spec.linux;
        let uid = outside(&linux.uid_mappings, self.process.user.uid);
        let gid = outside(&linux.gid_mappings, self.process.user.gid);
        let mut groups = self.process.user.additional_gids.iter();
        let in_group = status.st_gid == gid
            || groups.any(|group| outside(&linux.gid_mappings, *group) == status.st_gid);
        let class = if status.st_uid == uid {
            6
        } else if in_group {
            3
        } else {
            0
        };
        if status.st_mode >> class & bit != 0 {
            return true;
        }
        let effective = self.process.capabilities.map_or(0, |sets| sets.effective);
        let has = |capability: u32| effective & 1 << capability != 0;
        let owns_inode = linux.namespace(NamespaceKind::User).is_none()
            || is_mapped(&linux.uid_mappings, status.st_uid)
                && is_mapped(&linux.gid_mappings, status.st_gid);
        let is_directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let overrules = match is_directory {
            true => has(CAP_DAC_OVERRIDE) || has(CAP_DAC_READ_SEARCH),
            // Even root executes nothing that nobody may execute.
            false => has(CAP_DAC_OVERRIDE) && status.st_mode & 0o111 != 0,
        };
        owns_inode && overrules
    }

    /// The mount on which the file lies, now or in the container, may forbid execution.
    fn allows_exec(&self, path: &str) -> Result<(), Cause> {
        let below = |destination: &str| {
            std::path::Path::new(path).starts_with(destination) && destination.len() > 1
        };
        let mut mounts = self.spec.mounts.iter().enumerate();
        let covering = mounts.rfind(|(_, mount)| below(&mount.destination));
        if let Some((index, mount)) = covering {
            let forbids = (mount.options.set | mount.options.recursive_set) & libc::MS_NOEXEC != 0;
            if forbids {
                let what =
                    format!("{path} lies on the mount {}, which has noexec", mount.destination);
                return Err(Cause {
                    field: format!("mounts[{index}]"),
                    ..cause("noexec", "EACCES", what, "mount it with exec")
                });
            }
        }
        let file = CString::new(path.trim_start_matches('/')).unwrap_or_default();
        let Ok(file) = self.root.find(&file) else { return Ok(()) };
        if covering.is_none() && mount_flags(&file).is_ok_and(|flags| flags & libc::MS_NOEXEC != 0)
        {
            let what = format!("{path} lies on a file system that is mounted with noexec");
            return Err(Cause {
                field: "root.path".to_owned(),
                ..cause("noexec", "EACCES", what, "remount it with exec, or move the bundle")
            });
        }
        Ok(())
    }

    fn content(&self, path: &str, depth: u32) -> Result<(), Cause> {
        let name = CString::new(path.trim_start_matches('/')).unwrap_or_default();
        let mut bytes = Vec::new();
        let read = self
            .root
            .open_to_read(&name)
            .ok()
            .and_then(|fd| File::from(fd).take(HEAD_BYTES).read_to_end(&mut bytes).ok());
        if read.is_none() {
            // Executable and not readable is possible; the kernel reads it all the same.
            return Ok(());
        }
        match elf::read(&bytes) {
            Head::Elf { machine, .. } if !elf::runs_here(machine) => Err(cause(
                "wrong-architecture",
                "ENOEXEC",
                format!(
                    "{path} is a program for {}, this machine is {}",
                    elf::machine_name(machine),
                    std::env::consts::ARCH
                ),
                "use an image for this architecture, or register an emulator with binfmt_misc",
            )),
            Head::Elf { interpreter: Some(loader), .. } => {
                let loader = String::from_utf8_lossy(&loader).into_owned();
                self.interpreter(path, &loader, "loader-missing", depth,
                    "install the C library that the program was built for (musl or glibc), or build it statically")
            }
            Head::Elf { .. } => Ok(()),
            Head::Script(word) => self.script(path, &String::from_utf8_lossy(&word), depth),
            Head::Empty => Err(cause(
                "no-program",
                "ENOEXEC",
                format!("{path} is empty"),
                "unpack the image again",
            )),
            Head::Other => Err(cause(
                "no-program",
                "ENOEXEC",
                format!("{path} is no program, and has no #! line"),
                "begin the script with #! and its interpreter",
            )),
        }
    }

    fn script(&self, path: &str, interpreter: &str, depth: u32) -> Result<(), Cause> {
        if interpreter.ends_with('\r') {
            let what = format!(
                "the #! line of {path} ends in a carriage return, so that the interpreter is {interpreter:?}"
            );
            return Err(cause(
                "crlf",
                "ENOENT",
                what,
                "save the script with line feeds only (dos2unix, .gitattributes eol=lf)",
            ));
        }
        if interpreter.is_empty() {
            let what = format!("the #! line of {path} names no interpreter");
            return Err(cause("no-program", "ENOEXEC", what, "name one behind #!"));
        }
        self.interpreter(
            path,
            interpreter,
            "interpreter-missing",
            depth,
            "install it, or correct the #! line",
        )
    }

    fn interpreter(
        &self,
        path: &str,
        interpreter: &str,
        kind: &'static str,
        depth: u32,
        hint: &'static str,
    ) -> Result<(), Cause> {
        if self.status(interpreter).is_none() {
            let what = format!(
                "{path} needs the interpreter {interpreter}, which is not in the root filesystem"
            );
            return Err(cause(kind, "ENOENT", what, hint));
        }
        if depth <= 1 {
            let what = format!("{path}: too many interpreters follow each other");
            return Err(cause("interpreter-loop", "ELOOP", what, "name a program behind #!"));
        }
        // A loader is a program that needs no other.
        let depth = if kind == "loader-missing" { 0 } else { depth - 1 };
        self.executable(interpreter, depth).map_err(|cause| Cause {
            what: format!("{path} needs the interpreter {interpreter}: {}", cause.what),
            ..cause
        })
    }
}

fn cause(kind: &'static str, errno: &'static str, what: String, hint: &'static str) -> Cause {
    Cause { kind, field: FIELD.to_owned(), errno, what, hint: hint.to_owned() }
}

/// The id on the host of one inside.
fn outside(mappings: &[IdMapping], id: u32) -> u32 {
    let holding = mappings.iter().find(|map| id >= map.container && id - map.container < map.size);
    holding.map_or(id, |map| map.host.saturating_add(id - map.container))
}

fn is_mapped(mappings: &[IdMapping], host: u32) -> bool {
    mappings.iter().any(|map| host >= map.host && host - map.host < map.size)
}
