//! `taper survey`: what the server asks of a data set.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use engine::config::{DataKind, ImageKind};
use engine::data::kind_of;

use super::out::print_json;
use crate::datasets::{survey, unpack};

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its folder or archive; absent: the built-in set.
    #[arg(long)]
    path: Option<PathBuf>,
    /// An archive to take apart into that folder before.
    #[arg(long, requires = "path")]
    archive: Option<PathBuf>,
    /// Where thumbnails go.
    #[arg(long)]
    thumbnails: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if let (Some(archive), Some(folder)) = (&arguments.archive, &arguments.path) {
        unpack(archive, folder)?;
    }
    let (kind, path) = subject(arguments.path.as_deref())?;
    print_json(&survey(kind, path, &arguments.thumbnails)?)
}

/// The kind of the data at a path, and the path as configurations have it; without one the built-in pictures.
pub(super) fn subject(path: Option<&Path>) -> Result<(DataKind, Option<String>)> {
    let built_in = DataKind::Images(ImageKind::Procedural);
    let Some(path) = path else { return Ok((built_in, None)) };
    let text = path.to_str().context("the name of the folder is no UTF-8")?;
    Ok((kind_of(path), Some(text.to_owned())))
}
