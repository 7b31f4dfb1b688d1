//! `taper export`: a trained model as a folder that other programs load.

use std::path::PathBuf;

use anyhow::Result;
use engine::formats::{FormatError, ModelConfig, folder, for_transformers, sums};
use serde_json::json;

use super::model;
use super::out::{print, print_json};
use crate::failure::failure;

/// The arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A run directory, a member of one, or a model folder.
    model: PathBuf,
    /// Folder to write; it must be new or empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What it is written for. `taper`: as runs write it, for PyTorch and ONNX Runtime. `transformers`: a ResNet with ImageNet's stem as
    /// ResNetForImageClassification, for AutoModel, `pipeline` and transformers.js.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write plan.json as well: shaders, buffers and dispatches, by which a browser runs the network on WebGPU.
    #[arg(long, conflicts_with = "format")]
    plan: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Whose folder is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Taper,
    Transformers,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let model = model::open(&arguments.model)?;
    let to = &arguments.to;
    let list = |action| move |source| FormatError::Io { action, path: to.clone(), source };
    if to.exists() && std::fs::read_dir(to).map_err(list("write"))?.next().is_some() {
        return Err(failure(
            format!("the folder `{}` is not empty", to.display()),
            "give a new one",
        ));
    }
    // Before anything is written: a model may be too large for a browser.
    let plan = arguments.plan.then(|| model.config.plan()).transpose();
    let plan = plan.map_err(|error| {
        failure(format!("no browser runs this model: {error}"), "leave out --plan")
    })?;
    match (arguments.format, &model.config) {
        (Format::Transformers, ModelConfig::Images(_)) => for_transformers::write(&model, to)?,
        // That of a model on text is transformers' own.
        (Format::Transformers, ModelConfig::Text(_)) | (Format::Taper, _) => model.write(to)?,
    }
    if let Some(plan) = plan {
        folder::write_json(&to.join(folder::PLAN), &plan)?;
        sums::write(to)?;
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(to).map_err(list("read"))? {
        files.push(entry.map_err(list("read"))?.file_name().to_string_lossy().into_owned());
    }
    files.sort();
    if arguments.json {
        return print_json(&json!({ "folder": to, "files": files }));
    }
    print(&format!("{}: {}\n", to.display(), files.join(", ")))
}
