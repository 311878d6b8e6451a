//! What would be done for a bundle, step by step, without privilege:
//!
//! ```sh
//! cargo run -p keel --example plan -- BUNDLE
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::path::PathBuf;

use keel::container::id::ContainerId;
use keel::lifecycle::launch::plan_only;
use keel::lifecycle::request::Request;

fn main() -> Result<(), Box<dyn Error>> {
    let bundle = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: plan BUNDLE")?;
    let request = Request::new(ContainerId::parse("example")?, "/run/keel-example", bundle);
    let (plan, cgroups, warnings) = plan_only(&request)?;
    for directory in &cgroups.directories {
        println!("linux.cgroupsPath: make {}", directory.path().display());
    }
    print!("{plan}");
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
