//! systemd at work: one connection, a deadline over all that is said on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::annotation::Property;
use super::error::SystemdError;
use super::unit::Unit;
use crate::dbus::address::{self, Address};
use crate::dbus::connection::{BusError, Connection, at};
use crate::dbus::message::Method;
use crate::dbus::value::Value;
use crate::limits::SYSTEMD_WAIT_SECONDS;

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// A connection to systemd.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    listens: bool,
}

impl Manager {
    /// Connects to the systemd of the system, or of the `user`. Its own socket is tried before the
    /// bus, which would have to pass everything on.
    ///
    /// # Errors
    /// [`SystemdError::Unreachable`], for the last place that was tried.
    pub fn connect(user: bool) -> Result<Self, SystemdError> {
        let mut last = None;
        for (address, is_bus) in places(user) {
            let limit = Duration::from_secs(SYSTEMD_WAIT_SECONDS);
            match Connection::open(&address, is_bus, limit) {
                Ok(connection) => return Ok(Self { connection, listens: false }),
                Err(error) => last = Some(error),
            }
        }
        let nowhere = || BusError::Refused {
            place: "this environment".to_owned(),
            answer: "neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS".to_owned(),
        };
        Err(SystemdError::Unreachable(last.unwrap_or_else(nowhere)))
    }

    /// systemd's version.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub fn version(&mut self) -> Result<u32, SystemdError> {
        let text = self.property(OBJECT, MANAGER, "Version")?;
        // As Debian writes it: 257.7-1.
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let answer = || SystemdError::Answer { unit: "systemd".to_owned(), member: "Version" };
        text[..digits].parse().map_err(|_| answer())
    }

    /// The cgroup below which this systemd has its units; empty for the root.
    ///
    /// # Errors
    /// See [`SystemdError`].
    pub fn cgroup(&mut self) -> Result<String, SystemdError> {
        self.property(OBJECT, MANAGER, "ControlGroup")
    }

    /// Makes a unit and waits until it is there. A failed unit of the same name is forgotten first; a
    /// slice may be there already.
    ///
    /// # Errors
    /// [`SystemdError::Unit`] and [`SystemdError::Job`].
    pub fn start(&mut self, unit: &Unit, properties: Vec<Property>) -> Result<(), SystemdError> {
        self.listen(&unit.name)?;
        let arguments = [
            Value::text(&unit.name),
            Value::text("replace"),
            array(properties),
            // No further units.
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
        ];
        let mut answer = self.call(&unit.name, "StartTransientUnit", &arguments);
        if is_named(&answer, UNIT_EXISTS) {
            if !unit.is_scope() {
                return Ok(());
            }
            if self.call(&unit.name, "ResetFailedUnit", &[Value::text(&unit.name)]).is_ok() {
                answer = self.call(&unit.name, "StartTransientUnit", &arguments);
            }
        }
        let job = path_of(&unit.name, "StartTransientUnit", answer?)?;
        self.await_job(&unit.name, "start", &job)
    }

    /// Changes the limits of a unit for as long as it lives.
    ///
    /// # Errors
    /// [`SystemdError::Unit`].
    pub fn set(&mut self, unit: &str, properties: Vec<Property>) -> Result<(), SystemdError> {
        if properties.is_empty() {
            return Ok(());
        }
        let arguments = [Value::text(unit), Value::Bool(true), array(properties)];
        self.call(unit, "SetUnitProperties", &arguments).map(drop)
    }

    /// Ends a unit with all that runs in it, and forgets it. One that is gone is no error.
    ///
    /// # Errors
    /// [`SystemdError::Unit`] and [`SystemdError::Job`].
    pub fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        self.listen(unit)?;
        let answer = self.call(unit, "StopUnit", &[Value::text(unit), Value::text("replace")]);
        if !is_named(&answer, NO_SUCH_UNIT) {
            let job = path_of(unit, "StopUnit", answer?)?;
            self.await_job(unit, "stop", &job)?;
        }
        let forgotten = self.call(unit, "ResetFailedUnit", &[Value::text(unit)]);
        if is_named(&forgotten, NO_SUCH_UNIT) { Ok(()) } else { forgotten.map(drop) }
    }

    /// Puts a process into the cgroup of a unit, or into one below it: `below` is empty or begins with
    /// `/`. systemd may do what its client may not: the client need not have the right to take the
    /// process out of where it is.
    ///
    /// # Errors
    /// [`SystemdError::Unit`].
    pub fn attach(&mut self, unit: &str, below: &str, pid: i32) -> Result<(), SystemdError> {
        let pid = Value::Uint32(pid.unsigned_abs());
        let pids = Value::Array("u".to_owned(), vec![pid]);
        let arguments = [Value::text(unit), Value::text(below), pids];
        self.call(unit, "AttachProcessesToUnit", &arguments).map(drop)
    }

    /// What a unit's description says; `None` when there is no such unit.
    ///
    /// # Errors
    /// [`SystemdError::Unit`].
    pub fn description(&mut self, unit: &str) -> Result<Option<String>, SystemdError> {
        let answer = self.call(unit, "GetUnit", &[Value::text(unit)]);
        if is_named(&answer, NO_SUCH_UNIT) {
            return Ok(None);
        }
        let object = path_of(unit, "GetUnit", answer?)?;
        self.property(&object, "org.freedesktop.systemd1.Unit", "Description").map(Some)
    }

    /// Asks for the signals that tell of the ends of jobs. Behind its own socket systemd sends them
    /// to everybody; over a bus only to those who said that they listen, to systemd and to the bus.
    fn listen(&mut self, unit: &str) -> Result<(), SystemdError> {
        if self.listens || !self.connection.is_bus() {
            return Ok(());
        }
        let rule =
            format!("type='signal',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved'");
        let bus = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "AddMatch",
        };
        let heard = self.connection.call(&bus, &[Value::text(rule)]);
        heard.map_err(|source| SystemdError::Unit { unit: unit.to_owned(), source })?;
        self.call(unit, "Subscribe", &[])?;
        self.listens = true;
        Ok(())
    }

    /// Waits until a job has ended: `JobRemoved(id, job, unit, result)`.
    fn await_job(&mut self, unit: &str, what: &'static str, job: &str) -> Result<(), SystemdError> {
        loop {
            let signal = self.connection.signal("JobRemoved");
            let values =
                signal.map_err(|source| SystemdError::Unit { unit: unit.to_owned(), source })?;
            if values.get(1).and_then(Value::as_text) != Some(job) {
                continue;
            }
            let result = values.get(3).and_then(Value::as_text).unwrap_or_default();
            return match result {
                "done" => Ok(()),
                other => {
                    let (unit, result) = (unit.to_owned(), other.to_owned());
                    Err(SystemdError::Job { unit, what, result })
                }
            };
        }
    }

    fn call(
        &mut self,
        unit: &str,
        member: &str,
        arguments: &[Value],
    ) -> Result<Vec<Value>, SystemdError> {
        let method = Method { destination: SERVICE, path: OBJECT, interface: MANAGER, member };
        let answer = self.connection.call(&method, arguments);
        answer.map_err(|source| SystemdError::Unit { unit: unit.to_owned(), source })
    }

    /// A property that is a text.
    fn property(
        &mut self,
        object: &str,
        owner: &str,
        name: &'static str,
    ) -> Result<String, SystemdError> {
        let method = Method {
            destination: SERVICE,
            path: object,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let answer = self.connection.call(&method, &[Value::text(owner), Value::text(name)]);
        let values = answer.map_err(SystemdError::Unreachable)?;
        match values.first() {
            Some(Value::Variant(value)) => value.as_text().map(str::to_owned),
            _ => None,
        }
        .ok_or(SystemdError::Answer { unit: "systemd".to_owned(), member: name })
    }
}

fn is_named<T>(answer: &Result<T, SystemdError>, name: &str) -> bool {
    matches!(answer, Err(SystemdError::Unit { source, .. }) if source.name() == Some(name))
}

fn path_of(unit: &str, member: &'static str, values: Vec<Value>) -> Result<String, SystemdError> {
    match values.into_iter().next() {
        Some(Value::Path(path)) => Ok(path),
        _ => Err(SystemdError::Answer { unit: unit.to_owned(), member }),
    }
}

fn array(properties: Vec<Property>) -> Value {
    let pair = |(name, value)| Value::Struct(vec![Value::Text(name), Value::variant(value)]);
    Value::Array("(sv)".to_owned(), properties.into_iter().map(pair).collect())
}

/// Where systemd may be reached, in the order in which it is tried, and whether a bus is there.
fn places(user: bool) -> Vec<(Address, bool)> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if !user {
        let bus = variable("DBUS_SYSTEM_BUS_ADDRESS")
            .map_or_else(|| vec![at("/run/dbus/system_bus_socket")], |list| address::parse(&list));
        let own = (at("/run/systemd/private"), false);
        return std::iter::once(own)
            .chain(bus.into_iter().map(|address| (address, true)))
            .collect();
    }
    let mut places = Vec::new();
    let folder = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let below = |name: &str| folder.as_deref().map(|folder: &Path| at(folder.join(name)));
    places.extend(below("systemd/private").map(|address| (address, false)));
    let session = variable("DBUS_SESSION_BUS_ADDRESS");
    let named = session.iter().flat_map(|list| address::parse(list));
    places.extend(named.map(|address| (address, true)));
    places.extend(below("bus").map(|address| (address, true)));
    places
}
