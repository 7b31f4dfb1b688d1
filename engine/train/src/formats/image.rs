//! What a model on images is, and what it reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::resnet::Resnet;
use crate::config::{self, Interpolation, Mlp, Model, Stem, Unit, Widen};
use crate::models;
use crate::nn::{Extent, Layer, Network};
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
        Architecture { model: self.model.clone(), widened: self.widened }.network(input, classes)
    }
}

/// An architecture as a configuration's `[model]` says it, and how it was widened.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// The architecture.
    pub model: Model,
    /// How it was widened, if it was.
    pub widened: Option<Widened>,
}

impl Architecture {
    /// That of a network; none where no architecture of ours, widened by a whole factor or not, is the same.
    pub fn of(network: &Network) -> Option<Architecture> {
        let classes = network.shapes().ok()?.output.width();
        let is_same = |form: &Architecture| form.network(network.input, classes) == *network;
        forms(network).into_iter().find(is_same)
    }

    /// The network, for inputs of this extent and so many classes.
    pub fn network(&self, input: Extent, classes: u32) -> Network {
        let network = models::network(&self.model, input, classes);
        match self.widened {
            Some(Widened { factor, widen }) => surgery::widen(&network, factor, widen),
            None => network,
        }
    }
}

/// What a network may be.
fn forms(network: &Network) -> Vec<Architecture> {
    let plain = |model| Architecture { model, widened: None };
    let Some(of) = Resnet::of(network) else {
        let layers = || network.blocks.iter().map(|block| &block.layers);
        let widths = |layers: &[Layer]| -> Vec<u32> {
            let linear = |layer: &Layer| match layer {
                Layer::Linear(linear) => Some(linear.out),
                _ => None,
            };
            layers.iter().filter_map(linear).collect()
        };
        let function = layers().flatten().find_map(|layer| match layer {
            Layer::Activation(activation) => Some(activation.function),
            _ => None,
        });
        let hidden = layers().flat_map(|layers| widths(layers)).collect();
        let blocks = layers().map(|layers| widths(layers).len() as u32).collect();
        let activation = function.unwrap_or_default();
        return vec![plain(Model::Mlp(Mlp { hidden, activation, blocks }))];
    };
    let (unit, expansion) = match of.bottleneck() {
        true => (Unit::Bottleneck, 4),
        false => (Unit::Basic, 1),
    };
    let stem = if of.large { Stem::Imagenet } else { Stem::Cifar };
    let blocks = of.stages.iter().map(|units| units.len() as u32).collect();
    let model = Model::Resnet(config::Resnet { width: 1.0, base: of.stem, unit, stem, blocks });
    let factor = of.stages[0].first().map_or(1, |unit| unit.inner * expansion / unit.out.max(1));
    let widened = Some(Widened { factor, widen: Widen::Mid });
    vec![plain(model.clone()), Architecture { model, widened }]
}

/// How a teacher was made of a student's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Widened {
    /// How many times as wide.
    pub factor: u32,
    /// Which channels.
    pub widen: Widen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_told_by_its_layers() {
        let input = Extent::Map(32, 32, 3);
        let resnet = |unit, base, stem| {
            Model::Resnet(config::Resnet { width: 1.0, base, unit, stem, blocks: vec![2, 1, 1] })
        };
        let mlp = Mlp { hidden: vec![5, 6, 7], blocks: vec![2, 1], ..Mlp::default() };
        for model in [
            resnet(Unit::Bottleneck, 8, Stem::Cifar),
            resnet(Unit::Basic, 16, Stem::Imagenet),
            Model::Mlp(mlp),
        ] {
            let plain = Architecture { model: model.clone(), widened: None };
            let network = plain.network(input, 4);
            assert_eq!(Architecture::of(&network), Some(plain));
            for widen in [Widen::Mid, Widen::All] {
                let wide = surgery::widen(&network, 3, widen);
                let form = Architecture::of(&wide).expect("one of ours");
                assert_eq!(form.network(input, 4), wide, "{form:?}");
            }
        }
        // torchvision's resnet50 is one of ours by another name.
        let named = models::network(&Model::Resnet50(config::ResnetOfDepth::default()), input, 4);
        let Some(Architecture { model: Model::Resnet(found), widened: None }) =
            Architecture::of(&named)
        else {
            panic!("a residual network");
        };
        assert_eq!((found.base, &found.blocks[..]), (64, &[3, 4, 6, 3][..]));
        // Another width in one unit is nobody's.
        let mut odd = named;
        if let Some(Layer::Unit(unit)) = odd.blocks[2].layers.first_mut()
            && let Some(Layer::Conv(conv)) = unit.body.first_mut()
        {
            conv.out += 1;
        }
        assert_eq!(Architecture::of(&odd), None);
    }
}
