//! The command line of `keel-image build`: that of `docker build`.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

use super::cache::{CacheFrom, CacheTo};
use super::explain::Form;
use super::inputs::{Context, Secret, Ssh};
use super::target::Output;
use crate::registry_flags::RegistryFlags;

/// Build an image from a Dockerfile.
///
/// Without --output the image goes into the store under its names. What has not changed comes from the
/// cache; stages that do not need one another are built at the same time.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What COPY takes its files from: a directory, a tar, a git repository (URL[#REF[:DIR]], or with the query ref=,
    /// tag=, branch=, subdir=, commit=, submodules=, keep-git-dir=), a tar or a Dockerfile by URL; - for a tar or a
    /// Dockerfile on the standard input
    #[arg(value_name = "PATH | URL | -")]
    pub(super) context: PathBuf,
    /// Name the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(super) tag: Vec<String>,
    /// The Dockerfile; - for the standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Set a build argument; without a value, from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) build_arg: Vec<String>,
    /// Build this stage instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(super) target: Option<String>,
    /// The platform that is built for; several make an index
    #[arg(long, value_name = "OS/ARCH", value_delimiter = ',')]
    pub(super) platform: Vec<String>,
    /// A further context, which wins over stages and images of its name: a directory, docker-image://NAME,
    /// oci-layout://DIR[:TAG | @DIGEST], target:STAGE or a URL
    #[arg(long, value_name = "NAME=PLACE")]
    pub(super) build_context: Vec<Context>,
    /// What RUN --mount=type=secret shows: id=ID[,src=FILE | ,env=NAME]. GIT_AUTH_TOKEN[.HOST], GIT_AUTH_HEADER[.HOST],
    /// HTTP_AUTH_TOKEN_HOST and HTTP_AUTH_HEADER_HOST open repositories and files of ADD and of contexts
    #[arg(long, value_name = "SECRET")]
    pub(super) secret: Vec<Secret>,
    /// An agent for RUN --mount=type=ssh and, as default, for git: default for that of the caller, ID=SOCKET, or
    /// ID=KEY[,KEY] for one with these keys
    #[arg(long, value_name = "AGENT")]
    pub(super) ssh: Vec<Ssh>,
    /// Do every step anew
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) no_cache: bool,
    /// Do the steps of these stages anew
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(super) no_cache_filter: Vec<String>,
    /// Ask the registries for images that the store has, too
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) pull: bool,
    /// Set a label
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) label: Vec<String>,
    /// Annotate the image's manifest, or what stands before the name: index:, manifest-descriptor:, or several with
    /// commas between
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) annotation: Vec<String>,
    /// A further name of a host for RUN
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub(super) add_host: Vec<String>,
    /// Network of RUN: default, none or host (default is behind a bridge; for an ordinary user it has
    /// loopback only)
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(super) network: String,
    /// A limit of the processes of RUN
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(super) ulimit: Vec<keel_image::bundle::Rlimit>,
    /// A directory with files of the Container Device Interface, instead of /etc/cdi, /var/run/cdi and /etc/buildkit/cdi
    #[arg(long, value_name = "DIR")]
    pub(super) cdi_config_dir: Vec<PathBuf>,
    /// The cgroup that those of RUN are made in, by its path in each hierarchy
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_parent: Option<String>,
    /// The size of /dev/shm of RUN [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub(super) shm_size: Option<String>,
    /// Allow what is forbidden otherwise: network.host, security.insecure, device for all devices, device=NAME for one or
    /// a kind of them
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(super) allow: Vec<String>,
    /// Where the result goes: type=local|tar|oci|docker|image|registry|cacheonly with dest=, name=, push=,
    /// push-by-digest=; images with compression=gzip|zstd|uncompressed, compression-level=, force-compression=,
    /// oci-mediatypes=, annotation.KEY=; a directory; - for a tar on the standard output
    #[arg(short, long, value_name = "OUTPUT")]
    pub(super) output: Vec<Output>,
    /// Take steps from the cache of another store: type=local,src=DIR, type=registry,ref=NAME, or a name
    #[arg(long, value_name = "CACHE")]
    pub(super) cache_from: Vec<CacheFrom>,
    /// Write the cache for other stores: type=local,dest=DIR, type=registry,ref=NAME, with mode=max for the steps
    /// of all stages, or type=inline
    #[arg(long, value_name = "CACHE")]
    pub(super) cache_to: Vec<CacheTo>,
    /// Push the image to its registry
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) push: bool,
    /// Put the image into the store, also if --output says something else
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) load: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(super) iidfile: Option<PathBuf>,
    /// Write what came of the build to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) metadata_file: Option<PathBuf>,
    /// Print nothing but the image's id
    #[arg(short, long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,
    /// How progress is shown: auto, plain, tty, rawjson or quiet [default: $BUILDKIT_PROGRESS, or auto]
    #[arg(long, value_name = "MODE")]
    pub(super) progress: Option<String>,
    /// Tell on the standard output which steps came from the cache, and of each that ran which part of its key
    /// changed: the command, an argument, a file of the context, the base image, a step before it
    #[arg(long, value_name = "FORM", value_enum, num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    pub(super) explain: Option<Form>,
    /// Take a RUN from the cache, too, where all that its command asked for in the root file system is as it was, though
    /// other files there changed. What commands read is noted while this is given
    #[arg(long)]
    pub(super) read_sets: bool,
    /// Run nothing, fetch no image and no source of ADD, and write none: tell as --explain which steps would come from
    /// the cache, which would run and why, and of which that cannot be known. A context that is a URL or a repository is
    /// fetched, for there are no steps without it; a file by URL only where the server has another than the cache
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) dry_run: bool,
    /// Where a RUN fails, start this command in its container as it was left, with the streams of keel-image; the
    /// build fails when that ends [without a value: /bin/sh]
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, default_missing_value = "/bin/sh", require_equals = true)]
    pub(super) shell_on_fail: Option<String>,
    /// The same as --call=check
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub(super) check: bool,
    /// What is done: build; check, outline or targets only look at the Dockerfile (,format=json)
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub(super) call: String,
    /// What runs RUN: keel, runc or another with its command line
    #[arg(long, value_name = "PATH")]
    pub(super) runtime: Option<PathBuf>,
    /// Say beside the image how it was built (SLSA 1, in-toto): true, false, or mode=min|max, builder-id=URI,
    /// reproducible=BOOL. With mode=max build arguments, labels and the Dockerfile are told, and never a secret
    #[arg(long, value_name = "PROVENANCE")]
    pub(super) provenance: Option<String>,
    /// List beside the image which packages it has (SPDX 2.3, in-toto): of dpkg, of apk and of Python
    #[arg(long, value_name = "SBOM")]
    pub(super) sbom: Option<String>,
    /// The same as --provenance and --sbom: type=provenance|sbom and what these take
    #[arg(long, value_name = "ATTESTATION")]
    pub(super) attest: Vec<String>,
    /// Accepted for docker's sake: nothing is left of a build anyway
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) rm: Option<String>,
    /// Accepted for docker's sake: nothing is left of a build anyway
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) force_rm: Option<String>,
    #[command(flatten)]
    pub(super) registry: RegistryFlags,
}
