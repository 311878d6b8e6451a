//! Keel's low-level runtime: from an OCI bundle to an isolated process, as a library. The command
//! `keel` is a thin program over it.
//!
//! ```text
//! config.json ──config──▶ Spec ──init::plan──▶ Plan ──init::child──▶ the container's process
//!               (pure)           (pure)              (kernel calls, no memory)
//! ```
//!
//! A [`init::plan::Plan`] is a list of steps, each with the field of the config it comes from. The
//! child walks it between clone3 and execve without allocating, so a container can be made from a
//! program with many threads; a failure is told as the step's number, and put into words by the parent.
//!
//! ```no_run
//! use keel::container::id::ContainerId;
//! use keel::lifecycle::exec::{self, Changes, Source};
//! use keel::lifecycle::{create, delete, request::Request, start, wait::wait};
//!
//! let request = Request::new(ContainerId::parse("web-1")?, "/run/keel", "/srv/web");
//! create::create(&request, None)?;
//! start::start(&request.root, &request.id, None)?;
//! let changes = Changes { args: vec!["/bin/ls".to_owned()], ..Changes::default() };
//! let listing = exec::Request::new(Source::Changed(Box::new(changes)));
//! exec::spawn(&request.root, &request.id, &listing)?.wait(-1)?;
//! let end = wait(&request.root, &request.id, -1)?;
//! delete::delete(&request.root, &request.id, true)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The verbs are [`lifecycle::create`], [`start`](lifecycle::start), [`exec`](lifecycle::exec),
//! [`wait`](lifecycle::wait), [`kill`](lifecycle::kill) and [`delete`](lifecycle::delete). They may be called
//! from any thread, and change nothing that belongs to the whole program: neither its working directory, umask
//! and signal handlers, nor the mask of signals, nor children that are not theirs. Two do more, for the
//! command: [`lifecycle::run`] in the foreground and [`exec::exec`](lifecycle::exec::exec) take over the signals.
//! The process of a container is a child of the program that made it, and `wait` and `delete` reap it. So is a
//! further process: [`exec::spawn`](lifecycle::exec::spawn) gives a handle to wait for it and to signal it.
//!
//! What it does not do: images and layers (another crate does), networks beyond the loopback
//! interface, supervision after `create`. Nor does the library protect the file of the program it is
//! part of from containers; the command does, see `cli/seal.rs`.
//!
//! The modules stand in layers; a layer uses only those before it, which a test holds.

// 0: the kernel, and what knows no container.
pub mod ahead;
pub mod arena;
pub mod causes;
pub mod decimal;
pub mod failure;
pub mod json;
pub mod limits;
pub mod procfs;
pub mod root;
pub mod sys;
pub mod timestamp;
pub mod trace;

// 1: what the user wrote.
pub mod config;

// 2: the container as a thing on disk, and how others are talked to.
pub mod container;
pub mod dbus;

// 3: rooms, one for each part of a container; each has a pure plan and an executor.
pub mod cgroup;
pub mod criu;
pub mod hooks;
pub mod namespaces;
pub mod process;
pub mod resctrl;
pub mod rootfs;
pub mod seccomp;

// 4: the new process.
pub mod init;

// 5: the operations.
pub mod lifecycle;

// 6: the command line.
pub mod cli;
