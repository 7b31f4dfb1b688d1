//! Activations: shader `shaders/activation.wgsl`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdapterKind, Gradients, Launch, Op, Operands, count, packs};
use crate::graph::{Graph, Value};

/// y = f(x), element by element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    #[default]
    Relu,
    /// x Φ(x), Φ the normal distribution (`gelu` of PyTorch).
    Gelu,
    /// The approximation of [`Activation::Gelu`] by tanh (`approximate="tanh"`).
    GeluTanh,
    /// tanh x.
    Tanh,
    /// 1 / (1 + exp(−x)).
    Sigmoid,
}

/// dx from (v, dy), where v is the activation's output y for ReLU, tanh and sigmoid, its input x for both GELUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grad(pub Activation);

impl Op for Activation {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        let (entry, flops) = match self {
            Self::Relu => ("relu", 1),
            Self::Gelu => ("gelu", 30),
            Self::GeluTanh => ("gelu_tanh", 15),
            Self::Tanh => ("tanh_forward", 10),
            Self::Sigmoid => ("sigmoid", 10),
        };
        let (launch, packs) = packs::flat("activation", entry, count(x));
        Some(launch.output(x).dims([packs]).flops(flops * count(x)))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let saved = match self {
            Self::Relu | Self::Tanh | Self::Sigmoid => node.outputs[0],
            Self::Gelu | Self::GeluTanh => node.inputs[0],
        };
        Ok(vec![Some(graph.add(Grad(*self), &[saved, dy])?)])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [saved, dy] = *inputs else { return None };
        let (entry, flops) = match self.0 {
            Activation::Relu => ("relu_grad", 1),
            Activation::Gelu => ("gelu_grad", 40),
            Activation::GeluTanh => ("gelu_tanh_grad", 25),
            Activation::Tanh => ("tanh_grad", 3),
            Activation::Sigmoid => ("sigmoid_grad", 3),
        };
        let (launch, packs) = packs::flat("activation", entry, count(dy));
        (saved == dy).then(|| launch.output(dy).dims([packs]).flops(flops * count(dy)))
    }
}
