//! The forms that other programs load a model in. All of them claim `config.json`, so each has a folder of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, image::ImageModel, onnx, safetensors::Stored};
use crate::config::Interpolation;
use crate::nn::Weights;

/// Whose form a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// As runs write it.
    #[default]
    Taper,
    /// transformers', and transformers.js'.
    Transformers,
    /// timm's.
    Timm,
    /// Weights with the Python that builds their network.
    Pytorch,
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 4] = [Form::Taper, Form::Transformers, Form::Timm, Form::Pytorch];

    /// Its name, as `--format` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Form::Taper => "taper",
            Form::Transformers => "transformers",
            Form::Timm => "timm",
            Form::Pytorch => "pytorch",
        }
    }

    /// What a network's pictures are called in its files of ONNX.
    pub fn pictures(self) -> &'static str {
        match self {
            Form::Transformers => onnx::PIXELS,
            Form::Taper | Form::Timm | Form::Pytorch => onnx::INPUT,
        }
    }

    /// The file with the network in whole numbers; transformers.js looks for its own.
    pub fn int8(self) -> &'static str {
        match self {
            Form::Transformers => "onnx/model_quantized.onnx",
            Form::Taper | Form::Timm | Form::Pytorch => "model_int8.onnx",
        }
    }
}

/// How a folder's numbers are kept, and what is beside them.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Whether weights are kept in half precision.
    pub half: bool,
    /// The network in whole numbers, as a file of ONNX.
    pub int8: Option<Vec<u8>>,
    /// What the card says of them.
    pub said: String,
}

impl Numbers {
    pub(super) fn stored(&self) -> Stored {
        if self.half { Stored::Half } else { Stored::Single }
    }
}

/// What a form's folder has, beside the merge, the card and the sums.
pub(super) struct Contents {
    /// The tensors of `model.safetensors`.
    pub(super) weights: Weights,
    /// Other files, by their paths in the folder.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// The library that loads it, as the card's front matter calls it.
    pub(super) library: &'static str,
    /// How the folder is used, as the card's last part.
    pub(super) usage: String,
}

/// That a form has no such network.
pub(super) fn refused(form: Form) -> impl Fn(String) -> FormatError {
    move |problem| FormatError::Form { form, problem, instead: Form::Pytorch }
}

/// Refuses pictures that a form's preparation cannot make: it resizes as Pillow does.
pub(super) fn resizes(model: &ImageModel) -> Result<(), String> {
    match model.input.interpolation {
        Interpolation::Bilinear => Ok(()),
        Interpolation::Area => {
            Err("`data.interpolation` is \"area\", and it resizes by \"bilinear\"".into())
        }
    }
}
