//! `taper receive`: what the server asks of a teacher that a client sent.

use std::path::PathBuf;

use anyhow::Result;

use super::out::print_json;
use crate::teachers::receive;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// An archive of a model folder, or weights alone.
    #[arg(long)]
    sent: PathBuf,
    /// The empty folder that it is taken apart into.
    #[arg(long)]
    to: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    print_json(&receive(&arguments.sent, &arguments.to)?)
}
