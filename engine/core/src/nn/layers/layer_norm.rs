//! Layer normalisation of each position, as BERT has it.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, Fill, NetworkError, Role, State, builder::Builder, onnx, shapes::Inventory},
    ops::layer_norm,
};

/// γ and β.
const PARTS: [&str; 2] = ["weight", "bias"];

/// y = γ (x − mean) / √(variance + ε) + β over the features of a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Path of its parameters.
    pub name: String,
    /// ε; BERT's is 1e-12.
    pub eps: f64,
}

/// Writes down γ and β of the layer norm `name` over `width` features.
pub(super) fn parameters(name: &str, width: u32, to: &mut Inventory) {
    for (part, value) in PARTS.into_iter().zip([1.0, 0.0]) {
        to.vector(name, part, width, Role::Param, Fill::Constant(value));
    }
}

/// The layer norm `name` of x + skip, and that sum.
pub(super) fn of_sum(
    name: &str,
    x: Value,
    skip: Value,
    eps: f64,
    to: &mut Builder<'_>,
) -> Result<[Value; 2], ShapeError> {
    let inputs = [x, to.tensor(name, PARTS[0]), to.tensor(name, PARTS[1]), skip];
    let outputs = to.add_all(name, layer_norm::LayerNorm { eps: eps as f32 }, &inputs)?;
    Ok([outputs[0], outputs[1]])
}

/// Nodes of ONNX of the layer norm `name` of the value called `x`.
pub(super) fn onnx_nodes(name: &str, x: &str, eps: f64, to: &mut onnx::Nodes) -> String {
    let epsilon = onnx::Attribute::Float(eps as f32);
    let attributes = vec![("axis", onnx::Attribute::Int(-1)), ("epsilon", epsilon)];
    to.with_parameters("LayerNormalization", name, x, &PARTS, attributes)
}

impl Kind for LayerNorm {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: None,
            inside: [&[], &[]],
            takes_relu: false,
            takes_norm: false,
            reads_lifted: false,
            is_norm: false,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        parameters(&self.name, at.h.width(), to);
        Ok(at.h)
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let inputs = [x.h, to.tensor(&self.name, PARTS[0]), to.tensor(&self.name, PARTS[1])];
        to.add(&self.name, layer_norm::LayerNorm { eps: self.eps as f32 }, &inputs)
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        onnx_nodes(&self.name, &x.h, self.eps, to)
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::LayerNorm(self.clone())
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("layer norm {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::LayerNorm(self.clone())
    }
}
