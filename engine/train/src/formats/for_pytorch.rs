//! A model on images as weights with the Python that builds its network, whatever its widths.

use std::path::Path;

use serde::Serialize;

use super::files::{CONFIG, json_bytes};
use super::form::{self, Contents, Form};
use super::image::ImageModel;
use super::{FormatError, pytorch::Sizes};
use crate::nn::Weights;

/// The file that builds the network of a `config.json`.
const CODE: &str = "model.py";

/// `config.json`: Taper's own, with what the network is made of under `network`.
#[derive(Serialize)]
pub(super) struct Config<'m> {
    #[serde(flatten)]
    model: &'m ImageModel,
    network: Sizes,
}

/// `config.json` of a model.
///
/// # Errors
/// The network has layers that the Python does not know, as a sentence.
pub(super) fn config(of: &ImageModel) -> Result<Config<'_>, String> {
    let network = Sizes::of(&of.network()).ok_or("it is neither an MLP nor a residual network")?;
    Ok(Config { model: of, network })
}

/// The folder of a model.
///
/// # Errors
/// The network has layers that the Python does not know.
pub(super) fn contents(of: &ImageModel, weights: &Weights) -> Result<Contents, FormatError> {
    let config = config(of).map_err(form::refused(Form::Pytorch))?;
    Ok(Contents {
        weights: of.network().to_file(weights),
        files: vec![
            (CONFIG, json_bytes(Path::new(CONFIG), &config)?),
            (CODE, include_bytes!("model.py").to_vec()),
        ],
        library: "pytorch",
        usage: "`model.py` needs torch, safetensors, NumPy and Pillow, and reads `config.json`.\n\n```python\nimport torch\nfrom model import load, preprocess  # in this folder\n\nnetwork, config = load()\nwith torch.no_grad():\n    logits = network(preprocess(\"picture.jpg\", config)[None])\nprint(config[\"labels\"][logits.argmax()])\n```\n".into(),
    })
}

/// Whether what stands under `network` in a `config.json`, if something does, is the network of the model that it describes.
pub(super) fn agrees(model: &ImageModel, value: &serde_json::Value) -> bool {
    let said = &value["network"];
    said.is_null()
        || Sizes::of(&model.network())
            .and_then(|sizes| serde_json::to_value(sizes).ok())
            .is_some_and(|sizes| sizes == *said)
}
