//! What a network is made of.

use serde::{Deserialize, Serialize};

use super::{
    Extent, Layer,
    layers::{self, Conv, Linear},
};

/// A linear map without bias that WIN inserts: a 1×1 convolution on maps, a matrix on vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Path of its weight, `lift.1`.
    pub name: String,
    /// Width out.
    pub out: u32,
}

impl Pair {
    /// The layer that it is: a convolution where it reads a map.
    pub fn layer(&self, on_map: bool) -> Layer {
        let Self { name, out } = self.clone();
        match on_map {
            true => Layer::Conv(Conv { name, out, kernel: 1, stride: 1, pad: 0, bias: false }),
            false => Layer::Linear(Linear { name, out, bias: false }),
        }
    }
}

/// A building block Sᵢ, with the pair around it while it is bridged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// M(i−1, 2), from the teacher's width down, before the layers; only with random starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<Pair>,
    /// The layers.
    pub layers: Vec<Layer>,
    /// M(i, 1), up to the teacher's width, after the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<Pair>,
}

/// A network: blocks S₁ … Sₙ and the classifier head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The shape of one input.
    pub input: Extent,
    /// S₁ … Sₙ.
    pub blocks: Vec<Block>,
    /// What turns the last block's output into logits; empty in a prefix.
    pub head: Vec<Layer>,
}

impl Network {
    /// S⁽ⁱ⁾ = {S₁ … Sᵢ}, without a head.
    #[must_use]
    pub fn prefix(&self, blocks: usize) -> Network {
        Network { input: self.input, blocks: self.blocks[..blocks].to_vec(), head: Vec::new() }
    }

    /// The batch norms from block `from` (0-based) on, by name.
    pub fn batch_norms(&self, from: usize) -> Vec<&str> {
        let parts = self.blocks[from..].iter().map(|block| &block.layers).chain([&self.head]);
        parts.flat_map(|layers| layers::batch_norms(layers)).collect()
    }

    /// The weight that reads the flattened image, and the image's (H, W, C); files have its columns in PyTorch's order, (C, H, W).
    pub fn flattened(&self) -> Option<(String, [u32; 3])> {
        let layers = self.blocks.first()?.layers.get(..2)?;
        match (self.input, layers) {
            (Extent::Map(h, w, c), [Layer::Flatten, Layer::Linear(first)]) => {
                Some((format!("{}.weight", first.name), [h, w, c]))
            }
            _ => None,
        }
    }

    /// Whether any pair is still inserted.
    pub fn is_bridged(&self) -> bool {
        self.blocks.iter().any(|b| b.lift.is_some() || b.lower.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Activation, Mlp, Model, Resnet, Stem, Unit, Widen},
        models,
        nn::Folded,
        win::surgery,
    };

    /// What earlier versions wrote, each kind of layer in it.
    const MLP: &str = r#"{"input":{"map":[33,33,3]},"blocks":[{"layers":["flatten",{"linear":{"name":"layers.0","out":9,"bias":true}},{"activation":{"name":"layers.0.act","function":"gelu_tanh"}}],"lift":{"name":"lift.1","out":18}},{"lower":{"name":"lower.1","out":9},"layers":[{"linear":{"name":"layers.1","out":5,"bias":true}},{"activation":{"name":"layers.1.act","function":"gelu_tanh"}}],"lift":{"name":"lift.2","out":10}}],"head":[{"linear":{"name":"head","out":7,"bias":true}}]}"#;
    const RESNET: &str = r#"{"input":{"map":[33,33,3]},"blocks":[{"layers":[{"conv":{"name":"conv1","out":64,"kernel":7,"stride":2,"pad":3}},{"batch_norm":{"name":"bn1"}},{"activation":{"name":"relu","function":"relu"}},{"max_pool":{"name":"maxpool","kernel":3,"stride":2,"pad":1}},{"unit":{"name":"layer1.0","body":[{"conv":{"name":"layer1.0.conv1","out":64,"kernel":3,"stride":1,"pad":1}},{"batch_norm":{"name":"layer1.0.bn1"}},{"activation":{"name":"layer1.0.relu1","function":"relu"}},{"conv":{"name":"layer1.0.conv2","out":64,"kernel":3,"stride":1,"pad":1}},{"batch_norm":{"name":"layer1.0.bn2"}}],"shortcut":[]}}]},{"layers":[{"unit":{"name":"layer2.0","body":[{"conv":{"name":"layer2.0.conv1","out":128,"kernel":3,"stride":2,"pad":1}},{"batch_norm":{"name":"layer2.0.bn1"}},{"activation":{"name":"layer2.0.relu1","function":"relu"}},{"conv":{"name":"layer2.0.conv2","out":128,"kernel":3,"stride":1,"pad":1}},{"batch_norm":{"name":"layer2.0.bn2"}}],"shortcut":[{"conv":{"name":"layer2.0.downsample.0","out":128,"kernel":1,"stride":2,"pad":0}},{"batch_norm":{"name":"layer2.0.downsample.1"}}]}}]}],"head":["global_avg_pool",{"linear":{"name":"fc","out":7,"bias":true}}]}"#;

    #[test]
    fn networks_of_earlier_versions_are_read_and_written_to_the_letter() {
        let input = Extent::Map(33, 33, 3);
        let (hidden, blocks) = (vec![9, 5], vec![1, 1]);
        let mlp = Model::Mlp(Mlp { hidden, blocks, activation: Activation::GeluTanh });
        let mlp = models::network(&mlp, input, 7);
        let teacher = surgery::widen(&mlp, 2, Widen::Mid);
        let bridged = surgery::bridge(&mlp, &teacher, true).expect("a bridge");
        let (unit, stem, blocks) = (Unit::Basic, Stem::Imagenet, vec![1, 1]);
        let resnet = Model::Resnet(Resnet { width: 1.0, base: 64, unit, stem, blocks });
        let resnet = models::network(&resnet, input, 7);
        for (network, text) in [(&bridged, MLP), (&resnet, RESNET)] {
            assert_eq!(serde_json::from_str::<Network>(text).expect("a network"), *network);
            assert_eq!(serde_json::to_string(network).expect("JSON"), text);
        }
        let folded = Folded::of(&resnet).expect("a network").network;
        let stem = serde_json::to_value(&folded.blocks[0].layers[0]).expect("JSON");
        assert_eq!(stem["conv"]["bias"], true);
    }
}
