//! `taper export`: a trained model as a folder that other programs load.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use engine::data::images::{self, ImageSet, Preprocess};
use engine::data::{Contents, Dataset};
use engine::formats::{
    FormatError, ModelConfig, ModelFolder, card, export, folder,
    form::{Form, Numbers},
    onnx::About,
    sums,
};
use engine::train::{
    beside,
    model::Trained,
    numbers::{self, Worth},
};
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

/// The numbers that are asked for, measured on the data of the model's run.
fn numbers(arguments: &Arguments, model: &ModelFolder) -> Result<Numbers> {
    let Arguments { half, int8, format, .. } = *arguments;
    if !half && !int8 {
        return Ok(Numbers::default());
    }
    let ModelConfig::Images(of) = &model.config else {
        return match int8 {
            true => Err(failure("--int8 is of networks on images, and the model reads text", "")),
            false => Ok(Numbers { half, ..Numbers::default() }),
        };
    };
    let Some(data) = data(arguments, of)? else {
        return match int8 {
            true => Err(failure(
                format!(
                    "`{}` lies in no run, whose pictures --int8 takes",
                    arguments.model.display()
                ),
                "export a run or one of its members, or leave --int8 out",
            )),
            false => Ok(Numbers { half, ..Numbers::default() }),
        };
    };
    let Contents::Images(ImageSet { classes, .. }) = &data.contents else {
        return Err(failure("the model's run was on text", ""));
    };
    let outputs = engine::classes::all(&of.labels, classes)
        .map_err(|what| failure(format!("the model {what}"), ""))?
        .outputs;
    let trained = Trained::of(model.clone())?;
    let about = About {
        task: model.config.task(),
        pictures: format.pictures(),
        metadata: of.facts(),
        half: false,
    };
    let mut numbers = Numbers { half, ..Numbers::default() };
    if half {
        let worth = numbers::half(&trained, &about, &data, &outputs)?;
        numbers.said.push_str(&said("half precision", &worth));
    }
    if int8 {
        let (file, worth) = numbers::int8(&trained, &about, &data, &outputs)?;
        numbers.said.push_str(&said(&format!("8-bit whole numbers (`{}`)", format.int8()), &worth));
        numbers.int8 = Some(file);
    }
    Ok(numbers)
}

/// The data of the model's run, prepared for the model; none where it lies in no run.
fn data(arguments: &Arguments, of: &engine::formats::ImageModel) -> Result<Option<Dataset>> {
    let Some(config) = model::run_config(&arguments.model)? else { return Ok(None) };
    let engine::config::Data::Images(data) = &config.data else { return Ok(None) };
    Ok(Some(images::open_for(data, &Preprocess::try_from(&of.input)?)?))
}

/// What other numbers are worth, as a part of the card.
fn said(what: &str, worth: &Worth) -> String {
    let Worth { calibrated, tested, before, after } = worth;
    let found = match calibrated {
        0 => String::new(),
        _ => format!(" Ranges are those of {calibrated} training pictures."),
    };
    format!(
        "\nIn {what} {after:.2} % of {tested} test pictures are right, where {before:.2} % are in 32-bit floats.{found}\n"
    )
}

/// Names of forms, and what they name.
fn form() -> impl clap::builder::TypedValueParser<Value = Form> {
    PossibleValuesParser::new(Form::ALL.map(Form::name)).map(|name| {
        let named = |form: &Form| form.name() == name;
        Form::ALL.into_iter().find(named).unwrap_or_default()
    })
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (folder, mut model) = model::found(&arguments.model)?;
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
    let numbers = numbers(arguments, &model)?;
    model.card = card::with_others(&model.card, &beside(&folder)?);
    export::write(&model, arguments.format, &numbers, to)?;
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
