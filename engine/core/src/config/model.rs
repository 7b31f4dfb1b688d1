//! `[model]`: the student's architecture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::activation::Activation;

/// The student's architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "arch", rename_all = "snake_case")]
pub enum Model {
    /// Linear layers with an activation between them.
    Mlp(Mlp),
    /// A residual network of any depth.
    Resnet(Resnet),
    /// torchvision's `resnet50`, at any width.
    Resnet50(ResnetOfDepth),
    /// torchvision's `resnet101`, at any width.
    Resnet101(ResnetOfDepth),
    /// BERT's encoder: layer norms behind the sums, learned positions, and the head for masked words.
    Bert(Bert),
}

impl Default for Model {
    fn default() -> Self {
        Model::Mlp(Mlp::default())
    }
}

impl Model {
    /// The name of the architecture, as in `model.arch`.
    pub fn arch(&self) -> &'static str {
        match self {
            Model::Mlp(_) => "mlp",
            Model::Resnet(_) => "resnet",
            Model::Resnet50(_) => "resnet50",
            Model::Resnet101(_) => "resnet101",
            Model::Bert(_) => "bert",
        }
    }

    /// The residual network, its units spelled out; `None` for what is none.
    pub fn resnet(&self) -> Option<Resnet> {
        let of_depth = |model: &ResnetOfDepth, third| Resnet {
            width: model.width,
            base: 64,
            unit: Unit::Bottleneck,
            stem: model.stem,
            blocks: vec![3, 4, third, 3],
        };
        match self {
            Model::Mlp(_) | Model::Bert(_) => None,
            Model::Resnet(resnet) => Some(resnet.clone()),
            Model::Resnet50(model) => Some(of_depth(model, 6)),
            Model::Resnet101(model) => Some(of_depth(model, 23)),
        }
    }

    /// Features between blocks that are bottlenecks; none where they are not.
    pub fn bottleneck(&self) -> Option<u32> {
        match self {
            Model::Bert(bert) => bert.bottleneck,
            Model::Mlp(_) | Model::Resnet(_) | Model::Resnet50(_) | Model::Resnet101(_) => None,
        }
    }

    /// Number of blocks, n in the paper: one a list entry.
    pub fn block_count(&self) -> usize {
        match self {
            Model::Mlp(mlp) => mlp.blocks.len(),
            Model::Resnet(resnet) => resnet.blocks.len(),
            Model::Resnet50(_) | Model::Resnet101(_) => 4,
            Model::Bert(bert) => bert.layers as usize,
        }
    }
}

/// Linear layers with an activation between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mlp {
    /// Width of each hidden layer.
    #[schemars(length(min = 1, max = 1000), inner(range(min = 1, max = 65536)), extend("x-unit" = "neurons"))]
    pub hidden: Vec<u32>,
    /// Non-linearity after each hidden layer.
    pub activation: Activation,
    /// Hidden layers in each block; the sum is the number of hidden layers.
    #[schemars(length(min = 1, max = 300), inner(range(min = 1, max = 1000)), extend("x-unit" = "layers"))]
    pub blocks: Vec<u32>,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp { hidden: vec![10; 12], activation: Activation::Relu, blocks: vec![3; 4] }
    }
}

/// Building unit of a residual network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 1×1, 3×3, 1×1 convolutions; four times as many channels leave as the 3×3 has.
    #[default]
    Bottleneck,
    /// Two 3×3 convolutions.
    Basic,
}

/// First layers of a residual network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7×7 convolution of stride 2 and 3×3 max pooling of stride 2.
    #[default]
    Imagenet,
    /// 3×3 convolution of stride 1, no pooling.
    Cifar,
}

/// A residual network of any depth, with torchvision's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet {
    /// Factor on every channel count. The paper: 1, 0.5, 0.25.
    #[schemars(range(max = 64.0), extend("exclusiveMinimum" = 0.0))]
    pub width: f64,
    /// Channels of the stem and of the first stage's 3×3 convolutions at width 1; each later stage has twice as many. torchvision: 64.
    #[schemars(range(min = 1, max = 65536), extend("x-unit" = "channels"))]
    pub base: u32,
    /// Building unit.
    pub unit: Unit,
    /// First layers.
    pub stem: Stem,
    /// Units in each stage; a stage is a block. ResNet50: 3, 4, 6, 3.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 1000)), extend("x-unit" = "units"))]
    pub blocks: Vec<u32>,
}

impl Default for Resnet {
    fn default() -> Self {
        Resnet {
            width: 1.0,
            base: 64,
            unit: Unit::Bottleneck,
            stem: Stem::Imagenet,
            blocks: vec![3, 4, 6, 3],
        }
    }
}

/// BERT's encoder, with the names of transformers; each layer is a block. The defaults are BERT-Base's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bert {
    /// Features of a token. The paper: 768, 384.
    #[schemars(range(min = 1, max = 65536), extend("x-unit" = "features"))]
    pub hidden: u32,
    /// Features of the state between layers, as MobileBERT has them: a layer then begins with a linear map to `hidden` and ends with one back, which
    /// stay, so that nothing is merged. `hidden`, `heads` and `inner` are of what is inside; the teacher's hidden state is as wide as this.
    /// Absent: layers are BERT's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 65536), extend("x-unit" = "features"))]
    pub bottleneck: Option<u32>,
    /// Layers.
    #[schemars(range(min = 1, max = 300), extend("x-unit" = "layers"))]
    pub layers: u32,
    /// Attention heads of a layer; they share `hidden` evenly. The paper: 12, 6.
    #[schemars(range(min = 1, max = 1024), extend("x-unit" = "heads"))]
    pub heads: u32,
    /// Features inside of a layer's feed-forward part. The paper: 3072, 1536.
    #[schemars(range(min = 1, max = 262144), extend("x-unit" = "features"))]
    pub inner: u32,
    /// Places in the table of positions; absent: `text.length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 32768), extend("x-unit" = "tokens"))]
    pub positions: Option<u32>,
    /// Standard deviation with which matrices and tables begin: 0.02, or about 1/√hidden for thin networks.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub init_std: f64,
    /// Probability of a zero behind the embeddings and in what is added to a sum, in training. BERT's own: 0.1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Probability of a zero among the attention's probabilities, in training. BERT's own: 0.1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub attention_dropout: f64,
    /// Trained weights to begin with: a model folder of Taper's, or one of Hugging Face's; its sizes must be those written here. A head that it
    /// lacks is fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Default for Bert {
    fn default() -> Self {
        Bert {
            hidden: 768,
            bottleneck: None,
            layers: 12,
            heads: 12,
            inner: 3072,
            positions: None,
            init_std: 0.02,
            dropout: 0.0,
            attention_dropout: 0.0,
            from: None,
        }
    }
}

/// A residual network of torchvision's depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResnetOfDepth {
    /// Factor on every channel count. The paper: 1, 0.5, 0.25.
    #[schemars(range(max = 64.0), extend("exclusiveMinimum" = 0.0))]
    pub width: f64,
    /// First layers.
    pub stem: Stem,
}

impl Default for ResnetOfDepth {
    fn default() -> Self {
        ResnetOfDepth { width: 1.0, stem: Stem::Imagenet }
    }
}
