//! Who has ended: children are reaped as they come, and their ends are told in order.
//!
//! A start is told before the end, ends of other processes before that of the container's own, and each once.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Instant, SystemTime};

use rustix::process::{WaitOptions, wait};

use crate::engine::Streams;
use crate::events::{Event, Exit};
use crate::job::What;
use crate::limits;
use crate::log::warn;
use crate::messages::timestamp;
use crate::protobuf::Writer;
use crate::serve::Shim;
use crate::task::{Key, Status};

/// A wait status as callers know it: 128 and the signal's number where one ended the process.
fn exit_of(status: ExitStatus) -> Exit {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Exit { status: number.unsigned_abs(), at: SystemTime::now() }
}

/// The answer of `Wait`.
pub(crate) fn wait_answer(exit: Exit) -> Vec<u8> {
    Writer::new().number32(1, exit.status).message(2, timestamp(exit.at)).done()
}

impl Shim {
    /// Takes all that have ended.
    pub(crate) fn reap(&mut self) {
        let mut commands = Vec::new();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let status = ExitStatus::from_raw(status.as_raw());
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            if self.jobs.contains_key(&pid) {
                commands.push((pid, status));
            } else if let Some(key) = self.pids.remove(&pid) {
                self.ended(&key, exit_of(status));
            } else {
                // Perhaps a container's process whose command has not been heard yet.
                self.early.push((pid, exit_of(status)));
            }
        }
        for (pid, status) in commands {
            if let Some(job) = self.jobs.remove(&pid) {
                self.finish(job, status);
            }
        }
        if !self.jobs.values().any(|job| job.what.begins_a_process()) {
            self.early.clear();
        }
    }

    /// Notes that a pid is a process's; it may have ended already.
    pub(crate) fn adopt(&mut self, pid: u32, key: &Key) -> Option<Exit> {
        if let Some(at) = self.early.iter().position(|it| it.0 == pid) {
            return Some(self.early.swap_remove(at).1);
        }
        self.pids.insert(pid, key.clone());
        None
    }

    /// A container's process has ended.
    pub(crate) fn ended(&mut self, key: &Key, exit: Exit) {
        let Some(container) = self.containers.get_mut(&key.id) else { return };
        let Some(process) = container.process(&key.exec) else { return };
        process.exit = Some(exit);
        if key.exec.is_empty() {
            container.last = Some(Instant::now() + limits::LAST_EXECS);
            if !container.own_pids {
                self.end_the_others(&key.id);
            }
        }
        self.tell_end(key);
    }

    /// Without a pid namespace of its own, what the container began outlives its first process.
    fn end_the_others(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let words = ["--all".into(), id.into(), "9".into()];
        match container.engine.run("kill", &words, Streams::Captured(limits::OUTPUT_BYTES)) {
            Ok(running) => {
                container.killing = true;
                self.begin(What::KillAll, Key::init(id), None, running, limits::ASK);
            }
            Err(error) => warn(&error.message),
        }
    }

    /// Tells the end of a process, when it is its turn.
    pub(crate) fn tell_end(&mut self, key: &Key) {
        let Some(container) = self.containers.get_mut(&key.id) else { return };
        let others = container.execs.values().any(|it| it.lives() && it.status != Status::Stopped);
        let late = container.last.is_some_and(|it| it <= Instant::now());
        let held_back = key.exec.is_empty() && (others || container.killing) && !late;
        let Some(process) = container.process(&key.exec) else { return };
        // While `start` is under way, its answer is not known, and the event of the start comes first.
        let starting = process.busy && process.status == Status::Created && process.pid != 0;
        let Some(exit) = process.exit else { return };
        if process.status == Status::Stopped || starting || held_back {
            return;
        }
        process.status = Status::Stopped;
        let pid = process.pid;
        let waiters = std::mem::take(&mut process.waiters);
        if key.exec.is_empty() {
            container.last = None;
            self.tell_of_memory(&key.id);
        }
        let name = if key.exec.is_empty() { &key.id } else { &key.exec };
        self.publish(&Event::Exit(&key.id, name, pid, exit));
        for caller in waiters {
            self.answer(caller, Ok(wait_answer(exit)));
        }
        if !key.exec.is_empty() {
            self.tell_end(&Key::init(&key.id));
        }
    }
}
