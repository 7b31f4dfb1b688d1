//! A model on images as transformers and transformers.js load it.

use std::path::Path;

use super::files::{CONFIG, TEXT_ONNX, json_bytes};
use super::form::{self, Contents, Form};
use super::image::ImageModel;
use super::vision::{Config, PREPROCESSOR, preprocessor, to_file};
use super::{FormatError, onnx};
use crate::nn::Weights;
use crate::step::Task;

/// `config.json` of a model.
///
/// # Errors
/// What transformers cannot say of it, as a sentence.
pub(super) fn config(of: &ImageModel) -> Result<Config, String> {
    let mut config = Config::of(&of.network(), &of.labels)?;
    if config.num_channels != 3 {
        let count = config.num_channels;
        return Err(format!(
            "its pictures have {count} channel, and what prepares pictures there gives 3"
        ));
    }
    form::resizes(of)?;
    config.taper = Some(of.clone());
    Ok(config)
}

/// The folder of a model.
///
/// # Errors
/// What transformers cannot say of it.
pub(super) fn contents(
    of: &ImageModel,
    weights: &Weights,
    half: bool,
) -> Result<Contents, FormatError> {
    let refused = form::refused(Form::Transformers);
    let (config, network) = (config(of).map_err(&refused)?, of.network());
    let weights = network.to_file(weights);
    let mut files = vec![
        (CONFIG, json_bytes(Path::new(CONFIG), &config)?),
        (PREPROCESSOR, json_bytes(Path::new(PREPROCESSOR), &preprocessor(&of.input))?),
    ];
    if onnx::fits(&network) {
        let about = onnx::About {
            task: Task::Classify,
            pictures: Form::Transformers.pictures(),
            metadata: of.facts(),
            half,
        };
        let graph = onnx::encode(&network, &weights, &about);
        files.push((TEXT_ONNX, graph.map_err(|error| refused(error.to_string()))?));
    }
    Ok(Contents {
        weights: to_file(weights),
        files,
        library: "transformers",
        usage: "```python\nfrom transformers import pipeline\n\nclassify = pipeline(\"image-classification\", \".\")  # this folder\nprint(classify(\"picture.jpg\"))\n```\n".into(),
    })
}
