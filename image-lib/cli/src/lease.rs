//! `keel-image lease`: images and blobs that stay until a time, whatever else is removed.

use keel_image::identity::Digest;
use keel_image::spec::Timestamp;
use keel_image::store::{Lease, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{output, table, units};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Keep images and blobs by a name
    Create {
        /// For how long, such as 24h or 30m; for ever without it
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
        /// The lease's name; one of the same name is replaced
        name: String,
        /// Names or ids of images, or digests of blobs
        #[arg(required = true, value_name = "IMAGE|DIGEST")]
        subjects: Vec<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List leases
    #[command(visible_alias = "list")]
    Ls {
        /// Only names
        #[arg(short, long)]
        quiet: bool,
        /// Print a JSON list
        #[arg(long)]
        json: bool,
    },
    /// End leases
    Rm {
        /// The leases' names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(store: &Store, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { expires, name, subjects, json } => {
            let expires = expires.as_deref().map(units::parse_duration).transpose()?;
            let now = Timestamp::now();
            let end = |after: std::time::Duration| {
                let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
                Timestamp { seconds: now.seconds.saturating_add(seconds), ..now }
            };
            let _hold = store.hold()?;
            let mut digests = Vec::new();
            for subject in subjects {
                digests.extend(kept(store, subject)?);
            }
            let lease = Lease { digests, expires: expires.map(end) };
            store.lease(name, &lease)?;
            if *json { output::json(&described(name, &lease)) } else { Ok(()) }
        }
        Command::Ls { quiet, json } => list(store, *quiet, *json),
        Command::Rm { names, json } => {
            names.iter().try_for_each(|name| store.release(name).map_err(Failure::from))?;
            if *json {
                return output::json(&names.iter().map(|name| json!({ "Name": name })).collect());
            }
            Ok(())
        }
    }
}

/// All that belongs to an image, or one blob.
fn kept(store: &Store, subject: &str) -> Result<Vec<Digest>, Failure> {
    match (store.find(subject)?, subject.parse::<Digest>()) {
        (Some(image), _) => Ok(store.reachable(image.root()).into_iter().collect()),
        (None, Ok(digest)) => Ok(vec![digest]),
        (None, Err(_)) => Err(Failure::new(format!("No such image: {subject}"))),
    }
}

fn described(name: &str, lease: &Lease) -> Value {
    let expires = lease.expires.map(|end| end.to_string());
    json!({ "Name": name, "Expires": expires, "Digests": lease.digests })
}

fn list(store: &Store, quiet: bool, as_json: bool) -> Result<(), Failure> {
    let leases = store.leases()?;
    if quiet {
        return leases.keys().try_for_each(|name| output::line(name));
    }
    let now = Timestamp::now();
    let end = |lease: &Lease| match lease.expires {
        None => "never".to_owned(),
        Some(_) if lease.has_ended(now) => "ended".to_owned(),
        Some(end) => end.to_string(),
    };
    if as_json {
        return output::json(&leases.iter().map(|(name, lease)| described(name, lease)).collect());
    }
    let mut rows = vec![["NAME", "EXPIRES", "DIGESTS"].map(str::to_owned).to_vec()];
    for (name, lease) in &leases {
        rows.push(vec![name.clone(), end(lease), lease.digests.len().to_string()]);
    }
    output::print(&table::layout(&rows))
}
