//! The sandbox service, `containerd.runtime.sandbox.v1.Sandbox`: the shim makes the pod that its containers join.
//!
//! A sandbox is a container of the shim with one process ([`crate::pause`]) in the pod's namespaces. It is no task: the
//! task service does not know it, and no event tells of it. A client may hand over a configuration of its own in the
//! bundle; for CRI, which has none, the shim writes it by what CRI says of the pod.

pub mod pod;
pub(crate) mod root;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

use crate::bundle;
use crate::cgroup::Cgroup;
use crate::engine::Streams;
use crate::error::{Code, Error};
use crate::job::What;
use crate::limits;
use crate::messages::{Any, Call, Create, CreateSandbox, timestamp};
use crate::metrics;
use crate::protobuf::Writer;
use crate::rootfs_mounts;
use crate::sandbox::pod::{Pod, Surroundings};
use crate::serve::Shim;
use crate::service::{Answer, NOTHING};
use crate::task::{Caller, Form, Key, Status};

/// The service's name.
pub(crate) const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// Below the sandbox's bundle: for each container of the pod a link to its bundle, for who cleans up.
const MEMBERS: &str = "members";

/// What a container has that is a sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    created: SystemTime,
    /// Root and configuration are the shim's work, not the client's.
    made_here: bool,
    /// The user namespace that config.json names by this descriptor.
    _users: Option<OwnedFd>,
}

impl Sandbox {
    /// Removes what the shim has put into the bundle; the next sandbox there begins anew.
    pub(crate) fn unmake(&self, bundle: &Path) {
        if self.made_here {
            rootfs_mounts::unmount_all(&bundle.join("rootfs"));
            let _ = fs::remove_file(bundle.join("config.json"));
        }
    }
}

impl Shim {
    /// Does a method of the sandbox service.
    pub(crate) fn sandbox_method(
        &mut self,
        caller: Caller,
        method: &str,
        payload: &[u8],
    ) -> Answer {
        if method == "CreateSandbox" {
            return self.create_sandbox(caller, &CreateSandbox::parse(payload)?);
        }
        let id = Call::of_container(payload)?.id;
        let key = Key::init(&id);
        let Some(container) = self.containers.get_mut(&id).filter(|it| it.sandbox.is_some()) else {
            // After a creation that failed, containerd asks the shim to go in this way.
            if method == "ShutdownSandbox" && self.containers.is_empty() {
                self.leave();
                return NOTHING;
            }
            return Err(Error::new(Code::NotFound, format!("sandbox {id}: there is none")));
        };
        let changes = matches!(method, "StartSandbox" | "StopSandbox" | "ShutdownSandbox");
        if changes && container.init.busy {
            return container.init.defer(&key, caller, method, payload);
        }
        let nothing = Caller { form: Form::Nothing, ..caller };
        match method {
            "StartSandbox" => self.start(Caller { form: Form::Started, ..caller }, &key),
            "StopSandbox" => self.stop_sandbox(nothing, &key),
            "ShutdownSandbox" => self.shut_sandbox_down(nothing, &key),
            "WaitSandbox" => self.wait(caller, &key),
            "SandboxStatus" => self.sandbox_status(&id),
            "PingSandbox" => NOTHING,
            "Platform" => {
                let platform = Writer::new().text(1, "linux").text(2, architecture());
                Ok(Some(Writer::new().message(1, platform).done()))
            }
            "SandboxMetrics" => self.sandbox_metrics(&id),
            _ => Err(Error::new(Code::Unimplemented, format!("method {method}"))),
        }
    }

    fn create_sandbox(&mut self, caller: Caller, request: &CreateSandbox) -> Answer {
        let bundle = self.check_new(&request.id, &request.bundle)?;
        if let Some(id) = self.sandbox_id() {
            let text = format!("sandbox {}: the shim has {id}", request.id);
            return Err(Error::new(Code::AlreadyExists, text));
        }
        let options =
            bundle::options(&bundle).map_err(|error| Error::file("options.json", &error))?;
        let given = bundle.join("config.json").exists();
        let users = if given { None } else { self.write_bundle(request, &bundle)? };
        let create = Create {
            id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: if given { request.rootfs.clone() } else { Vec::new() },
            ..Create::default()
        };
        let sandbox = Sandbox { created: SystemTime::now(), made_here: !given, _users: users };
        let caller = Caller { form: Form::Nothing, ..caller };
        self.create_as(caller, create, &options, Some(sandbox))
    }

    /// Root and configuration of a sandbox that has none.
    fn write_bundle(
        &self,
        request: &CreateSandbox,
        bundle: &Path,
    ) -> Result<Option<OwnedFd>, Error> {
        let pod = Pod::of(request.options.as_ref())?;
        let program = std::env::current_exe().map_err(|error| Error::host("own file", error))?;
        let users =
            if pod.has_user_namespace() { owner_of(&request.network_namespace)? } else { None };
        let users_path = users.as_ref().map_or_else(String::new, |it| {
            format!("/proc/{}/fd/{}", std::process::id(), it.as_raw_fd())
        });
        let config = pod.config(&Surroundings {
            id: &request.id,
            namespace: &self.namespace,
            program: &program.to_string_lossy(),
            network_namespace: &request.network_namespace,
            user_namespace: &users_path,
            least_oom_score: least_oom_score(),
        });
        let rootfs = bundle.join("rootfs");
        let made = root::make(&pod, &rootfs).and_then(|()| {
            let file = bundle.join("config.json");
            fs::write(&file, config.to_string())
                .map_err(|error| Error::file(file.display(), &error))
        });
        if made.is_err() {
            rootfs_mounts::unmount_all(&rootfs);
        }
        made.map(|()| users)
    }

    /// Ends the sandbox's process; the answer comes with its end.
    fn stop_sandbox(&mut self, caller: Caller, key: &Key) -> Answer {
        let Some(container) = self.containers.get_mut(&key.id) else { return NOTHING };
        if container.init.status == Status::Stopped {
            return NOTHING;
        }
        // The pid is the shim's child until the shim has reaped it.
        if container.init.lives() {
            crate::sys::kill(container.init.pid, 9)
                .map_err(|error| Error::host(format!("signal to sandbox {}", key.id), error))?;
        }
        container.init.waiters.push(caller);
        Ok(None)
    }

    /// Deletes the sandbox, with which the shim goes.
    fn shut_sandbox_down(&mut self, caller: Caller, key: &Key) -> Answer {
        let others: Vec<&str> =
            self.containers.keys().filter(|id| **id != key.id).map(String::as_str).collect();
        if !others.is_empty() {
            let text = format!("sandbox {}: it has containers: {}", key.id, others.join(", "));
            return Err(Error::new(Code::FailedPrecondition, text));
        }
        let streams = Streams::Captured(limits::OUTPUT_BYTES);
        self.ask(caller, key, What::Delete, "delete", &["--force"], streams)
    }

    fn sandbox_status(&mut self, id: &str) -> Answer {
        let Some(container) = self.containers.get(id) else { return NOTHING };
        let Some(sandbox) = &container.sandbox else { return NOTHING };
        let init = &container.init;
        // CRI's words; a sandbox that was not started has no word of its own.
        let ready = init.status == Status::Running && init.exit.is_none();
        let state = if ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
        let mut status = Writer::new()
            .text(1, id)
            .number32(2, init.pid)
            .text(3, state)
            .message(5, timestamp(sandbox.created));
        if let Some(exit) = init.exit {
            status = status.message(6, timestamp(exit.at));
        }
        Ok(Some(status.done()))
    }

    fn sandbox_metrics(&mut self, id: &str) -> Answer {
        let cgroup = self.containers.get(id).map(|it| &it.cgroup);
        let Some(cgroup) = cgroup.filter(|it| **it != Cgroup::default()) else {
            let text = format!("sandbox {id}: it has no cgroup");
            return Err(Error::new(Code::FailedPrecondition, text));
        };
        let metric = Writer::new()
            .message(1, timestamp(SystemTime::now()))
            .text(2, id)
            .message(3, metrics::of(cgroup).encode());
        Ok(Some(Writer::new().message(1, metric).done()))
    }

    /// The answer of `StartSandbox`.
    pub(crate) fn sandbox_started(&self) -> Vec<u8> {
        let container = self.containers.values().find(|it| it.sandbox.is_some());
        let Some((container, sandbox)) = container.and_then(|it| Some((it, it.sandbox.as_ref()?)))
        else {
            return Vec::new();
        };
        let mut started =
            Writer::new().number32(1, container.init.pid).message(2, timestamp(sandbox.created));
        let config = container.bundle.join("config.json");
        if let Ok(value) = bundle::read_bounded(&config, limits::CONFIG_BYTES) {
            let type_url = "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned();
            started = started.message(3, Any { type_url, value }.encode());
        }
        started.done()
    }

    fn sandbox_id(&self) -> Option<&str> {
        let mut sandboxes = self.containers.iter().filter(|it| it.1.sandbox.is_some());
        sandboxes.next().map(|it| it.0.as_str())
    }

    /// Gives a new container what it shares with its pod, and notes that it is the pod's.
    pub(crate) fn join_sandbox(
        &self,
        id: &str,
        bundle: &Path,
        group: Option<&str>,
    ) -> Result<(), Error> {
        let pod = group.and_then(|it| self.containers.get(it));
        let Some((pod, sandbox)) = pod.and_then(|it| Some((it, it.sandbox.as_ref()?))) else {
            return Ok(());
        };
        let members = pod.bundle.join(MEMBERS);
        let tell = |error: std::io::Error| Error::file(members.display(), &error);
        fs::create_dir_all(&members).map_err(tell)?;
        let link = members.join(id);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(bundle, link).map_err(tell)?;
        if sandbox.made_here {
            root::share(&pod.bundle.join("rootfs"), &bundle.join("config.json"))?;
        }
        Ok(())
    }

    /// Notes that a container of the pod was deleted.
    pub(crate) fn leave_sandbox(&self, id: &str) {
        let sandbox = self.containers.values().find(|it| it.sandbox.is_some());
        if let Some(sandbox) = sandbox {
            let _ = fs::remove_file(sandbox.bundle.join(MEMBERS).join(id));
        }
    }
}

/// Ids and bundles of the containers that a sandbox whose shim was killed may have.
pub(crate) fn members(bundle: &Path) -> BTreeMap<String, std::path::PathBuf> {
    let entries = fs::read_dir(bundle.join(MEMBERS)).into_iter().flatten().flatten();
    let member = |entry: fs::DirEntry| {
        Some((entry.file_name().into_string().ok()?, fs::read_link(entry.path()).ok()?))
    };
    entries.filter_map(member).collect()
}

/// The user namespace that a network belongs to, where it is another one than the shim's.
fn owner_of(network_namespace: &str) -> Result<Option<OwnedFd>, Error> {
    if network_namespace.is_empty() {
        return Ok(None);
    }
    let tell = |error| Error::host(format!("owner of {network_namespace}"), error);
    let network = fs::File::open(network_namespace).map_err(tell)?;
    let users = crate::sys::owner_of_namespace(&network).map_err(tell)?;
    let own = rustix::fs::stat("/proc/self/ns/user").map_err(|error| tell(error.into()))?;
    let its = rustix::fs::fstat(&users).map_err(|error| tell(error.into()))?;
    Ok(((own.st_dev, own.st_ino) != (its.st_dev, its.st_ino)).then_some(users))
}

/// What the kernel lets a process have that may not lower its score (`CAP_SYS_RESOURCE` is bit 24): its own.
fn least_oom_score() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let caps = caps.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    if caps & 1 << 24 != 0 {
        return -1000;
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    own.trim().parse().unwrap_or(0)
}

/// As Go spells it, and images with it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
