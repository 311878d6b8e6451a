//! A container from a bundle, through its whole life, by the library:
//!
//! ```sh
//! cargo run -p keel --example lifecycle -- BUNDLE
//! ```
//!
//! Unlike the command, a program that embeds the library does not protect its own file from containers; it
//! should be root's, on a mount that they cannot write.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::path::PathBuf;

use keel::container::id::ContainerId;
use keel::lifecycle::request::Request;
use keel::lifecycle::wait::{Waited, wait};
use keel::lifecycle::{create, delete, start};

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: lifecycle BUNDLE")?;
    let id = ContainerId::parse(&format!("example-{}", std::process::id()))?;
    let root = PathBuf::from("/run/keel-example");
    let request = Request::new(id.clone(), &root, std::fs::canonicalize(bundle)?);
    for warning in create::create(&request, None)? {
        eprintln!("warning: {warning}");
    }
    let ended = start::start(&root, &id, None).and_then(|()| wait(&root, &id, -1));
    // Whatever happened, nothing of it stays.
    delete::delete(&root, &id, true)?;
    match ended? {
        Waited::Status(status) => println!("the container ended with status {status}"),
        Waited::Gone | Waited::TimedOut => println!("the container ended"),
    }
    Ok(())
}
