//! A kubelet in the hands of a test: it speaks CRI with a containerd of its own.
//!
//! containerd runs in a network namespace of its own, so that the pods' network is nobody's. CRI is gRPC; curl carries its
//! messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::message::{Fields, Message};
use crate::store::text;
use crate::{
    CallError, Containerd, IMAGE, ImageStore, WebSocket, eventually, fixture, leftovers,
    shim_is_peer, within_a_while,
};

const PAUSE: &str = "docker.io/library/pause:1";

/// One containerd with CRI, and the pods that a test runs on it.
#[derive(Debug)]
pub struct Kubelet {
    containerd: Containerd,
    /// It knows `sandboxer`.
    sandboxes: bool,
}

/// A pod: its id and what CRI wants to be told again with each of its containers.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The sandbox's id.
    pub id: String,
    config: Message,
}

impl Kubelet {
    /// Starts it, with the handlers `pods` (containerd makes the sandboxes) and, where it can, `sandboxer` (the shim does).
    #[track_caller]
    pub fn start() -> Self {
        let program =
            if shim_is_peer() { "io.containerd.runc.v2" } else { "io.containerd.keel.v2" };
        let containerd = Containerd::with_pods(|folder| config(folder, program));
        let kubelet = Self { sandboxes: containerd.version() >= (2, 0), containerd };
        let store = ImageStore::new();
        store.import(&fixture("busybox.tar"), IMAGE).succeeds();
        let pause = ["import", "-c", "CMD [\"/bin/sleep\", \"100000\"]"];
        let archive = fixture("busybox.tar");
        store.call(&[&pause[..], &[text(&archive), PAUSE]].concat()).succeeds();
        for image in [IMAGE, PAUSE] {
            let saved = store.beside("saved.tar");
            store.call(&["save", "-o", text(&saved), image]).succeeds();
            let words = ["-n", "k8s.io", "images", "import", text(&saved)];
            kubelet.containerd.ctr(&words, None).succeeds();
            let _ = fs::remove_file(saved);
        }
        for image in [IMAGE, PAUSE] {
            eventually("CRI knows the image", || {
                let request = Message::new().message(1, Message::new().bytes(1, image));
                let answer = kubelet.image_call("ImageStatus", request).ok()?;
                (!answer.all(1).is_empty()).then_some(())
            });
        }
        kubelet
    }

    /// The handlers that there are.
    pub fn handlers(&self) -> Vec<&'static str> {
        if self.sandboxes { vec!["pods", "sandboxer"] } else { vec!["pods"] }
    }

    /// containerd's pid.
    pub fn pid(&self) -> i32 {
        self.containerd.pid()
    }

    /// containerd's version.
    pub fn version(&self) -> (u32, u32) {
        self.containerd.version()
    }

    /// Whether this containerd lets shims make sandboxes.
    pub fn has_sandboxer(&self) -> bool {
        self.sandboxes && !shim_is_peer()
    }

    /// containerd itself.
    pub fn containerd(&mut self) -> &mut Containerd {
        &mut self.containerd
    }

    /// A call of the runtime service.
    ///
    /// # Errors
    /// What it answered.
    pub fn call(&self, method: &str, message: Message) -> Result<Fields, CallError> {
        self.grpc("runtime.v1.RuntimeService", method, message)
    }

    fn image_call(&self, method: &str, message: Message) -> Result<Fields, CallError> {
        self.grpc("runtime.v1.ImageService", method, message)
    }

    fn grpc(&self, service: &str, method: &str, message: Message) -> Result<Fields, CallError> {
        let scratch = crate::Scratch::new();
        let (request, head) = (scratch.join("request"), scratch.join("head"));
        let mut body = vec![0];
        body.extend((message.0.len() as u32).to_be_bytes());
        body.extend(message.0);
        fs::write(&request, body).expect("a request");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2-prior-knowledge", "--max-time", "120"]);
        curl.arg("--unix-socket").arg(self.containerd.folder().join("containerd.sock"));
        curl.args(["-H", "Content-Type: application/grpc", "-H", "TE: trailers", "--data-binary"]);
        curl.arg(format!("@{}", request.display())).arg("-D").arg(&head);
        let output =
            curl.arg(format!("http://localhost/{service}/{method}")).output().expect("curl");
        let head = fs::read_to_string(head).unwrap_or_default();
        let value = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned())
        };
        match value("grpc-status:").as_deref() {
            Some("0") => Ok(Fields::parse(output.stdout.get(5..).unwrap_or_default())),
            Some(code) => Err(CallError {
                code: code.parse().unwrap_or(2),
                message: value("grpc-message:").unwrap_or_default(),
            }),
            // gRPC's code for a server that cannot be spoken with.
            None => Err(CallError {
                code: 14,
                message: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
        }
    }

    /// Runs a pod with `linux`, a `LinuxPodSandboxConfig`, and a name server.
    #[track_caller]
    pub fn pod(&self, handler: &str, name: &str, linux: Message) -> Pod {
        self.pod_called(handler, name, &format!("{name}-host"), linux)
    }

    /// The same with a host name, which is empty where the host's is the pod's.
    #[track_caller]
    pub fn pod_called(&self, handler: &str, name: &str, hostname: &str, linux: Message) -> Pod {
        let metadata = Message::new().bytes(1, name).bytes(2, name).bytes(3, "tests");
        let dns = Message::new().bytes(1, "192.0.2.53").bytes(2, "cluster.example");
        let logs = self.containerd.folder().join("logs").join(name);
        let parent = format!("/{}", self.cgroup());
        let config = Message::new()
            .message(1, metadata)
            .bytes(2, hostname)
            .bytes(3, text(&logs))
            .message(4, dns)
            .message(8, linux.bytes(1, parent));
        let request = Message::new().message(1, config.clone()).bytes(2, handler);
        let answer = self.call("RunPodSandbox", request);
        let answer = answer.unwrap_or_else(|error| panic!("{error:?}\n{}", self.containerd.log()));
        Pod { id: answer.text(1), config }
    }

    /// Creates and starts a container with this command and more fields of `ContainerConfig`.
    #[track_caller]
    pub fn container(&self, pod: &Pod, name: &str, words: &[&str], more: Message) -> String {
        let id = self.create(pod, name, words, more).expect("created");
        let started = self.call("StartContainer", Message::new().bytes(1, &id));
        started.unwrap_or_else(|error| panic!("{error:?}\n{}", self.containerd.log()));
        id
    }

    fn create(
        &self,
        pod: &Pod,
        name: &str,
        words: &[&str],
        more: Message,
    ) -> Result<String, CallError> {
        let mut config = Message::new()
            .message(1, Message::new().bytes(1, name))
            .message(2, Message::new().bytes(1, IMAGE))
            .bytes(11, format!("{name}.log"));
        for word in words {
            config = config.bytes(3, word);
        }
        config.0.extend(more.0);
        let request =
            Message::new().bytes(1, &pod.id).message(2, config).message(3, pod.config.clone());
        Ok(self.call("CreateContainer", request)?.text(1))
    }

    /// A program in a container, to its end: output, errors, status.
    #[track_caller]
    pub fn exec(&self, container: &str, words: &[&str]) -> (String, String, u64) {
        let mut request = Message::new().bytes(1, container).number(3, 60);
        for word in words {
            request = request.bytes(2, word);
        }
        let answer = self.call("ExecSync", request).expect("an answer");
        (answer.text(1), answer.text(2), answer.number(3))
    }

    /// `ContainerStatus`.
    #[track_caller]
    pub fn status(&self, container: &str) -> Fields {
        let answer = self.call("ContainerStatus", Message::new().bytes(1, container));
        answer.expect("an answer").message(1)
    }

    /// Waits for a container's end; its status.
    #[track_caller]
    pub fn ended(&self, container: &str) -> Fields {
        eventually("the container ends", || {
            let status = self.status(container);
            (status.number(3) == 2).then_some(status)
        })
    }

    /// Whether a pod's sandbox is ready.
    #[track_caller]
    pub fn is_ready(&self, pod: &Pod) -> bool {
        self.asks_whether_ready(pod).expect("an answer")
    }

    /// The same, while containerd may have nobody to ask.
    ///
    /// # Errors
    /// What it answered.
    pub fn asks_whether_ready(&self, pod: &Pod) -> Result<bool, CallError> {
        let answer = self.call("PodSandboxStatus", Message::new().bytes(1, &pod.id))?;
        Ok(answer.message(1).number(3) == 0)
    }

    /// A container's log: each line with its stream.
    pub fn log(&self, pod: &str, container: &str) -> Vec<(String, String)> {
        let path = self.containerd.folder().join("logs").join(pod).join(format!("{container}.log"));
        let log = fs::read_to_string(path).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.splitn(4, ' ').skip(1);
            let stream = words.next()?.to_owned();
            Some((stream, words.nth(1)?.to_owned()))
        };
        log.lines().filter_map(line).collect()
    }

    /// Asks for a stream (`Exec`, `Attach`, `PortForward`) and connects to it.
    #[track_caller]
    pub fn stream(&self, method: &str, request: Message, query: &str) -> WebSocket {
        let url = self.call(method, request).expect("a URL").text(1);
        WebSocket::connect_in(self.containerd.pid(), &format!("{url}{query}"))
    }

    /// Stops and removes a pod with all that is in it.
    #[track_caller]
    pub fn remove(&self, pod: &Pod) {
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let done = self.call(method, Message::new().bytes(1, &pod.id));
            done.unwrap_or_else(|error| panic!("{method}: {error:?}\n{}", self.containerd.log()));
        }
    }

    /// The processes of the shims.
    pub fn shims(&self) -> Vec<i32> {
        self.processes("containerd-shim-")
            .into_iter()
            .filter(|pid| {
                let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                words.contains("-namespace")
            })
            .collect()
    }

    fn processes(&self, of: &str) -> Vec<i32> {
        let name = self.containerd.folder().file_name().unwrap_or_default().to_string_lossy();
        let of_it = |pid: &i32| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains(of)
        };
        leftovers::processes_of(&name).into_iter().filter(of_it).collect()
    }

    /// The parent of all cgroups of the pods.
    fn cgroup(&self) -> String {
        self.containerd.folder().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn left(&self) -> Vec<String> {
        let mounts = leftovers::mounts_below(self.containerd.folder());
        let mounts = mounts.iter().map(|it| format!("mount {}", it.display()));
        let shims = self.shims().into_iter().map(|it| format!("shim {it}"));
        let folders = leftovers::cgroups_named(&self.cgroup()).into_iter();
        // The parent itself is the kubelet's, which is this one.
        let folders = folders.filter(|it| !it.ends_with(self.cgroup()));
        mounts.chain(shims).chain(folders.map(|it| format!("cgroup {}", it.display()))).collect()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let pods = self.call("ListPodSandbox", Message::new()).unwrap_or_default();
        for pod in pods.all(1) {
            let id = Fields::parse(pod).text(1);
            for method in ["StopPodSandbox", "RemovePodSandbox"] {
                let _ = self.call(method, Message::new().bytes(1, &id));
            }
        }
        let clean = within_a_while(|| self.left().is_empty());
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(hierarchy.path().join(self.cgroup()));
        }
        if !clean && !std::thread::panicking() {
            panic!("left on the host: {:#?}\n{}", self.left(), self.containerd.log());
        }
    }
}

/// containerd's configuration, and that of the pods' network.
fn config(folder: &Path, runtime: &str) -> String {
    let networks = folder.join("networks");
    fs::create_dir(&networks).expect("a folder");
    let leases = folder.join("leases");
    let network = serde_json::json!({
        "cniVersion": "0.4.0", "name": "tests",
        "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.213.0.0/24", "dataDir": leases}}],
    });
    fs::write(networks.join("10-tests.conflist"), network.to_string()).expect("a file");
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let handler = |name: &str, more: &str| {
        format!("[{cri}.containerd.runtimes.{name}]\nruntime_type = \"{runtime}\"\n{more}\n")
    };
    format!(
        "version = 2\ndisabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
         [plugins.\"io.containerd.nri.v1.nri\"]\ndisable = true\n\
         [{cri}]\nsandbox_image = \"{PAUSE}\"\nrestrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n\
         stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\"\n\
         [{cri}.containerd]\ndefault_runtime_name = \"pods\"\n\
         [{cri}.cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = \"{}\"\n{}{}",
        networks.display(),
        handler("pods", ""),
        handler("sandboxer", "sandboxer = \"shim\""),
    )
}

/// The folder in which a containerd keeps the bundles of sandboxes that shims make.
pub fn sandbox_bundles(folder: &Path) -> PathBuf {
    folder.join("state/io.containerd.sandbox.controller.v1.shim/k8s.io")
}
