//! The command `keel-image`: docker's verbs on a store without a daemon. Every command is one file
//! and little more than one call of the library.

mod bridge;
mod build;
mod builder;
mod bundle;
mod changes;
mod commit;
mod completion;
mod container_flags;
mod copy;
mod cp;
mod diff;
mod export;
mod failure;
mod fsck;
mod history;
mod images;
mod import;
mod inspect;
mod interrupt;
mod lease;
mod limit_flags;
mod load;
mod login;
mod logout;
mod manifest;
#[cfg(test)]
mod manual;
mod namespace;
mod obtain;
mod output;
mod progress;
mod prune;
mod pull;
mod push;
mod registry_flags;
mod remote;
mod rmi;
mod run;
mod save;
mod table;
mod tag;
mod template;
mod units;
mod unpack;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use keel_image::layer::Limits;
use keel_image::store::Store;

use failure::Failure;

/// Build, keep, move and run container images without a daemon.
#[derive(Debug, Parser)]
#[command(name = "keel-image", version, propagate_version = true, disable_help_subcommand = true)]
struct Arguments {
    /// The store [default: $KEEL_IMAGE_ROOT, /var/lib/keel, or ~/.local/share/keel]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// The ids of an ordinary user's containers
    #[arg(long, global = true, value_name = "IDS", default_value = "auto")]
    ids: namespace::Ids,
    /// A bound of every layer and archive that is read: bytes=SIZE, entries=N, depth=N (components of a path),
    /// ratio=N (how many times larger than compressed) or layers=N (of an image)
    #[arg(long = "limit", value_name = "KIND=N")]
    limits: Vec<limit_flags::Limit>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::Arguments>),
    /// List or remove what the build cache holds
    #[command(visible_alias = "cache")]
    Builder(builder::Arguments),
    /// Make a bundle that an OCI runtime starts
    Bundle(bundle::Arguments),
    /// Make an image of what a container has changed
    Commit(commit::Arguments),
    /// Print the script with which a shell completes keel-image
    Completion(completion::Arguments),
    /// Copy an image between registries, store, layouts, archives and directories
    Copy(copy::Arguments),
    /// Copy files of an image to this host
    Cp(cp::Arguments),
    /// Show which files two images, or an image and its parent, have different
    Diff(diff::Arguments),
    /// Write the files of an image as one tar
    Export(export::Arguments),
    /// Examine the store: blobs, documents, unpacked layers
    Fsck(fsck::Arguments),
    /// Show the steps that made an image
    History(history::Arguments),
    /// List images
    #[command(visible_alias = "ls")]
    Images(images::Arguments),
    /// Make an image of a root file system
    Import(import::Arguments),
    /// Show all that is known of images
    Inspect(inspect::Arguments),
    /// Keep images and blobs until a time, whatever else is removed
    #[command(subcommand)]
    Lease(lease::Command),
    /// Load images from an archive
    Load(load::Arguments),
    /// Keep the credentials for a registry
    Login(login::Arguments),
    /// Forget the credentials for a registry
    Logout(logout::Arguments),
    /// Put images for several platforms together, or print an index or a manifest
    #[command(subcommand, visible_alias = "index")]
    Manifest(manifest::Command),
    /// Remove images without names, and what nothing needs any more
    Prune(prune::Arguments),
    /// Fetch an image from a registry
    Pull(pull::Arguments),
    /// Send an image to a registry
    Push(push::Arguments),
    /// Look at what registries have, and delete it there
    Remote(remote::Arguments),
    /// Remove images
    Rmi(rmi::Arguments),
    /// Run a command in a new container
    Run(Box<run::Arguments>),
    /// Write images to an archive
    Save(save::Arguments),
    /// Remove what processes that died have left in the store
    #[command(hide = true)]
    Sweep(interrupt::Arguments),
    /// Give an image a further name
    Tag(tag::Arguments),
    /// Calls newuidmap and newgidmap for a process
    #[command(hide = true)]
    MapIds(namespace::MapArguments),
    /// Unpack an image's layers and print their directories, lowest first
    Unpack(unpack::Arguments),
    /// Build twice without the cache, and show what differs first
    VerifyRebuild(Box<build::Arguments>),
    /// Run a command as root of this user's namespace
    Unshare(namespace::Arguments),
}

impl Command {
    /// Does it make, see or remove files of images? Whoever is not root of the host does that as root
    /// of a user namespace.
    fn handles_files(&self) -> bool {
        !matches!(
            self,
            Self::Completion(_)
                | Self::History(_)
                | Self::Images(_)
                | Self::Inspect(_)
                | Self::Login(_)
                | Self::Logout(_)
                | Self::MapIds(_)
                | Self::Remote(_)
                | Self::Save(_)
                | Self::Tag(_)
        )
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Docker's code for a command line that makes no sense; help is no error.
            let code = if error.use_stderr() { 125 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let root = arguments.root.unwrap_or_else(Store::default_root);
    let entered = match arguments.command.handles_files() {
        true => namespace::enter(arguments.ids),
        false => Ok(()),
    };
    let limits = limit_flags::limits(&arguments.limits);
    match entered.and_then(|()| dispatch(arguments.command, &root, limits)) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(command: Command, root: &Path, limits: Limits) -> Result<ExitCode, Failure> {
    match &command {
        Command::MapIds(arguments) => {
            return namespace::map(arguments).map(|()| ExitCode::SUCCESS);
        }
        Command::Unshare(arguments) => return namespace::run(arguments),
        _ => {}
    }
    match &command {
        Command::Build(arguments) => return build::run(root, limits, arguments),
        Command::VerifyRebuild(arguments) => return build::verify(root, limits, arguments),
        _ => {}
    }
    // Registries and credentials have nothing to do with the store.
    match &command {
        Command::Login(arguments) => return login::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Logout(arguments) => return logout::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Remote(arguments) => return remote::run(arguments).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    if let Command::Completion(arguments) = command {
        completion::run(&arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let store = Store::open(root)?.with_limits(limits);
    if !matches!(command, Command::Run(_)) {
        interrupt::clean_up_on_signals(store.path())?;
    }
    match command {
        Command::Build(_)
        | Command::Completion(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::MapIds(_)
        | Command::Remote(_)
        | Command::VerifyRebuild(_)
        | Command::Unshare(_) => {}
        Command::Builder(arguments) => builder::run(&store, &arguments)?,
        Command::Bundle(arguments) => bundle::run(&store, &arguments)?,
        Command::Commit(arguments) => commit::run(&store, &arguments)?,
        Command::Copy(arguments) => copy::run(&store, &arguments)?,
        Command::Cp(arguments) => cp::run(&store, &arguments)?,
        Command::Diff(arguments) => diff::run(&store, &arguments)?,
        Command::Export(arguments) => export::run(&store, &arguments)?,
        Command::Fsck(arguments) => fsck::run(&store, &arguments)?,
        Command::History(arguments) => history::run(&store, &arguments)?,
        Command::Images(arguments) => images::run(&store, &arguments)?,
        Command::Import(arguments) => import::run(&store, &arguments)?,
        Command::Inspect(arguments) => inspect::run(&store, &arguments)?,
        Command::Lease(arguments) => lease::run(&store, &arguments)?,
        Command::Load(arguments) => load::run(&store, &arguments)?,
        Command::Manifest(arguments) => manifest::run(&store, &arguments)?,
        Command::Prune(arguments) => prune::run(&store, &arguments)?,
        Command::Pull(arguments) => pull::run(&store, &arguments)?,
        Command::Push(arguments) => push::run(&store, &arguments)?,
        Command::Rmi(arguments) => rmi::run(&store, &arguments)?,
        Command::Run(arguments) => return run::run(&store, &arguments),
        Command::Save(arguments) => save::run(&store, &arguments)?,
        Command::Sweep(arguments) => return Ok(interrupt::run(&store, &arguments)),
        Command::Tag(arguments) => tag::run(&store, &arguments)?,
        Command::Unpack(arguments) => unpack::run(&store, &arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
