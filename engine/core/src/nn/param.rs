//! What is known of a parameter: its shape, what training does to it, how it begins, how it lies in files.

use super::FileLayout;

/// What a tensor of a network is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained.
    Param,
    /// A running statistic.
    State,
}

/// How a fresh tensor is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// N(0, 2 / fan): He et al. 2015.
    He {
        /// Inputs (linear) or outputs × kernel area (convolution, as torchvision) of a unit.
        fan: u32,
    },
    /// U(±1/√fan): PyTorch's default for the last linear layer, weight and bias.
    Uniform {
        /// Inputs of a unit.
        fan: u32,
    },
    /// N(0, std²).
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Rows of the identity, and N(0, std²) below them.
    BelowIdentity {
        /// Standard deviation.
        std: f64,
    },
    /// A constant.
    Constant(f32),
}

/// A parameter or running statistic.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Path, `layer1.0.conv1.weight`.
    pub name: String,
    /// Extents; convolutions are (O, KH, KW, I).
    pub shape: Vec<usize>,
    /// Trained or a statistic.
    pub role: Role,
    /// Index of the block it belongs to; `blocks.len()` for the head.
    pub block: usize,
    /// How it begins.
    pub fill: Fill,
    /// How it lies in files.
    pub file: FileLayout,
    /// Whether weight decay acts on it.
    pub decays: bool,
    /// Its first rows that training leaves as they began.
    pub held: u32,
    /// Whether it is of the embeddings, which narrow steps leave as they are.
    pub embeds: bool,
}

impl ParamSpec {
    /// Its numbers.
    pub fn count(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent as u64))
    }
}
