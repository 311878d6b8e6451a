//! The containerd shim of keel: what stands between containerd and a runtime with runc's command line.
//!
//! One process looks after the containers of a pod: it begins them by the runtime's `create` and `start`, hands them
//! the client's streams, tells containerd what happens to them, and cleans up. It is one thread around one epoll set;
//! whatever takes time is a process of its own with a deadline.
//!
//! In reading order: [`args`] and [`bootstrap`] (how containerd begins it), [`serve`] (the loop), `service` (a method
//! becomes a change), `checkpoint`, [`sandbox`] (the pod itself, held by [`pause`]), [`task`] (the nouns), `job` and
//! `exits` (what follows a command's end and a process's), [`engine`] (the runtime's command line), [`streams`],
//! [`events`], [`cleanup`], [`rootfs_mounts`]. Below them [`ttrpc`], [`protobuf`], [`messages`].

pub mod args;
pub mod bootstrap;
pub mod bundle;
pub mod cgroup;
mod checkpoint;
pub mod cleanup;
pub mod engine;
pub mod error;
pub mod events;
mod exits;
pub mod id_mapping;
pub mod info;
mod job;
pub mod limits;
pub mod log;
pub mod loop_device;
pub mod messages;
pub mod metrics;
pub mod options;
pub mod pause;
pub mod protobuf;
pub mod rootfs_mounts;
pub mod sandbox;
pub mod serve;
mod service;
pub mod socket;
pub mod streams;
#[expect(unsafe_code, reason = "a few calls have no safe wrapper; all else of the shim is safe")]
pub mod sys;
pub mod task;
pub mod ttrpc;
