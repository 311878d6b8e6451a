//! `keel-image fsck`: is everything in the store what it should be?

use keel_image::store::{Finding, FsckOptions, Report, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{output, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Look at names, sizes and documents only, not at the bytes of blobs and the files of layers
    #[arg(long)]
    quick: bool,
    /// Remove damaged blobs and unpacked layers; layers are unpacked again when they are needed
    #[arg(long)]
    repair: bool,
    /// Print nothing but what is wrong
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let options = FsckOptions { quick: arguments.quick, repair: arguments.repair };
    let report = store.fsck(options)?;
    if arguments.json {
        output::json(&described(&report))?;
    } else {
        print(&report, arguments.quiet)?;
    }
    if report.is_clean() {
        return Ok(());
    }
    let count = report.findings.iter().filter(|finding| !finding.repaired).count();
    let failure = Failure::new(match count {
        0 => "the store was repaired, and images must be fetched again".to_owned(),
        1 => "the store is damaged in one place".to_owned(),
        count => format!("the store is damaged in {count} places"),
    });
    Err(if arguments.repair {
        failure
    } else {
        failure.with_hint("fsck --repair removes what is damaged")
    })
}

fn print(report: &Report, quiet: bool) -> Result<(), Failure> {
    for finding in &report.findings {
        let done = if finding.repaired { " (removed)" } else { "" };
        output::line(&format!("{}{done}", finding.damage))?;
    }
    for image in report.to_fetch() {
        output::line(&format!("must be fetched again: {image}"))?;
    }
    if quiet {
        return Ok(());
    }
    output::line(&format!(
        "{} names, {} blobs ({}), {} unpacked layers: {}",
        report.images,
        report.blobs,
        units::size(report.bytes),
        report.layers,
        if report.findings.is_empty() { "clean" } else { "not clean" },
    ))
}

fn described(report: &Report) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "Kind": finding.damage.kind(),
            "Message": finding.damage.to_string(),
            "Images": finding.images,
            "Repaired": finding.repaired,
        })
    };
    json!({
        "Clean": report.is_clean(),
        "Findings": report.findings.iter().map(finding).collect::<Vec<Value>>(),
        "FetchAgain": report.to_fetch(),
        "Images": report.images,
        "Blobs": report.blobs,
        "Bytes": report.bytes,
        "Layers": report.layers,
    })
}
