//! Trained models in other forms and with other numbers: for `taper export`, and for downloads.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engine::classes;
use engine::config::{self, Config, Data};
use engine::data::images::{self, ImageSet, Preprocess};
use engine::data::{Contents, Dataset};
use engine::formats::{
    ImageModel, ModelConfig, ModelFolder,
    card::{self, Beside},
    export,
    form::{Form, Numbers},
    onnx::About,
};
use engine::train::{
    beside,
    model::Trained,
    numbers::{self, Worth},
};

use crate::failure::failure;
use crate::run::compare::{folder_of, on_disk};
use crate::run::latency::Latency;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) form: Form,
    /// Weights in half precision.
    pub(crate) half: bool,
    /// The network in 8-bit whole numbers beside them.
    pub(crate) int8: bool,
}

/// Writes the model that lies in `folder` into another one, with a card that names the others of its run.
///
/// # Errors
/// The form cannot say it, other numbers are asked for and cannot be measured, or what the system refuses.
pub(crate) fn write(folder: &Path, model: ModelFolder, asked: Asked, to: &Path) -> Result<()> {
    export::check(&model.config, asked.form)?;
    let numbers = numbers(folder, &model, asked)?;
    let card = card::with_others(&model.card, &others(folder)?);
    Ok(export::write(&ModelFolder { card, ..model }, asked.form, &numbers, to)?)
}

/// The members and teachers of the model's run, with what lies in their folders and what was measured of them.
fn others(folder: &Path) -> Result<Vec<Beside>> {
    let mut others = beside(folder)?;
    if let Some(run) = run_of(folder)? {
        for other in &mut others {
            let (bytes, latencies) = on_disk(&folder_of(&run, other.method, other.seed));
            let words = |of: &Latency| format!("{:.3} ms ({})", of.median_ms, of.on);
            other.bytes = bytes;
            other.latency = latencies.iter().map(words).collect::<Vec<_>>().join(", ");
        }
    }
    Ok(others)
}

/// The numbers that are asked for, measured on the data of the model's run.
fn numbers(folder: &Path, model: &ModelFolder, asked: Asked) -> Result<Numbers> {
    let Asked { form, half, int8 } = asked;
    if !half && !int8 {
        return Ok(Numbers::default());
    }
    let ModelConfig::Images(of) = &model.config else {
        return match int8 {
            true => Err(failure("--int8 is of networks on images, and the model reads text", "")),
            false => Ok(Numbers { half, ..Numbers::default() }),
        };
    };
    let Some(data) = data(folder, of)? else {
        return match int8 {
            true => Err(failure(
                format!("`{}` lies in no run, whose pictures --int8 takes", folder.display()),
                "export a run or one of its members, or leave --int8 out",
            )),
            false => Ok(Numbers { half, ..Numbers::default() }),
        };
    };
    let Contents::Images(ImageSet { classes, .. }) = &data.contents else {
        return Err(failure("the model's run was on text", ""));
    };
    let outputs = classes::all(&of.labels, classes)
        .map_err(|what| failure(format!("the model {what}"), ""))?
        .outputs;
    let trained = Trained::of(model.clone())?;
    let about = About {
        task: model.config.task(),
        pictures: form.pictures(),
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
        numbers.said.push_str(&said(&format!("8-bit whole numbers (`{}`)", form.int8()), &worth));
        numbers.int8 = Some(file);
    }
    Ok(numbers)
}

/// The data of the model's run, prepared for the model; none where it lies in no run.
fn data(folder: &Path, of: &ImageModel) -> Result<Option<Dataset>> {
    let Some(config) = run_config(folder)? else { return Ok(None) };
    let Data::Images(data) = &config.data else { return Ok(None) };
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

/// The file of a run's directory by which one is known.
const CONFIG: &str = "config.toml";

/// The directory of the run that `model` is, or is inside of.
fn run_of(model: &Path) -> Result<Option<PathBuf>> {
    let model = std::path::absolute(model)?;
    // RUN, RUN/artifacts, RUN/teachers/SEED, RUN/members/NAME, RUN/members/NAME/artifacts.
    let found = model.ancestors().take(4).find(|path| path.join(CONFIG).is_file());
    Ok(found.map(Path::to_owned))
}

/// The configuration of that run.
pub(crate) fn run_config(model: &Path) -> Result<Option<Config>> {
    Ok(run_of(model)?.map(|run| config::read(&run.join(CONFIG))).transpose()?)
}
