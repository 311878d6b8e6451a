//! Pulls an image and prints the directories of its unpacked layers, lowest first: `pull STORE NAME`.
#![allow(clippy::print_stdout, reason = "it is what the example is for")]

use std::error::Error;
use std::path::Path;

use keel_image::registry::{Client, Options, PullOptions};
use keel_image::store::{Silent, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, root, name] = &arguments[..] else { return Err("usage: pull STORE NAME".into()) };
    let store = Store::open(Path::new(root))?;
    let client = Client::new(Options::of_environment())?;
    let pulled = client.pull(&store, &name.parse()?, &PullOptions::default(), &Silent)?;
    let image = store.resolve(&pulled.id.to_string())?;
    for directory in store.unpack(image.layers(), &Silent)? {
        println!("{}", directory.display());
    }
    Ok(())
}
