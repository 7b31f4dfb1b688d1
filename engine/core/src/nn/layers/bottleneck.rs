//! A layer of MobileBERT's encoder: a thin layer of BERT's between two linear maps that stay.

use serde::{Deserialize, Serialize};

use super::{
    Facts, Fold, Kind, Layer, LayerNorm, Transformer, Widening, layer_norm, nothing, refused,
};
use crate::{
    graph::{ShapeError, Value},
    nn::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory},
    ops::matmul,
};

/// h = LN(D·x + b),   y = LN(U·T(h) + c + x), where T is a layer of BERT's; x keeps its width.
///
/// A merge takes up no part of it: D and U are the network's own. What a teacher has in its place is T by itself, as wide as x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Features of h.
    pub hidden: u32,
    /// T; its name is that of the whole layer, and its ε that of all four layer norms.
    pub inside: Transformer,
    /// Probability of a zero in what is added to x, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dropout: f64,
}

/// Names of its parts, behind its own; they are transformers'.
const DOWN: &str = "bottleneck.input.dense";
const DOWN_NORM: &str = "bottleneck.input.LayerNorm";
const UP: &str = "output.bottleneck.dense";
const UP_NORM: &str = "output.bottleneck.LayerNorm";

impl Bottleneck {
    fn path(&self, part: &str) -> String {
        self.inside.path(part)
    }

    /// The norm of h.
    fn down_norm(&self) -> LayerNorm {
        LayerNorm { name: self.path(DOWN_NORM), eps: self.inside.eps }
    }
}

impl Kind for Bottleneck {
    fn facts(&self) -> Facts<'_> {
        self.inside.facts()
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let Extent::Sequence(length, wide) = at.h else {
            return Err(refused(&self.inside.name, at.h));
        };
        let read = at.linear().width();
        to.linear(&self.path(DOWN), self.hidden, read, true);
        let thin = Extent::Sequence(length, self.hidden);
        self.down_norm().shape(State::of(thin), to)?;
        let thin = self.inside.shape(State::of(thin), to)?;
        to.linear(&self.path(UP), wide, thin.width(), true);
        layer_norm::parameters(&self.path(UP_NORM), wide, to);
        to.work(&[length.into(), self.hidden.into(), u64::from(read) + u64::from(wide)]);
        Ok(at.h)
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let linear = matmul::Linear { bias: true, relu: false };
        let h = to.affine(&self.path(DOWN), linear, x.linear(), true)?;
        let h = self.down_norm().nodes(State::of(h), false, to)?;
        let h = self.inside.nodes(State::of(h), false, to)?;
        let out = to.affine(&self.path(UP), linear, h, true)?;
        let out = to.dropped(&self.path("output.bottleneck.dropout"), self.dropout, out)?;
        let norm = self.path(UP_NORM);
        let [y, _] = layer_norm::of_sum(&norm, out, x.h, self.inside.eps, to)?;
        Ok(y)
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let h = to.linear(&self.path(DOWN), &x.clone().linear(), true);
        let h = self.down_norm().onnx(State::of(h), to);
        let h = self.inside.onnx(State::of(h), to);
        let out = to.linear(&self.path(UP), &h, true);
        let sum = to.part("Add", &self.path("output.bottleneck"), "sum", &[&out, &x.h]);
        layer_norm::onnx_nodes(&self.path(UP_NORM), &sum, self.inside.eps, to)
    }

    /// A layer of BERT's with more heads of the same size, which needs no maps: it is as wide as the state.
    fn widened(&self, by: Widening) -> Layer {
        let inside = Transformer { dropout: self.dropout, ..self.inside.clone() };
        inside.widened(by)
    }

    /// The sum reads the network's own state, as in a layer of BERT's.
    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Ok(vec![self.path(DOWN)])
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Bottleneck(self.clone())
    }
}
