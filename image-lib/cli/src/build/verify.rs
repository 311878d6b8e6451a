//! `keel-image verify-rebuild`: builds twice without the cache, and shows where the results differ first.

use std::path::Path;
use std::process::ExitCode;

use keel_image::build::arguments::SOURCE_DATE_EPOCH;
use keel_image::build::{Built, Reporter, solve, verify};
use keel_image::cancel::Cancellation;
use keel_image::layer::Limits;
use keel_image::store::Store;

use super::display::Printer;
use super::flags::Arguments;
use super::{Interrupts, context, executor, options, usage};
use crate::failure::Failure;
use crate::output;

/// The time of both builds where none is given: what differs by the clock alone is no finding.
const EPOCH: &str = "0";

/// Runs the command on the store at `root`, which takes layers within `limits`. No image is put there.
pub(crate) fn verify(
    root: &Path,
    limits: Limits,
    arguments: &Arguments,
) -> Result<ExitCode, Failure> {
    if arguments.shell_on_fail.is_some() {
        return Err(usage("--shell-on-fail is for a build that is done once"));
    }
    if arguments.dry_run || arguments.explain.is_some() {
        // Both builds are done, and anew.
        return Err(usage("--explain and --dry-run say nothing of a build that is done twice"));
    }
    let display = options::display(arguments)?;
    let cancellation = Cancellation::default();
    let mut all = options::read(arguments, &cancellation)?;
    let store = Store::open(root)?.with_limits(limits);
    let _hold = store.hold()?;
    let mut printer = Printer::new(display);
    let reporter = Reporter::new(&mut printer);
    let _interrupts = Interrupts::cancel(&all[0].cancelled, cancellation)?;
    let _kept = context::settle(arguments, &mut all[0], Some(&store), &reporter)?;
    let options = &mut all[0];
    options.no_cache = true;
    let is_given = std::env::var_os(SOURCE_DATE_EPOCH).is_some_and(|value| !value.is_empty());
    if !is_given {
        options.arguments.entry(SOURCE_DATE_EPOCH.to_owned()).or_insert_with(|| EPOCH.to_owned());
    }
    let executor = executor(arguments.runtime.clone());
    let build = || solve(&store, options, &executor, &reporter);
    let (one, other): (Built, Built) = (build()?, build()?);
    let difference = verify::first_difference(&store, &one, &other);
    match difference.map_err(|error| Failure::of(&error))? {
        None => {
            let count = one.layers.len();
            output::line(&format!("Both builds are the same: {count} layers"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(difference) => {
            output::line(&format!("The builds differ: {difference}"))?;
            Ok(ExitCode::FAILURE)
        }
    }
}
