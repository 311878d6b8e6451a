//! Network devices of the host on their way into the container's network namespace, and back when the
//! container does not come to be.
//!
//! A device travels under a name that is free on both sides and gets its own there: the kernel would
//! otherwise move it first and refuse the new name afterwards. The kernel takes its addresses away with
//! the move; those that mean the same everywhere are given back to it (runtime-spec, config-linux.md,
//! "Network Devices").

use std::os::fd::{AsFd, OwnedFd};

use super::rtnetlink::{Address, Link, Request, ask};
use crate::config::net_devices::NetDevice;
use crate::failure::{Failure, Finding};
use crate::sys::error::{Result, SyscallError};
use crate::sys::process::getpid;

/// A network namespace with a socket of `NETLINK_ROUTE` in it.
#[derive(Debug)]
pub struct Side {
    /// The namespace.
    pub namespace: OwnedFd,
    /// The socket.
    pub socket: OwnedFd,
}

/// Why a device could not be moved: `linux.netDevices.eth0: move: …`.
#[derive(Debug, thiserror::Error)]
#[error("linux.netDevices.{device}: {what}")]
pub struct DeviceError {
    device: String,
    what: &'static str,
    source: Failure,
}

impl DeviceError {
    pub(crate) fn new(device: &str, what: &'static str, source: Failure) -> Self {
        Self { device: device.to_owned(), what, source }
    }
}

/// Why the devices could not all be moved, and what of that could not be undone.
#[derive(Debug)]
pub struct MoveError {
    /// What failed first.
    pub first: DeviceError,
    /// Why a device could not be given back to the host.
    pub lost: Option<DeviceError>,
}

impl From<DeviceError> for MoveError {
    fn from(first: DeviceError) -> Self {
        Self { first, lost: None }
    }
}

/// The devices that were moved.
#[derive(Debug)]
pub struct Moved {
    host: Side,
    container: Side,
    devices: Vec<Traveller>,
}

#[derive(Debug)]
struct Traveller {
    name: String,
    /// Its number in the container.
    index: i32,
    was_up: bool,
    addresses: Vec<Address>,
}

impl Side {
    fn link(&self, name: &str) -> Result<Option<Link>> {
        match ask(&self.socket, Request::find_link(name)) {
            Ok(answer) => Ok(answer.links.into_iter().next()),
            Err(SyscallError { errno: libc::ENODEV, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn tell(&self, request: Request) -> Result<()> {
        ask(&self.socket, request).map(drop)
    }

    /// Sends a link under its travelling name; its number there.
    fn send(&self, index: i32, name: &str, other: &Self) -> Result<i32> {
        self.tell(Request::move_link(index, name, other.namespace.as_fd()))?;
        let arrived = other.link(name)?;
        let lost = SyscallError { call: crate::sys::error::Call::Rtnetlink, errno: libc::ENODEV };
        arrived.map(|link| link.index).ok_or(lost)
    }
}

/// A name that no other device has: this process is one, and moves a device once.
fn travelling_name(index: i32) -> String {
    format!("k{:x}{index:08x}", getpid() & 0x3f_ffff)
}

/// Moves the devices. What can be known to fail is refused before the first is touched.
///
/// # Errors
/// [`MoveError`]; the devices are then back on the host, as far as the kernel lets them.
pub fn move_in(
    devices: &[NetDevice],
    host: Side,
    container: Side,
) -> std::result::Result<Moved, MoveError> {
    let links = find(devices, &host, &container)?;
    let all = ask(&host.socket, Request::list_addresses());
    let all = all.map_err(|e| failed(&devices[0], "list addresses")(e.into()))?.addresses;
    let mut moved = Moved { host, container, devices: Vec::with_capacity(devices.len()) };
    for (device, link) in devices.iter().zip(links) {
        let own =
            all.iter().filter(|address| address.index == link.index && address.is_permanent());
        if let Err(first) = moved.take(device, link, own.cloned().collect()) {
            return Err(MoveError { first, lost: moved.send_back().err() });
        }
    }
    Ok(moved)
}

/// The links, once each is known to be there and its new name to be free.
fn find(
    devices: &[NetDevice],
    host: &Side,
    container: &Side,
) -> std::result::Result<Vec<Link>, DeviceError> {
    let find = |device: &NetDevice| {
        let link = host.link(&device.host).map_err(|e| failed(device, "find")(e.into()))?;
        let link = link.ok_or_else(|| failed(device, "find")(Finding::NoNetDevice.into()))?;
        let taken = match device.name.contains('%') {
            true => None,
            false => container.link(&device.name).map_err(|e| failed(device, "name")(e.into()))?,
        };
        match taken {
            Some(_) => Err(failed(device, "name")(Finding::NetDeviceExists.into())),
            None => Ok(link),
        }
    };
    devices.iter().map(find).collect()
}

fn failed<'a>(
    device: &'a NetDevice,
    what: &'static str,
) -> impl FnOnce(Failure) -> DeviceError + 'a {
    move |source| DeviceError::new(&device.host, what, source)
}

impl Moved {
    fn take(
        &mut self,
        device: &NetDevice,
        link: Link,
        addresses: Vec<Address>,
    ) -> std::result::Result<(), DeviceError> {
        let travelling = travelling_name(link.index);
        let index = self
            .host
            .send(link.index, &travelling, &self.container)
            .map_err(|e| failed(device, "move to the network namespace")(e.into()))?;
        let was_up = link.is_up;
        self.devices.push(Traveller { name: device.host.clone(), index, was_up, addresses });
        let tell = |what, request| {
            self.container.tell(request).map_err(|e| failed(device, what)(e.into()))
        };
        tell("name", Request::rename_link(index, &device.name))?;
        let addresses = self.devices.last().map_or(&[][..], |traveller| &traveller.addresses);
        for address in addresses.iter().filter(|address| address.is_global()) {
            tell("add an address", Request::add_address(index, address))?;
        }
        tell("bring up", Request::raise_link(index))
    }

    /// Gives the devices back to the host as they were, their routes excepted, which nobody keeps.
    ///
    /// # Errors
    /// The first that could not be given back; the others are.
    pub fn send_back(&self) -> std::result::Result<(), DeviceError> {
        let results = self.devices.iter().rev().map(|device| {
            let failed =
                |e: SyscallError| DeviceError::new(&device.name, "give back to the host", e.into());
            self.give_back(device).map_err(failed)
        });
        results.fold(Ok(()), std::result::Result::and)
    }

    fn give_back(&self, device: &Traveller) -> Result<()> {
        let travelling = travelling_name(device.index);
        let index = self.container.send(device.index, &travelling, &self.host)?;
        self.host.tell(Request::rename_link(index, &device.name))?;
        for address in &device.addresses {
            match self.host.tell(Request::add_address(index, address)) {
                // One that the kernel makes by itself.
                Err(SyscallError { errno: libc::EEXIST, .. }) | Ok(()) => {}
                other => other?,
            }
        }
        if device.was_up { self.host.tell(Request::raise_link(index)) } else { Ok(()) }
    }
}
