//! Container images without a daemon: a store that is an OCI image layout, layers unpacked in
//! overlayfs form, archives, snapshots and runtime bundles.
//!
//! The road of an image, and the rooms in the order in which they are read:
//!
//! ```text
//! archive ──▶ layer ──▶ store ──▶ snapshot ──▶ bundle
//!  (tar in)   (verify,   (layout +  (overlayfs)  (config.json + rootfs)
//!              unpack)    layers/)
//! ```
//!
//! # What builds on what: the surface
//!
//! - [`store::Store::open`] opens or makes a store. [`store::Store::hold`] keeps garbage collection
//!   away while blobs and layers are made that no image names yet; hold it over a whole build.
//! - [`store::Store::resolve`] turns `name:tag`, `name@digest`, an id or a unique part of one into a
//!   [`store::Image`]: the manifest's and the configuration's own bytes, and its
//!   `layers: Vec<`[`store::Layer`]`>`, each a diff id with the descriptor of its blob.
//! - [`store::Store::unpack`] gives the directories of a list of layers (lowest first), unpacking
//!   in parallel what is not yet there.
//! - [`store::Store::scratch`] is a private directory on the store's file system that goes away when
//!   dropped: uppers and work directories are made in it.
//! - [`store::Store::commit_upper`] turns an upper directory into a layer: it writes the blob and
//!   moves the directory to be the unpacked layer. [`store::Store::put_blob`] stores other bytes,
//!   [`store::Store::put_image`] a configuration with its layers and tags.
//! - [`registry::Client::pull`] brings an image of a registry into the store: resumable, all layers at
//!   once, with what [`auth::Keyring`] finds of the user's credentials. [`cancel::Cancellation`] ends it.
//! - [`registry::obtain`] is both: the image that a name means, pulled if the store does not have it.
//! - [`store::Store::retain`] and [`store::Store::release`] protect digests (of a build cache) from
//!   garbage collection by a name.
//! - [`snapshot::Overlay`] mounts layers, with an upper directory or read-only.
//! - [`fsroot::Root`] is all work inside a tree that is not trusted.
//! - [`tar::Reader`] reads the entries of an archive, [`blob::Decoder`] undoes its compression.
//! - [`registry::Client::push`] sends one there; a [`registry::Repository`] lists tags and referrers, deletes,
//!   and gives and takes single manifests and blobs.
//! - [`copy::copy`] takes images from one place to another without compressing anew, registries among them.
//! - [`archive`] imports, loads and saves; [`flatten::flatten`] copies layers into a plain directory.
//! - [`bundle::Spec`] makes the `config.json` of a container of an image; its
//!   [`bundle::Options`] are `docker run`'s flags.
//!
//! # Example
//!
//! An archive to a mounted root file system:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use keel_image::archive::load;
//! use keel_image::snapshot::Overlay;
//! use keel_image::store::{Silent, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open(&Store::default_root())?;
//! let loaded = load(&store, std::fs::File::open("image.tar")?, &Silent)?;
//! let image = store.resolve(&loaded[0].id.to_string())?;
//! let lowers = store.unpack(image.layers(), &Silent)?;
//! let mount = Overlay { lowers: &lowers, upper: None }.mount(Path::new("/mnt"))?;
//! println!("{} layers on {:?}", lowers.len(), mount.target());
//! mount.unmount()?;
//! # Ok(())
//! # }
//! ```
//!
//! An image of a registry:
//!
//! ```no_run
//! use keel_image::registry::{Client, Options, PullOptions};
//! use keel_image::store::{Silent, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open(&Store::default_root())?;
//! let client = Client::new(Options::of_environment())?;
//! let pulled = client.pull(&store, &"debian:12".parse()?, &PullOptions::default(), &Silent)?;
//! let image = store.resolve(&pulled.id.to_string())?;
//! println!("{} layers", store.unpack(image.layers(), &Silent)?.len());
//! # Ok(())
//! # }
//! ```
//!
//! A changed upper directory to an image:
//!
//! ```no_run
//! use keel_image::spec::{ImageConfig, Platform};
//! use keel_image::store::{CommitOptions, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = Store::open(&Store::default_root())?;
//! let hold = store.hold()?;
//! let scratch = store.scratch()?;
//! let upper = scratch.path().join("upper");
//! std::fs::create_dir(&upper)?;
//! std::fs::write(upper.join("greeting"), "hello")?;
//! let layer = store.commit_upper(&upper, &CommitOptions::default())?;
//! let layers: Vec<_> = layer.into_iter().collect();
//! let config = ImageConfig::new(&Platform::host());
//! let id = store.put_image(&config, &layers, &["greeting:latest".parse()?])?;
//! drop(hold);
//! println!("{id}");
//! # Ok(())
//! # }
//! ```
//!
//! `image-lib/examples/` has these as programs: `build_layer` makes an image of a folder, `push` sends it to a
//! registry, `pull` fetches and unpacks it.
//!
//! # What it does not do
//!
//! It starts no process except through the build's executor, the credential helpers that the user's
//! files name, and `git` for a build context that is a repository, changes no state of the process that
//! uses it (no signal handlers, no working directory, no umask) and prints nothing.
#![deny(missing_docs)]

// The kernel, where no crate is its door.
mod sys;

// Ending work early.
pub mod cancel;

// Pure: identities, names, documents.
pub mod identity;
pub mod reference;
pub mod spec;

// Bytes and trees.
pub mod archive;
pub mod blob;
pub mod bundle;
pub mod compare;
pub mod copy;
pub mod export;
pub mod flatten;
pub mod fsroot;
pub mod layer;
pub mod snapshot;
pub mod store;
pub mod tar;

// Registries.
pub mod auth;
pub mod registry;

// Dockerfiles.
pub mod build;
