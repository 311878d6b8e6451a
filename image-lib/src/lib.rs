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
//! - [`store::Store::retain`] and [`store::Store::release`] protect digests (of a build cache) from
//!   garbage collection by a name.
//! - [`snapshot::Overlay`] mounts layers, with an upper directory or read-only.
//! - [`fsroot::Root`] is all work inside a tree that is not trusted.
//! - [`tar::Reader`] reads the entries of an archive, [`blob::Decoder`] undoes its compression.
//! - [`bundle::Spec`] makes the `config.json` of a container of an image; its
//!   [`bundle::Options`] are `docker run`'s flags.
//!
//! ```text
//! // store
//! Store::open(root: &Path) -> Result<Store, StoreError>;      Store::default_root() -> PathBuf
//! store.hold() -> Result<Hold, StoreError>                    // shared lock, dropped at the end
//! store.scratch() -> Result<Scratch, StoreError>              // scratch.path(): &Path, removed on drop
//! store.resolve(name: &str) -> Result<Image, StoreError>      // Err(StoreError::NoSuchImage{..})
//! store.find(name: &str) -> Result<Option<Image>, StoreError>
//! image.id(): &ImageId  image.manifest(): &Raw<Manifest>  image.config(): &Raw<ImageConfig>  image.layers(): &[Layer]
//! Layer { pub diff_id: DiffId, pub descriptor: Descriptor }    // Clone
//! store.unpack(layers: &[Layer], progress: &dyn Progress) -> Result<Vec<PathBuf>, StoreError>
//!                                                             // lowest first; `&Silent` is a Progress
//! store.layer_is_present(layer: &Layer) -> bool
//! store.put_blob(reader: &mut dyn Read) -> Result<(Digest, u64), StoreError>
//! store.open_blob(descriptor: &Descriptor) -> Result<VerifiedReader<File>, StoreError>
//! store.read_blob(descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError>
//! store.commit_upper(upper: &Path, options: &CommitOptions) -> Result<Option<Layer>, StoreError>
//!     // None: the upper directory is empty, so there is no layer. The upper is moved away.
//!     // CommitOptions { compression: Compression::{None, Gzip, Zstd}, epoch: Option<Timestamp> }: Default
//! store.put_image(config: &ImageConfig, layers: &[Layer], tags: &[Reference]) -> Result<ImageId, StoreError>
//! store.retain(name: &str, digests: &[Digest])   store.release(name: &str)   // blob digests and diff ids
//!
//! // snapshot
//! Overlay { lowers: &[PathBuf] (lowest first), upper: Option<(&Path, &Path)> (upper, work) }
//! Overlay::mount(&self, target: &Path) -> Result<Mount, MountError>   // unmounted when Mount is dropped
//! mount.unmount(self) -> Result<(), MountError>
//!
//! // tar and blob
//! Decoder::new(reader: impl Read) -> Result<Decoder<_>, _>      // sniffs gzip, zstd, none
//! tar::Reader::new(reader: impl Read, limits: tar::Limits)
//! reader.next_entry() -> Result<Option<tar::Entry>, tar::TarError>   // path, kind, mode, uid, gid, mtime, link, xattrs, device
//! reader itself is Read: the content of the current entry, expanded if sparse
//!
//! // bundle
//! bundle::Spec::new(config: &Config, root: &fsroot::Root, options: &Options) -> Result<Spec, BundleError>
//! spec.to_json() -> Vec<u8>
//! bundle::user::lookup(root: &Root, user: &str) -> Result<user::Ids { uid, gid, additional_gids, home }, BundleError>
//! ```
//!
//! # What it does not do
//!
//! It starts no process except through the build's executor, changes no state of the process that
//! uses it (no signal handlers, no working directory, no umask) and prints nothing.
#![deny(missing_docs)]

// Pure: identities, names, documents.
pub mod identity;
pub mod reference;
pub mod spec;

// Bytes and trees.
pub mod archive;
pub mod blob;
pub mod bundle;
pub mod flatten;
pub mod fsroot;
pub mod layer;
pub mod snapshot;
pub mod store;
pub mod tar;

// Dockerfiles.
pub mod build;
