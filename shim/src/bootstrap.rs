//! `start`: begins a shim, or finds the one of the pod, and says where it listens.
//!
//! containerd hands options or parameters over on standard input, and reads the address from standard output
//! and error together; so nothing else is printed but an error.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::args::Args;
use crate::bundle::{self, Config};
use crate::cgroup;
use crate::limits;
use crate::messages::Any;
use crate::options::Options;
use crate::protobuf::{Fields, Malformed};
use crate::socket;

/// Where containerd keeps the sockets of shims, whatever its own folders are.
const SOCKETS: &str = "/run/containerd/s";

/// What containerd says on standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Up to 2.2: the options of the runtime, or nothing. The answer is the address alone: task API 2.
    Options(Any),
    /// From 2.3: parameters. The answer is JSON with the version 3.
    Parameters(Parameters),
}

/// `containerd.runtime.bootstrap.v1.BootstrapParams`: what is used of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Parameters {
    #[serde(alias = "instanceId")]
    instance_id: String,
    namespace: String,
    #[serde(alias = "socketDir")]
    socket_dir: String,
    #[serde(skip)]
    options: Any,
}

impl Parameters {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut parameters = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => parameters.instance_id = value.text()?.to_owned(),
                2 => parameters.namespace = value.text()?.to_owned(),
                8 => {
                    let mut extension = Fields::of(value.bytes()?);
                    while let Some((1, value)) = extension.take()? {
                        let any = Any::parse(value.bytes()?)?;
                        if Options::parse(&any).is_ok() {
                            parameters.options = any;
                        }
                    }
                }
                9 => parameters.socket_dir = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(parameters)
    }
}

impl Input {
    /// Options and parameters look alike on the wire; parameters are those that name this very container.
    pub fn parse(bytes: &[u8], args: &Args) -> Result<Self, Malformed> {
        let ours = |it: &Parameters| it.instance_id == args.id && it.namespace == args.namespace;
        if bytes.first() == Some(&b'{') {
            let parameters: Parameters = serde_json::from_slice(bytes)
                .map_err(|_| Malformed("parameters that are no JSON"))?;
            if !ours(&parameters) {
                return Err(Malformed("parameters of another container"));
            }
            return Ok(Self::Parameters(parameters));
        }
        if let Ok(parameters) = Parameters::parse(bytes)
            && ours(&parameters)
        {
            return Ok(Self::Parameters(parameters));
        }
        Ok(Self::Options(Any::parse(bytes)?))
    }
}

/// Does `start` and prints the answer.
pub fn start(args: &Args) -> Result<(), String> {
    let bundle = std::env::current_dir().map_err(|error| format!("working directory: {error}"))?;
    let input =
        Input::parse(&read_input()?, args).map_err(|error| format!("standard input: {error}"))?;
    let (any, folder) = match &input {
        Input::Options(any) => (any, SOCKETS),
        Input::Parameters(it) if it.socket_dir.is_empty() => (&it.options, SOCKETS),
        Input::Parameters(it) => (&it.options, it.socket_dir.as_str()),
    };
    let options = Options::parse(any).map_err(|error| error.message)?;
    let config = match Config::load(&bundle) {
        // The shim of a sandbox that it is to make begins without one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Config::default(),
        config => config.map_err(|error| format!("config.json: {error}"))?,
    };
    if options != Options::default() {
        bundle::write_options(&bundle, &options).map_err(|error| format!("options: {error}"))?;
    }
    let socket = socket_path(folder, args, config.group().unwrap_or(&args.id));
    if let Some(listener) = listen(&socket)? {
        let begun = serve_in_background(args, &socket, listener, &bundle, &options);
        if let Err(error) = begun {
            let _ = fs::remove_file(&socket);
            return Err(error);
        }
    }
    let address = format!("unix://{}", socket.display());
    bundle::write_address(&bundle, &address).map_err(|error| format!("address: {error}"))?;
    let answer = match input {
        Input::Options(_) => address,
        Input::Parameters(_) => {
            serde_json::json!({"version": 3, "address": address, "protocol": "ttrpc"}).to_string()
        }
    };
    io::stdout().write_all(answer.as_bytes()).map_err(|error| format!("standard output: {error}"))
}

/// What is on standard input, which may be /dev/null, a pipe that ends, or one that somebody holds open.
pub fn read_input() -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock();
    let mut piece = [0; 4096];
    let bound = Timespec::try_from(limits::LOGGER).ok();
    loop {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let ready =
            poll(&mut fds, bound.as_ref()).map_err(|error| format!("standard input: {error}"))?;
        if ready == 0 {
            return Err("standard input: nothing comes, and it does not end".to_owned());
        }
        match stdin.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            // A closed standard input is an empty one.
            Err(_) => return Ok(bytes),
        }
        if bytes.len() as u64 > limits::BOOTSTRAP_BYTES {
            return Err(format!("standard input: more than {} bytes", limits::BOOTSTRAP_BYTES));
        }
    }
}

/// One name for a containerd, a namespace and a group: who asks for the same again finds the same shim.
fn socket_path(folder: &str, args: &Args, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    for part in [args.address.as_str(), &args.namespace, group, "keel"] {
        hash.update(part);
        hash.update([0]);
    }
    let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new(folder).join(name)
}

/// Listens there; `None` when a shim does so already. A socket that nobody listens at any more is replaced.
fn listen(path: &Path) -> Result<Option<UnixListener>, String> {
    let tell = |error: io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(tell)?;
    }
    match UnixListener::bind(path) {
        Ok(listener) => {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(tell)?;
            return Ok(Some(listener));
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        Err(error) => return Err(tell(error)),
    }
    if socket::is_served(path) {
        return Ok(None);
    }
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if !is_socket {
        return Err(format!("{}: it is in the way and no socket", path.display()));
    }
    fs::remove_file(path).map_err(tell)?;
    let listener = UnixListener::bind(path).map_err(tell)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(tell)?;
    Ok(Some(listener))
}

/// Starts the process that serves: the socket is its standard input, containerd's log its standard error.
fn serve_in_background(
    args: &Args,
    socket: &Path,
    listener: UnixListener,
    bundle: &Path,
    options: &Options,
) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| format!("own file: {error}"))?;
    let mut command = Command::new(own);
    command.args(["-namespace", &args.namespace, "-id", &args.id, "-address", &args.address]);
    command.arg("-socket").arg(socket);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(log(bundle));
    command.process_group(0).current_dir("/");
    let child = command.spawn().map_err(|error| format!("the serving process: {error}"))?;
    let pid = child.id();
    // containerd must outlive its shims in the eyes of the kernel; that they cannot be told so stops nobody.
    let _ = raise_oom_score(pid);
    if options.shim_cgroup.is_empty() {
        return Ok(());
    }
    cgroup::enter(&options.shim_cgroup, pid).map_err(|error| {
        let _ = crate::sys::kill(pid, 9);
        format!("ShimCgroup {}: {error}", options.shim_cgroup)
    })
}

/// containerd's end of the shim's log, a FIFO in the bundle. Both ends are opened: nothing ever waits for a reader.
fn log(bundle: &Path) -> Stdio {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    let log = options.open(bundle.join("log"));
    log.ok()
        .filter(|file| file.metadata().is_ok_and(|it| it.file_type().is_fifo()))
        .map_or_else(Stdio::null, Stdio::from)
}

fn raise_oom_score(pid: u32) -> io::Result<()> {
    let text = fs::read_to_string(format!("/proc/{}/oom_score_adj", parent_id()))?;
    let score = text.trim().parse::<i32>().unwrap_or(0);
    fs::write(format!("/proc/{pid}/oom_score_adj"), (score + 1).min(1000).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Writer;

    fn args() -> Args {
        Args { namespace: "ns".to_owned(), id: "c1".to_owned(), ..Args::default() }
    }

    #[test]
    fn parameters_are_told_from_options() {
        let any = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: vec![8, 1] };
        let bytes = any.encode().done();
        assert_eq!(Input::parse(&bytes, &args()), Ok(Input::Options(any.clone())));
        let extension = Writer::new().message(1, any.encode());
        let bytes = Writer::new()
            .text(1, "c1")
            .text(2, "ns")
            .message(8, extension)
            .text(9, "/run/s")
            .done();
        let expected = Parameters {
            instance_id: "c1".to_owned(),
            namespace: "ns".to_owned(),
            socket_dir: "/run/s".to_owned(),
            options: any,
        };
        assert_eq!(Input::parse(&bytes, &args()), Ok(Input::Parameters(expected)));
        let json = br#"{"instance_id": "c1", "namespace": "ns", "extensions": []}"#;
        assert!(matches!(Input::parse(json, &args()), Ok(Input::Parameters(_))));
        assert_eq!(Input::parse(b"", &args()), Ok(Input::Options(Any::default())));
        assert!(Input::parse(b"{", &args()).is_err());
        assert!(Input::parse(br#"{"instance_id": "c2"}"#, &args()).is_err());
        assert!(Input::parse(b"\x0b", &args()).is_err());
    }

    #[test]
    fn a_pod_has_one_socket() {
        let other = Args { id: "c2".to_owned(), ..args() };
        assert_eq!(socket_path("/s", &args(), "pod"), socket_path("/s", &other, "pod"));
        assert_ne!(socket_path("/s", &args(), "pod"), socket_path("/s", &args(), "c1"));
        assert!(socket_path(SOCKETS, &args(), "pod").as_os_str().len() < 108);
    }
}
