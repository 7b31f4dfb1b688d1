//! `taper augmented`: what the server asks of the training pictures of a data set.

use std::path::PathBuf;

use anyhow::Result;

use super::out::print_json;
use super::survey;
use crate::datasets::{Changes, augmented};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its folder or archive; absent: the built-in set.
    #[arg(long)]
    path: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// Where the drawing goes, as PNG.
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (kind, path) = survey::subject(arguments.path.as_deref())?;
    print_json(&augmented(kind, path, &arguments.changes, &arguments.out)?)
}
