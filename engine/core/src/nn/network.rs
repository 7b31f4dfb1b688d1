//! What a network is made of.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ops::activation::Activation;

/// The shape of one input, or of what flows between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// An image or a feature map: height, width, channels.
    Map(u32, u32, u32),
    /// A vector of features.
    Flat(u32),
}

impl Extent {
    /// Channels of a map, features of a vector: the axis that a linear pair acts on.
    pub fn width(self) -> u32 {
        match self {
            Extent::Map(_, _, c) | Extent::Flat(c) => c,
        }
    }

    /// Positions of a map; 1 for a vector.
    pub fn positions(self) -> u64 {
        match self {
            Extent::Map(h, w, _) => u64::from(h) * u64::from(w),
            Extent::Flat(_) => 1,
        }
    }

    /// The extents of a batch of `rows`.
    pub fn batch(self, rows: u32) -> Vec<u32> {
        match self {
            Extent::Map(h, w, c) => vec![rows, h, w, c],
            Extent::Flat(c) => vec![rows, c],
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Extent::Map(h, w, c) => write!(f, "{h} × {w} positions of {c} channels"),
            Extent::Flat(c) => write!(f, "{c} features"),
        }
    }
}

/// A layer. Only output widths are written down, input widths are inferred; so surgery is a map over widths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// y = x Wᵀ + b
    Linear {
        /// Path of its parameters.
        name: String,
        /// Features out.
        out: u32,
        /// Whether it has a bias.
        bias: bool,
    },
    /// A square convolution, symmetric padding.
    Conv {
        /// Path of its parameters.
        name: String,
        /// Channels out.
        out: u32,
        /// Height and width of the kernel.
        kernel: u32,
        /// Stride.
        stride: u32,
        /// Zeros on each side.
        pad: u32,
        /// Whether it has a bias: where it has taken in a batch norm, and nowhere else.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bias: bool,
    },
    /// Batch normalisation over all but the channels; eps 1e-5, momentum 0.1, as PyTorch.
    BatchNorm {
        /// Path of its parameters.
        name: String,
    },
    /// An element-wise non-linearity.
    Activation {
        /// Name, for taps.
        name: String,
        /// Which.
        function: Activation,
    },
    /// The largest value under a window.
    MaxPool {
        /// Name, for taps.
        name: String,
        /// Height and width of the window.
        kernel: u32,
        /// Stride.
        stride: u32,
        /// Padding with −∞ on each side.
        pad: u32,
    },
    /// Mean over all positions: map → vector.
    GlobalAvgPool,
    /// Map → vector, in the order (H, W, C); only as a network's first layer.
    Flatten,
    /// A residual unit, y = relu(body(x) + shortcut(x)); an empty shortcut is the identity.
    Unit {
        /// Path, `layer1.0`.
        name: String,
        /// The long way.
        body: Vec<Layer>,
        /// The short way; empty, or a projection with its batch norm.
        shortcut: Vec<Layer>,
    },
}

impl Layer {
    /// The layer's name; the pools without parameters or taps have none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Layer::Linear { name, .. }
            | Layer::Conv { name, .. }
            | Layer::BatchNorm { name }
            | Layer::Activation { name, .. }
            | Layer::MaxPool { name, .. }
            | Layer::Unit { name, .. } => Some(name),
            Layer::GlobalAvgPool | Layer::Flatten => None,
        }
    }
}

/// The batch norms among the layers and inside their units, by name.
fn batch_norms(layers: &[Layer]) -> Vec<&str> {
    let mut names = Vec::new();
    for layer in layers {
        match layer {
            Layer::BatchNorm { name } => names.push(name.as_str()),
            Layer::Unit { body, shortcut, .. } => {
                names.extend(batch_norms(body));
                names.extend(batch_norms(shortcut));
            }
            _ => {}
        }
    }
    names
}

/// A linear map without bias that WIN inserts: a 1×1 convolution on maps, a matrix on vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Path of its weight, `lift.1`.
    pub name: String,
    /// Width out.
    pub out: u32,
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
        parts.flat_map(|layers| batch_norms(layers)).collect()
    }

    /// The weight that reads the flattened image, and the image's (H, W, C); files have its columns in PyTorch's order, (C, H, W).
    pub fn flattened(&self) -> Option<(String, [u32; 3])> {
        let layers = self.blocks.first()?.layers.get(..2)?;
        match (self.input, layers) {
            (Extent::Map(h, w, c), [Layer::Flatten, Layer::Linear { name, .. }]) => {
                Some((format!("{name}.weight"), [h, w, c]))
            }
            _ => None,
        }
    }

    /// Whether any pair is still inserted.
    pub fn is_bridged(&self) -> bool {
        self.blocks.iter().any(|b| b.lift.is_some() || b.lower.is_some())
    }
}

/// What cannot be built, bridged, merged or imported.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum NetworkError {
    /// A layer does not take what flows into it.
    #[error("layer {layer} does not take an input of {got}")]
    Layer {
        /// Path of the layer.
        layer: String,
        /// What flows in.
        got: String,
    },
    /// It is larger than anything that is planned.
    #[error("the network has {count} {what}; at most {most} are allowed")]
    TooLarge {
        /// Of what: `parameters`, say.
        what: &'static str,
        /// How many, at least.
        count: u64,
        /// What is allowed.
        most: u64,
    },
    /// A batch norm in training whose variance would be that of one number.
    #[error(
        "batch norm {layer} gets one value a channel: its input has one position and a step's batch one input; a variance wants more than one, so make the batch 2 or more, or the images larger"
    )]
    OneValue {
        /// Path of the batch norm.
        layer: String,
    },
    /// A pair has nothing to fold into.
    #[error(
        "block {block} cannot be merged: the pair before it meets {obstacle}, which is not linear on every path"
    )]
    NotMergeable {
        /// 1-based number of the block, `head` for the last pair.
        block: String,
        /// What stands in the way.
        obstacle: String,
    },
    /// Teacher and student do not correspond.
    #[error("teacher and student do not match: {0}")]
    Mismatch(String),
    /// A parameter is missing, superfluous or of another shape.
    #[error("{0}")]
    Weights(String),
    /// What is asked for does not exist for this network.
    #[error("{0}")]
    Unsupported(String),
}
