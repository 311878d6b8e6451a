//! The network of `RUN`: a bridge on the host, and for each command a network namespace with an address of its own
//! behind it, from which the outside is reached by address translation. It is made by the programs `ip` and
//! `iptables` or `nft`.
//!
//! A namespace that a command has had is the next one's of the same build: to make one takes longer than many a
//! command. The bridge is there while a process of a build uses it; the last one takes it away. What is there stands in
//! `/run/keel/build-net-NAMESPACE`: a file for each address that is in use, on which its process has a lock. A file
//! without a lock is a killed build's, and whoever comes next takes away what it names.

mod firewall;
mod program;
mod records;
mod subnet;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keel_image::build::{Attachment, NetworkError, Rights, StepNetworks, Undo};
use keel_image::bundle::Privilege;

use firewall::Firewall;
use records::{Exclusive, Membership, Record, Records};
use subnet::Subnet;

/// The name of the bridge; those of the interfaces on it begin so.
const BRIDGE: &str = "keel0";

/// Who makes networks for this process: nobody where it may not.
pub(crate) fn networks() -> Option<Arc<dyn StepNetworks>> {
    let may =
        rustix::process::geteuid().is_root() && Privilege::of_this_process() == Privilege::Root;
    may.then(|| Arc::new(Bridge::default()) as Arc<dyn StepNetworks>)
}

/// Takes away what killed builds have left, as far as it can be.
pub(crate) fn sweep() {
    let Ok(exclusive) = Exclusive::lock() else { return };
    let Ok(records) = Records::open() else { return };
    for dead in records.dead().into_iter().flatten() {
        disconnect(&records.namespace(dead.number()), dead.number());
        dead.remove();
    }
    if records.join().is_ok_and(|membership| membership.is_last(&exclusive)) {
        take_down(&records);
    }
}

#[derive(Debug, Default)]
struct Bridge {
    shared: Arc<Shared>,
}

/// What the commands of a process have in common. When nobody has it any more, the bridge is left.
#[derive(Debug, Default)]
struct Shared {
    joined: Mutex<Option<Joined>>,
    /// Namespaces that no command has now.
    idle: Mutex<Vec<Namespace>>,
}

/// That this process uses the bridge.
#[derive(Debug)]
struct Joined {
    records: Records,
    membership: Membership,
    subnet: Subnet,
}

impl StepNetworks for Bridge {
    fn attach(&self, rights: Rights) -> Result<Attachment, NetworkError> {
        let idle = self.shared.idle().pop();
        let namespace = match idle {
            Some(namespace) => namespace,
            None => self.shared.connect()?,
        };
        let (name, number, subnet) = (&namespace.name, namespace.record.number(), namespace.subnet);
        Ok(Attachment {
            namespace: PathBuf::from("/run/netns").join(name),
            address: subnet.address(number).into(),
            gateway: subnet.gateway().into(),
            guard: Box::new(End {
                namespace: Some(namespace),
                rights,
                shared: Arc::clone(&self.shared),
            }),
        })
    }
}

/// A namespace on the bridge. Dropped, it is taken away.
#[derive(Debug)]
struct Namespace {
    name: String,
    subnet: Subnet,
    record: Record,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        disconnect(&self.name, self.record.number());
        self.record.unlink();
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Namespace>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new namespace.
    fn connect(&self) -> Result<Namespace, NetworkError> {
        let (record, subnet, name) = self.reserve()?;
        // From here on it is taken away when it is dropped, complete or not.
        let namespace = Namespace { name, subnet, record };
        connect(&namespace.name, namespace.record.number(), subnet)?;
        Ok(namespace)
    }

    /// An address that nobody else has; on a bridge that stands.
    fn reserve(&self) -> Result<(Record, Subnet, String), NetworkError> {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        let exclusive = Exclusive::lock()?;
        if joined.is_none() {
            *joined = Some(Joined::new(&exclusive)?);
        }
        let Some(Joined { records, subnet, .. }) = joined.as_ref() else {
            return Err(failed("the bridge is gone"));
        };
        for dead in records.dead()? {
            disconnect(&records.namespace(dead.number()), dead.number());
            dead.remove();
        }
        let record = records.reserve()?;
        let namespace = records.namespace(record.number());
        Ok((record, *subnet, namespace))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.idle().clear();
        let joined = self.joined.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock nothing can be done safely; the next build does it.
        let Some((joined, exclusive)) = joined.zip(Exclusive::lock().ok()) else { return };
        if joined.membership.is_last(&exclusive) {
            take_down(&joined.records);
        }
    }
}

impl Joined {
    /// Uses the bridge that others use, or makes one.
    fn new(exclusive: &Exclusive) -> Result<Self, NetworkError> {
        let records = Records::open()?;
        let membership = records.join()?;
        if !membership.is_last(exclusive) {
            let subnet = records.read_bridge().map(|(subnet, _)| subnet);
            let subnet = subnet.ok_or_else(|| failed("the record of the bridge cannot be read"))?;
            membership.share()?;
            return Ok(Self { records, membership, subnet });
        }
        // What a killed build has left.
        take_down(&records);
        let records = Records::open()?;
        let membership = records.join()?;
        let made = set_up(&records);
        if made.is_err() {
            take_down(&records);
        }
        let subnet = made?;
        membership.share()?;
        Ok(Self { records, membership, subnet })
    }
}

/// Makes the bridge, and the way from it to the outside.
fn set_up(records: &Records) -> Result<Subnet, NetworkError> {
    let firewall = Firewall::find()?;
    let known = program::output("ip", &["-batch", "-"], "link show\nroute show table all\n")?;
    let subnet = subnet::free(&known)?;
    if known.contains(&format!(": {BRIDGE}: ")) {
        return Err(NetworkError {
            reason: format!("there is an interface {BRIDGE} that is not a build's"),
            hint: Some(format!("rename it, or remove it with `ip link delete {BRIDGE}`")),
        });
    }
    records.write_bridge(subnet, firewall)?;
    let batch = format!(
        "link add {BRIDGE} type bridge\naddr add {}/24 dev {BRIDGE}\nlink set dev {BRIDGE} up\n",
        subnet.gateway()
    );
    program::run("ip", &["-batch", "-"], &batch)?;
    forward()?;
    firewall.open(subnet)?;
    Ok(subnet)
}

/// Has the kernel forward packets. As with Docker this stays: others may rely on it by now.
fn forward() -> Result<(), NetworkError> {
    const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
    let is_on = std::fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "1");
    if is_on {
        return Ok(());
    }
    std::fs::write(SWITCH, "1").map_err(|error| NetworkError {
        reason: format!("write {SWITCH}: {error}"),
        hint: Some("switch it on with `sysctl net.ipv4.ip_forward=1`".to_owned()),
    })
}

/// Takes away the bridge and all that is on it, if it is a build's.
fn take_down(records: &Records) {
    if let Some((subnet, firewall)) = records.read_bridge() {
        for record in records.all() {
            disconnect(&records.namespace(record), record);
        }
        let _ = program::run("ip", &["link", "delete", BRIDGE], "");
        firewall.close(subnet);
    }
    records.remove_all();
}

fn interface(number: u8) -> String {
    format!("{BRIDGE}v{number}")
}

/// Makes a namespace that has `eth0` with the address of the number.
fn connect(namespace: &str, number: u8, subnet: Subnet) -> Result<(), NetworkError> {
    let own = interface(number);
    // Commands of different builds have no business with each other.
    let outside = format!(
        "netns add {namespace}\n\
         link add {own} type veth peer name eth0 netns {namespace}\n\
         link set dev {own} master {BRIDGE} up\n\
         link set dev {own} type bridge_slave isolated on\n"
    );
    program::run("ip", &["-batch", "-"], &outside)?;
    let inside = format!(
        "link set dev lo up\naddr add {}/24 dev eth0\nlink set dev eth0 up\nroute add default via {}\n",
        subnet.address(number),
        subnet.gateway()
    );
    program::run("ip", &["-n", namespace, "-batch", "-"], &inside)
}

/// Takes away what [`connect`] makes, as far as it is there.
fn disconnect(namespace: &str, number: u8) {
    let own = interface(number);
    let words = format!("link delete {own}\nnetns delete {namespace}\n");
    let _ = program::run("ip", &["-force", "-batch", "-"], &words);
}

/// The end of a command, though not of its network if it could not change it.
#[derive(Debug)]
struct End {
    namespace: Option<Namespace>,
    rights: Rights,
    shared: Arc<Shared>,
}

impl Undo for End {}

impl Drop for End {
    fn drop(&mut self) {
        if self.rights == Rights::Ordinary {
            self.shared.idle().extend(self.namespace.take());
        }
    }
}

fn failed(reason: impl Into<String>) -> NetworkError {
    NetworkError { reason: reason.into(), hint: None }
}
