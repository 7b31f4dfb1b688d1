//! `taper export`: a trained model as a folder that other programs load.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use engine::formats::{FormatError, folder, form::Form, sums};
use serde_json::json;

use super::model;
use super::out::{print, print_json};
use crate::export::{self, Asked};
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
    /// ResNetForImageClassification, for AutoModel, `pipeline` and transformers.js. `timm`: a ResNet with ImageNet's stem of 64 channels, for
    /// `timm.create_model("local-dir:DIR", pretrained=True)`. `pytorch`: any network on images, with model.py, which builds it.
    #[arg(long, default_value = Form::Taper.name(), value_parser = form())]
    format: Form,
    /// Write plan.json as well: shaders, buffers and dispatches, by which a browser runs the network on WebGPU.
    #[arg(long, conflicts_with = "format")]
    plan: bool,
    /// Keep the weights in half precision; what is computed stays in 32 bits. Pictures of the model's run say what it costs.
    #[arg(long)]
    half: bool,
    /// Write the network in whole numbers of 8 bits as well, model_int8.onnx (for transformers.js onnx/model_quantized.onnx): training pictures of the
    /// model's run say what is in which range, test pictures what it costs.
    #[arg(long)]
    int8: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Names of forms, and what they name.
fn form() -> impl clap::builder::TypedValueParser<Value = Form> {
    PossibleValuesParser::new(Form::ALL.map(Form::name)).map(|name| {
        let named = |form: &Form| form.name() == name;
        Form::ALL.into_iter().find(named).unwrap_or_default()
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (folder, model) = model::found(&arguments.model)?;
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
    let Arguments { format, half, int8, .. } = *arguments;
    export::write(&folder, model, Asked { form: format, half, int8 }, to)?;
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
