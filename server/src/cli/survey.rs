//! `taper survey`: what the server asks of a data set.

use std::path::PathBuf;

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
    let built_in = DataKind::Images(ImageKind::Procedural);
    let kind = arguments.path.as_deref().map_or(built_in, kind_of);
    let path = arguments.path.as_deref().map(|path| {
        let path = path.to_str().context("the name of the folder is no UTF-8")?;
        Ok::<_, anyhow::Error>(path.to_owned())
    });
    let path = path.transpose()?;
    print_json(&survey(kind, path, &arguments.thumbnails)?)
}
