//! `taper pictures`: what the server asks of the data of a run.

use std::path::PathBuf;

use anyhow::Result;

use super::out::print_json;
use crate::run::pictures;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory; the pictures are written into it.
    run: PathBuf,
    /// Their places in the test part, with commas.
    #[arg(long, value_delimiter = ',', required = true)]
    pick: Vec<usize>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    print_json(&pictures::write(&arguments.run, &arguments.pick)?)
}
