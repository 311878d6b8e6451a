//! The harness: what every behaviour test stands on.
//!
//! A test is one container with the base configuration (what `runc spec` writes) and the few fields that
//! the test is about. It is run by the runtime under test, which `RUNTIME` names (`keel` when unset, `runc`,
//! `crun`, or a path), and it is observed from inside by the probe and from outside through /proc and the
//! cgroup files. Nothing here knows how a runtime works inside.
//!
//! In reading order: [`Container`] (bundle, commands, clean-up), [`Outcome`] (what a command answered),
//! [`Runtime`] (which program, how it is started), [`requires`] (the only way to skip).

mod agent;
mod cgroup;
mod console;
mod container;
mod containerd;
mod containerd_of_shims;
pub mod counter;
mod cri;
mod daemon;
mod deadline;
mod distribution;
mod example;
mod faulty_registry;
mod golden;
mod image_layout;
mod layout;
mod leftovers;
pub mod message;
mod moved;
mod ordinary_user;
mod outcome;
mod portrait;
mod programs;
mod proxy;
mod registry;
mod requires;
mod rootfs;
mod runtime;
mod scratch;
mod shim;
mod source;
pub mod stepper;
mod store;
pub mod sys;
mod systemd;
mod tarball;
mod tree;
mod websocket;

pub use agent::Agent;
pub use cgroup::{cgroup_value, controller_folder, freeze, version_1};
pub use console::ConsoleSocket;
pub use container::{Container, base_config};
pub use containerd::Containerd;
pub use containerd_of_shims::{ContainerdOfShims, IMAGE};
pub use cri::{Kubelet, Pod, sandbox_bundles};
pub use daemon::Child;
pub use deadline::{eventually, executes, output_within, within_a_while};
pub use distribution::Distribution;
pub use example::example_context;
pub use faulty_registry::{Fault, FaultyRegistry, Guard, Seen};
pub use golden::{check_cases, differences_from_buildah};
pub use image_layout::{busybox_layout, noisy_layout, platforms_layout, put_blob};
pub use layout::{Layout, digest, gzip};
pub use moved::Moved;
pub use ordinary_user::OrdinaryUser;
pub use outcome::Outcome;
pub use portrait::{differences, portrait, portrait_as};
pub use programs::{criu_folder, example, fixture, program, project_root, tool};
pub use proxy::Proxy;
pub use registry::{Protection, Registry, free_port};
pub use requires::requires;
pub use rootfs::fill_rootfs;
pub use runtime::Runtime;
pub use scratch::Scratch;
pub use shim::{
    CallError, SANDBOXES, SeenEvent, ShimUnderTest, TaskClient, path_with_binaries, shim_is_peer,
    shim_program,
};
pub use source::{SourceFile, files, folders, rust_files};
pub use store::ImageStore;
pub use systemd::{systemd, unit_property, version_2};
pub use tarball::{TarEntry, pax_record, seal, tarball};
pub use tree::listing;
pub use websocket::WebSocket;
