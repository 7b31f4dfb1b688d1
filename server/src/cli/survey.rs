//! `taper survey`: what the server asks of a data set.

use std::path::PathBuf;

use anyhow::Result;
use engine::config::{Data, DataKind};

use super::print_json;
use crate::datasets::survey;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How it is read, as `data.kind`.
    #[arg(long, value_parser = kind)]
    kind: DataKind,
    /// Its folder or archive.
    #[arg(long)]
    path: Option<PathBuf>,
    /// Where thumbnails go.
    #[arg(long)]
    thumbnails: PathBuf,
}

fn kind(name: &str) -> Result<DataKind, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let path = arguments.path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let data = Data { kind: arguments.kind, path, ..Data::default() };
    print_json(&survey(&data, &arguments.thumbnails)?)
}
