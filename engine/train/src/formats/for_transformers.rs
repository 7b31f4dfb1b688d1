//! A model on images as a folder that transformers and transformers.js load.

use std::path::Path;

use super::files::{self, CONFIG, WEIGHTS};
use super::folder::{CARD, MERGE, ModelFolder, TEXT_ONNX};
use super::vision::{Config, PIXELS, PREPROCESSOR, preprocessor, to_file};
use super::{FormatError, onnx, safetensors, sums};
use crate::config::Interpolation;
use crate::disk::{Disk as _, SystemDisk};
use crate::step::Task;

/// Writes a model as a folder that transformers and transformers.js load, making it if it is not there.
///
/// # Errors
/// What transformers cannot say of it, or what the system refuses.
pub fn write(model: &ModelFolder, folder: &Path) -> Result<(), FormatError> {
    let disk = &SystemDisk;
    let refused = |problem: &str| {
        FormatError::content(folder, format!("transformers has no such network: {problem}"))
    };
    let described = model.config.images()?;
    let network = model.config.network();
    let mut config = Config::of(&network, &described.labels).map_err(|why| refused(&why))?;
    if config.num_channels != 3 {
        let count = config.num_channels;
        return Err(refused(&format!(
            "its pictures have {count} channel, and what prepares pictures there gives 3"
        )));
    }
    if described.input.interpolation != Interpolation::Bilinear {
        return Err(refused("`data.interpolation` is \"area\", and it resizes by \"bilinear\""));
    }
    config.taper = Some(described.clone());
    disk.make_folder(folder)?;
    let weights = network.to_file(&model.weights);
    if onnx::fits(&network) {
        let path = folder.join(TEXT_ONNX);
        let graph = onnx::encode_as(&network, &weights, Task::Classify, PIXELS)
            .map_err(|error| FormatError::content(&path, error))?;
        disk.make_folder(path.parent().unwrap_or(folder))?;
        disk.write_bytes(&path, &graph)?;
    }
    safetensors::write_on(disk, &folder.join(WEIGHTS), &to_file(weights), &safetensors::pytorch())?;
    files::write_json_on(disk, &folder.join(CONFIG), &config)?;
    files::write_json_on(disk, &folder.join(PREPROCESSOR), &preprocessor(&described.input))?;
    if let Some(merge) = &model.merge {
        files::write_json_on(disk, &folder.join(MERGE), merge)?;
    }
    disk.write_bytes(&folder.join(CARD), card(&model.card).as_bytes())?;
    sums::write_on(disk, folder)
}

/// The card of a model, whose last part says how this folder is used.
fn card(of: &str) -> String {
    let facts = of.split("\n## Use\n").next().unwrap_or_default();
    let facts = facts.replacen(
        "---\n",
        "---\nlibrary_name: transformers\npipeline_tag: image-classification\n",
        1,
    );
    format!(
        "{facts}\n## Use\n\n```python\nfrom transformers import pipeline\n\nclassify = pipeline(\"image-classification\", \".\")  # this folder\nprint(classify(\"picture.jpg\"))\n```\n"
    )
}
