//! What a model on images is, and what it reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{Interpolation, Model, Widen};
use crate::models;
use crate::nn::{Extent, Network};
use crate::win::surgery;

/// `config.json` of a model on images: the architecture, and what it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageModel {
    /// Name of the architecture, as torchvision and timm call it where they have it.
    pub architecture: String,
    /// The architecture in full, as in a configuration's `[model]`.
    pub model: Model,
    /// Set for a teacher made of `model` by widening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widened: Option<Widened>,
    /// What it reads.
    #[serde(flatten)]
    pub input: ImageInput,
    /// Name of each class, in the order of the outputs.
    pub labels: Vec<String>,
}

/// Images of one size, and what is done to any picture before the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImageInput {
    /// Channels of the input image.
    pub channels: u32,
    /// Height and width of the input image in pixels.
    pub size: u32,
    /// Mean of each channel, of pixels in 0..1.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel.
    pub std: Vec<f64>,
    /// How an image is resized.
    pub interpolation: Interpolation,
    /// Share of the shorter side kept by the centre crop.
    pub crop: f64,
}

impl ImageModel {
    /// What one has to know to use the network, for the metadata of other formats: lists as JSON.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let ImageInput { size, mean, std, interpolation, crop, .. } = &self.input;
        vec![
            ("labels", json!(self.labels).to_string()),
            ("mean", json!(mean).to_string()),
            ("std", json!(std).to_string()),
            ("size", size.to_string()),
            ("crop", crop.to_string()),
            ("interpolation", json!(interpolation).as_str().unwrap_or_default().into()),
        ]
    }

    /// The network that the weights are of.
    pub fn network(&self) -> Network {
        let ImageInput { size, channels, .. } = self.input;
        let input = Extent::Map(size, size, channels);
        let classes = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        let network = models::network(&self.model, input, classes);
        match self.widened {
            Some(Widened { factor, widen }) => surgery::widen(&network, factor, widen),
            None => network,
        }
    }
}

/// How a teacher was made of a student's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Widened {
    /// How many times as wide.
    pub factor: u32,
    /// Which channels.
    pub widen: Widen,
}
