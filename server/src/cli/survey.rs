//! `taper survey`: what the server asks of a data set.

use std::path::PathBuf;

use anyhow::Result;
use engine::config::{Data, DataKind};
use engine::data::kind_of;

use super::print_json;
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
    let kind = arguments.path.as_deref().map_or(DataKind::Procedural, kind_of);
    let path = arguments.path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let data = Data { kind, path, ..Data::default() };
    print_json(&survey(&data, &arguments.thumbnails)?)
}
