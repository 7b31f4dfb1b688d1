//! What is kept of a trained member: its weights, what a reader needs to use them, and how it came about.

use std::collections::BTreeMap;

use super::{
    TrainError,
    context::Context,
    spec::{ARTIFACTS, Finished, MemberSpec},
};
use crate::{
    config::{self, Config, Data, Length, Model, Precision},
    data::{
        Contents, Dataset,
        images::ImageSet,
        text::{TextSet, asked::QuestionSet},
    },
    formats::{
        ImageInput, ImageModel, ModelConfig, ModelFolder, TextModel,
        card::{self, Footprint},
        folder::{self, Architecture},
        verdicts,
    },
    models::Bert,
    win::algorithm::Stage,
};

/// Writes the model of a member that is trained.
///
/// # Errors
/// A file that cannot be written, or read.
pub(super) fn keep(
    context: &Context<'_>,
    who: &MemberSpec<'_>,
    finished: Finished,
) -> Result<(), TrainError> {
    let Finished { weights, worth, merge, place } = finished;
    let config = model_config(context.config, context.data, who);
    let ends = context.journal.past(&who.name).ends;
    let adapter = &context.gpu.adapter().name;
    let facts = card::CardFacts {
        method: who.method,
        seed: who.seed,
        data: describe_data(context.config, context.data),
        stages: describe_stages(who, &place.micro_batches, &ends),
        accuracy: worth.test.accuracy,
        loss: worth.test.loss,
        answers: worth.answers,
        epochs: place.epochs,
        size: Footprint::of(who.network)?,
        teacher: who.teacher.map(|teacher| Footprint::of(&teacher.network)).transpose()?,
        adapter: match context.config.precision {
            Precision::F32 => adapter.clone(),
            Precision::Mixed => format!("{adapter}, in mixed precision"),
        },
    };
    let card = card::render(&facts, &config, merge.as_ref());
    if let Some(verdicts) = &worth.verdicts {
        verdicts::write_on(context.disk, &who.folder, verdicts)?;
    }
    let folder = match who.method {
        Some(_) => who.folder.join(ARTIFACTS),
        None => who.folder.clone(),
    };
    Ok(ModelFolder { weights, config, merge, card }.write_on(context.disk, &folder)?)
}

fn model_config(config: &Config, data: &Dataset, who: &MemberSpec<'_>) -> ModelConfig {
    let config::Teacher { factor, widen, .. } = config.teacher;
    let teacher = who.method.is_none();
    let own = || Architecture {
        model: config.model.clone(),
        widened: teacher.then_some(folder::Widened { factor, widen }),
    };
    match &data.contents {
        Contents::Images(ImageSet { classes, preprocess, .. }) => {
            let Architecture { model, widened } = who.form.cloned().unwrap_or_else(own);
            ModelConfig::Images(ImageModel {
                architecture: model.arch().into(),
                model,
                widened,
                input: ImageInput {
                    channels: preprocess.channels() as u32,
                    size: preprocess.size() as u32,
                    mean: preprocess.mean().to_vec(),
                    std: preprocess.std().to_vec(),
                    interpolation: preprocess.interpolation(),
                    crop: preprocess.crop(),
                },
                labels: classes.clone(),
            })
        }
        Contents::Text(TextSet { tokenizer, .. })
        | Contents::Questions(QuestionSet { tokenizer, .. }) => {
            let bert = match &config.model {
                Model::Bert(bert) => bert.clone(),
                _ => config::Bert::default(),
            };
            let sizes = Bert::of(&bert, data.input(), data.output());
            let sizes = if teacher { sizes.widened(factor) } else { sizes };
            let unanswerable = match &data.contents {
                Contents::Questions(of) => of.test.questions.unanswerable,
                Contents::Images(_) | Contents::Text(_) => false,
            };
            let tokenizer = (**tokenizer).clone();
            ModelConfig::Text(TextModel { sizes, tokenizer, unanswerable })
        }
    }
}

/// The data in a line of the model card.
fn describe_data(config: &Config, data: &Dataset) -> String {
    let (kind, samples) = match &config.data {
        Data::Images(images) => (serde_json::to_value(images.kind), "images"),
        Data::Text(text) => (serde_json::to_value(text.kind), "examples"),
    };
    let kind = kind.ok().and_then(|kind| Some(kind.as_str()?.to_owned()));
    let kind = kind.unwrap_or_else(|| samples.into());
    format!("{kind}, {} training and {} test {samples}", data.train.len(), data.test.len())
}

/// The stages in lines of the model card; `micro_batches` are those of a step, by the stage's index, `ends` what it came to, by its name.
fn describe_stages(
    who: &MemberSpec<'_>,
    micro_batches: &BTreeMap<usize, u32>,
    ends: &BTreeMap<String, String>,
) -> Vec<String> {
    let line = |(k, stage): (usize, &Stage)| {
        let batch_norm = !who.network.batch_norms(0).is_empty();
        let parts = match micro_batches.get(&k) {
            None | Some(1) => String::new(),
            Some(parts) if batch_norm => format!(
                " (in {parts} micro-batches; batch norm's statistics are those of a micro-batch)"
            ),
            Some(parts) => format!(" (in {parts} micro-batches)"),
        };
        let end = ends.get(&stage.name).map_or(String::new(), |end| format!("; {end}"));
        describe(stage) + &parts + &end
    };
    who.stages.iter().enumerate().map(line).collect()
}

/// A stage in a line of the model card.
fn describe(stage: &Stage) -> String {
    match &stage.recipe {
        None => stage.name.clone(),
        Some(recipe) => {
            let length = match recipe.length {
                Length::Epochs(epochs) => format!("{epochs} epochs"),
                Length::Steps(steps) => format!("{steps} steps"),
            };
            let restarts = if stage.restarts > 1 {
                format!(", {} restarts", stage.restarts)
            } else {
                String::new()
            };
            format!(
                "{}: {length}, batch {}, learning rate {}{restarts}",
                stage.name, recipe.batch, recipe.lr
            )
        }
    }
}
