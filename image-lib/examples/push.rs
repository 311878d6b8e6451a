//! Sends an image of a store to the registry that its name says, and prints its digest there:
//!
//! `cargo run -p keel-image --example push -- STORE NAME`
//!
//! What the registry has is not sent, and no byte is changed on the way. Credentials are those of
//! `docker login` and `podman login`.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use keel_image::registry::{Client, Options, PushOptions};
use keel_image::store::{Event, Progress, Sent, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, name] = &words[..] else { return Err("usage: push STORE NAME".into()) };
    let store = Store::open(Path::new(store))?;
    let client = Client::new(Options::of_environment())?;
    let pushed = client.push(&store, &name.parse()?, &PushOptions::default(), &Lines)?;
    writeln!(std::io::stdout(), "{}", pushed.digest)?;
    Ok(())
}

/// Says on the standard error how each blob came to be there.
struct Lines;

impl Progress for Lines {
    fn note(&self, event: Event<'_>) {
        let Event::EndPush { blob, how } = event else { return };
        let how = match how {
            Sent::Present => "was there",
            Sent::Mounted(_) => "was in another repository",
            Sent::Whole => "was sent",
        };
        // Nobody has to read it.
        let _ = writeln!(std::io::stderr(), "{blob} {how}");
    }
}
