//! `taper latency`: what the server asks of the models of a run.

use std::path::PathBuf;

use anyhow::Result;

use super::out::{open, print_json};
use crate::run::compare::measure;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory; the times are kept in it.
    run: PathBuf,
    /// Adapter: a part of its name or its index in `taper devices`.
    #[arg(long, value_name = "NAME|INDEX", default_value = "auto")]
    device: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let gpu = open(&arguments.device)?;
    print_json(&measure(std::slice::from_ref(&arguments.run), &gpu)?)
}
