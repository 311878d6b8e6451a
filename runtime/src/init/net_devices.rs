//! The parent's part of `linux.netDevices`: a socket on either side, and the child is told.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use super::error::InitError;
use super::excursion::Excursion;
use super::parent::Started;
use super::plan::Plan;
use super::protocol::Message;
use crate::config::linux::NamespaceKind;
use crate::failure::{Failure, Finding, Result};
use crate::namespaces::apply::check_kind;
use crate::namespaces::net_devices::{DeviceError, Moved, Side, move_in};
use crate::sys::open::{CWD, OpenFlags, fstat, openat};
use crate::sys::socket::route_socket;

/// Moves the devices of the plan, if it has any, and lets the child go on. What is given back undoes it.
///
/// # Errors
/// [`InitError::NetDevice`], naming the device, or [`InitError::Parent`]; the devices are on the host
/// then.
pub fn move_devices(
    started: &Started,
    plan: &Plan,
) -> std::result::Result<Option<Moved>, InitError> {
    if plan.namespaces.net_devices.is_empty() {
        return Ok(None);
    }
    let sides = sides(started).map_err(|source| InitError::Parent {
        what: "linux.netDevices: the network namespace".to_owned(),
        source,
    });
    let (host, container) = sides?;
    let moved = move_in(&plan.namespaces.net_devices, host, container)
        .map_err(|error| and_lost(error.first.into(), error.lost))?;
    match started.tell(Message::Devices) {
        Ok(()) => Ok(Some(moved)),
        Err(error) => Err(and_lost(error, moved.send_back().err())),
    }
}

fn and_lost(first: InitError, lost: Option<DeviceError>) -> InitError {
    match lost {
        None => first,
        Some(lost) => InitError::NotGivenBack { first: Box::new(first), lost },
    }
}

fn sides(started: &Started) -> Result<(Side, Side)> {
    let host = Side { namespace: open(c"/proc/thread-self/ns/net")?, socket: route_socket()? };
    let namespace = match started.joined_network() {
        Some(namespace) => namespace.try_clone_to_owned().map_err(|_| Finding::WrongNamespace)?,
        None => {
            let path = format!("/proc/{}/ns/net", started.pid());
            open(&CString::new(path).unwrap_or_default())?
        }
    };
    check_kind(&namespace, NamespaceKind::Network)?;
    let (here, there) = (fstat(&host.namespace)?, fstat(&namespace)?);
    if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
        return Err(Finding::SameNetwork.into());
    }
    let excursion = Excursion::begin(&[(namespace.as_fd(), NamespaceKind::Network)])?;
    let excursion = excursion.ok_or(Finding::NoWayBack)?;
    let socket = route_socket();
    excursion.end()?;
    Ok((host, Side { namespace, socket: socket.map_err(Failure::from)? }))
}

fn open(path: &std::ffi::CStr) -> Result<OwnedFd> {
    Ok(openat(CWD, path, OpenFlags::O_RDONLY, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::with_causes;

    #[test]
    fn tells_what_the_host_lost() {
        let lost = DeviceError::new("eth1", "give back to the host", Finding::NoNetDevice.into());
        let text = with_causes(&and_lost(InitError::Silent, Some(lost)));
        assert_eq!(
            text,
            "the container's process does not answer (and cleaning up failed: linux.netDevices.eth1: give \
             back to the host: there is no network device of this name on the host)"
        );
        assert!(matches!(and_lost(InitError::Silent, None), InitError::Silent));
    }
}
