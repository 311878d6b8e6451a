//! Debian's docker-registry on the loopback interface, with a folder of its own, ended with the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Child, Scratch, eventually};

/// How a registry is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    None,
    /// By TLS, with a certificate of an authority that nobody knows yet.
    Tls,
    /// By TLS, and the user `ann` with the password `sea:shell` alone may use it.
    TlsAndPassword,
    /// By that password alone.
    Password,
    /// By TLS, and only who has a certificate of the same authority may use it.
    ClientCertificate,
}

/// A running docker-registry.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    protection: Protection,
    scratch: Scratch,
    _child: Child,
}

/// bcrypt of `sea:shell`.
const HTPASSWD: &str = "ann:$2b$05$AnQv1kFcI4JH1a3dt.IQEOQ0dY/dJTnxS0vp0mfpW7Tjvx0ybqI02\n";

impl Registry {
    /// Starts one that stores in a new folder.
    pub fn start(protection: Protection) -> Self {
        Self::start_with(protection, "")
    }

    /// Starts one with TLS that does not know about it, as behind a proxy: the places that it names are of plain
    /// http.
    pub fn start_unaware(protection: Protection) -> Self {
        Self::start_with(protection, "  host: http://ADDRESS\n")
    }

    fn start_with(protection: Protection, http: &str) -> Self {
        let scratch = Scratch::new();
        let port = free_port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {0}/data}}\n  delete: \
             {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            scratch.display()
        );
        config += &http.replace("ADDRESS", &format!("127.0.0.1:{port}"));
        if !matches!(protection, Protection::None | Protection::Password) {
            certificates(&scratch);
            config += &format!(
                "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n",
                scratch.display()
            );
        }
        if protection == Protection::ClientCertificate {
            config += &format!("    clientcas: [{}/certs/ca.crt]\n", scratch.display());
        }
        if matches!(protection, Protection::TlsAndPassword | Protection::Password) {
            fs::write(scratch.join("htpasswd"), HTPASSWD).expect("htpasswd");
            let path = scratch.join("htpasswd");
            config += &format!("auth:\n  htpasswd: {{realm: tests, path: {}}}\n", path.display());
        }
        let path = scratch.join("config.yml");
        fs::write(&path, config).expect("a configuration");
        let log = fs::File::create(scratch.join("log")).expect("a log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = Child::start(command);
        eventually("docker-registry listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, protection, scratch, _child: child }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The full name of a repository of it.
    pub fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.address())
    }

    /// The folder with the authority's certificate as `ca.crt`.
    pub fn certificates(&self) -> PathBuf {
        self.scratch.join("certs")
    }

    /// A client's certificate and its key, of the registry's authority.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.scratch.join("client.crt"), self.scratch.join("client.key"))
    }

    /// Has skopeo put the image `layout` (`oci:FOLDER:TAG`) there as `name`.
    #[track_caller]
    pub fn push(&self, layout: &str, name: &str) {
        let mut command = Command::new("skopeo");
        command.args(["copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false"]);
        if matches!(self.protection, Protection::TlsAndPassword | Protection::Password) {
            command.args(["--dest-creds", "ann:sea:shell"]);
        }
        if self.protection == Protection::ClientCertificate {
            let folder = self.scratch.join("pusher");
            fs::create_dir_all(&folder).expect("a folder");
            let (certificate, key) = self.client_certificate();
            fs::copy(certificate, folder.join("c.cert")).expect("a copy");
            fs::copy(key, folder.join("c.key")).expect("a copy");
            command.arg("--dest-cert-dir").arg(folder);
        }
        command.arg(layout).arg(format!("docker://{}", self.name(name)));
        let output = command.output().expect("skopeo");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// An authority, and certificates of it for a server and a client.
fn certificates(folder: &std::path::Path) {
    fs::create_dir_all(folder.join("certs")).expect("a folder");
    let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    fs::write(folder.join("ext"), extensions).expect("a file");
    let make = |words: &str| {
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(folder);
        let output = command.output().expect("openssl");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {said}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    make(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out certs/ca.crt"));
    for name in ["server", "client"] {
        make(&format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        make(&format!(
            "x509 -req -in {name}.csr -CA certs/ca.crt -CAkey ca.key -CAcreateserial -days 2 \
             -extfile ext -out {name}.crt"
        ));
    }
}
