//! What a network is made of.

use serde::{Deserialize, Serialize};

use super::{
    Extent, FileLayout, IMAGES, Input, LENGTHS, Layer, NetworkError, PLACES, SEGMENTS, Shapes,
    State, TOKENS, Tensor, Weights,
    layers::{self, Conv, Linear},
    shapes::Inventory,
};
use crate::batch::NumberKind;

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
    /// Further heads, which read what `head` reads and have an output each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Vec<Layer>>,
}

impl Network {
    /// S⁽ⁱ⁾ = {S₁ … Sᵢ}, without a head.
    #[must_use]
    pub fn prefix(&self, blocks: usize) -> Network {
        let blocks = self.blocks[..blocks].to_vec();
        Network { input: self.input, blocks, head: Vec::new(), further: Vec::new() }
    }

    /// All heads, each of which reads the last block's output; none in a prefix.
    pub fn heads(&self) -> impl Iterator<Item = &[Layer]> {
        let all = [&self.head].into_iter().chain(&self.further);
        all.map(Vec::as_slice).filter(|head| !head.is_empty())
    }

    /// The batch norms from block `from` (0-based) on, by name.
    pub fn batch_norms(&self, from: usize) -> Vec<&str> {
        let blocks = self.blocks[from..].iter().map(|block| block.layers.as_slice());
        blocks.chain(self.heads()).flat_map(layers::batch_norms).collect()
    }

    /// What it reads of `rows` samples; the first one is what flows into its first layer.
    pub fn inputs(&self, rows: u32) -> Vec<Input> {
        let Extent::Tokens(length) = self.input else {
            return vec![Input::new(IMAGES, self.input.batch(rows), NumberKind::F32)];
        };
        let ids = |name, shape| Input::new(name, shape, NumberKind::U32);
        let mut list = vec![
            ids(TOKENS, vec![rows, length]),
            ids(SEGMENTS, vec![rows, length]),
            ids(LENGTHS, vec![rows]),
        ];
        let places = self.heads().flatten().find_map(|layer| layer.facts().places);
        list.extend(places.map(|count| ids(PLACES, vec![rows, count])));
        list
    }

    /// Whether any pair is still inserted.
    pub fn is_bridged(&self) -> bool {
        self.blocks.iter().any(|b| b.lift.is_some() || b.lower.is_some())
    }

    /// Whether all of its blocks end in linear maps of their own to the width of what flows between them, which the teacher's have as well: S̄ is
    /// the network itself then.
    pub fn has_bottlenecks(&self) -> bool {
        !self.blocks.is_empty()
            && self.blocks.iter().all(|block| layers::is_bottleneck(&block.layers))
    }

    /// Infers every width.
    ///
    /// # Errors
    /// If a layer does not take what flows into it.
    pub fn shapes(&self) -> Result<Shapes, NetworkError> {
        let mut to = Inventory::default();
        let (mut at, mut blocks, mut macs) = (State::of(self.input), Vec::new(), Vec::new());
        for (k, block) in self.blocks.iter().enumerate() {
            to.block = k;
            if let Some(lower) = &block.lower {
                at.lifted = Some(pair(lower, at.linear(), &mut to)?);
            }
            at = State::of(layers::shape(&block.layers, at, &mut to)?);
            if let Some(lift) = &block.lift {
                at.lifted = Some(pair(lift, at.h, &mut to)?);
            }
            blocks.push(at.linear());
            macs.push(std::mem::take(&mut to.macs));
        }
        (to.block, to.uniform) = (self.blocks.len(), true);
        let mut outputs = Vec::new();
        for head in self.heads() {
            outputs.push(layers::shape(head, at, &mut to)?);
        }
        let Inventory { params, layers, .. } = to;
        macs.push(to.macs);
        let (output, further) = match outputs.split_first() {
            Some((first, further)) => (*first, further.to_vec()),
            None => (at.linear(), Vec::new()),
        };
        let shapes = Shapes { params, blocks, macs, output, further, layers };
        for (what, count, most) in [
            ("parameters", shapes.param_count(), PARAMS),
            ("multiply-adds of one input", shapes.total_macs(), MACS),
        ] {
            if count > most {
                return Err(NetworkError::TooLarge { what, count, most });
            }
        }
        Ok(shapes)
    }

    /// Its weights as files have them.
    pub fn to_file(&self, weights: &Weights) -> Weights {
        let mut weights = weights.clone();
        for spec in self.shapes().into_iter().flat_map(|shapes| shapes.params) {
            let Some(tensor) = weights.remove(&spec.name) else { continue };
            let tensor = spec.file.write(tensor);
            let names = spec.file.names(&spec.name);
            weights.extend(names.into_iter().zip(split(tensor, spec.file)));
        }
        weights
    }

    /// The weights of a file as ours. Tensors that the network does not have stay as they are. So do all tensors if the network's layers do not fit
    /// each other, because it then has no shapes to compare them with.
    pub fn from_file(&self, mut weights: Weights) -> Weights {
        for spec in self.shapes().into_iter().flat_map(|shapes| shapes.params) {
            let names = spec.file.names(&spec.name);
            if names.iter().any(|name| !weights.contains_key(name)) {
                continue;
            }
            let parts = names.iter().filter_map(|name| weights.remove(name)).collect();
            weights.insert(spec.name, spec.file.read(stack(parts)));
        }
        weights
    }
}

/// The tensors that a file has for one of ours: of equal numbers of rows.
fn split(tensor: Tensor, file: FileLayout) -> Vec<Tensor> {
    let FileLayout::Stacked(parts) = file else { return vec![tensor] };
    let mut shape = tensor.shape;
    shape[0] /= parts.len();
    let each = shape.iter().product::<usize>().max(1);
    tensor.data.chunks(each).map(|part| Tensor::new(shape.clone(), part.to_vec())).collect()
}

/// Tensors of equal extents but the first, one below the other.
fn stack(parts: Vec<Tensor>) -> Tensor {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().unwrap_or_default();
    for part in parts {
        whole.shape[0] += part.shape[0];
        whole.data.extend(part.data);
    }
    whole
}

/// Most parameters of a network: 16 GiB of them.
const PARAMS: u64 = 1 << 32;
/// Most multiply-adds of one input: a hundred times those of a large network on ImageNet. Sums over batches then fit 64 bits.
const MACS: u64 = 1_000_000_000_000;

/// The extent behind a pair.
fn pair(pair: &Pair, at: Extent, to: &mut Inventory) -> Result<Extent, NetworkError> {
    to.uniform = true;
    let out = layers::shape(&[pair.layer(at.is_map())], State::of(at), to);
    to.uniform = false;
    out
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

    fn plain(input: Extent, blocks: Vec<Block>) -> Network {
        Network { input, blocks, head: Vec::new(), further: Vec::new() }
    }

    #[test]
    fn what_is_too_large_is_refused_and_no_product_overflows() {
        let wide = |out: u32, depth: usize| {
            let layer = |k: usize| Layer::Linear(Linear { name: format!("l{k}"), out, bias: true });
            let blocks =
                vec![Block { layers: (0..depth).map(layer).collect(), ..Block::default() }];
            plain(Extent::Flat(16), blocks).shapes()
        };
        wide(1000, 1000).expect("a thousand layers");
        for (out, depth) in [(u32::MAX, 1), (u32::MAX, 3), (1 << 22, 1000), (70_000, 2)] {
            let error = wide(out, depth).expect_err("too large");
            assert!(matches!(error, NetworkError::TooLarge { .. }), "{out}, {depth}: {error}");
        }
        let conv = Layer::Conv(Conv {
            name: "c".into(),
            out: 1 << 22,
            kernel: 7,
            stride: 1,
            pad: 3,
            bias: false,
        });
        let input = Extent::Map(16384, 16384, 3);
        let blocks = vec![Block { layers: vec![conv], ..Block::default() }];
        let error = plain(input, blocks).shapes().expect_err("too large");
        assert!(error.to_string().contains("at most 1000000000000 are allowed"), "{error}");
        let flat = vec![Block { layers: vec![Layer::Flatten], ..Block::default() }];
        let input = Extent::Map(65536, 65536, 3);
        assert!(plain(input, flat).shapes().is_err());
    }
}
