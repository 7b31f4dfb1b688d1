//! A layer of BERT's encoder, with its layer norms behind the sums.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, layer_norm, refused};
use crate::{
    graph::{ShapeError, Value},
    nn::{
        Extent, FileLayout, LENGTHS, NetworkError, State, builder::Builder, onnx, shapes::Inventory,
    },
    ops::{activation::Activation, attention::Attention, matmul},
};

/// y = LN(x + O·attention(x) + b),   z = LN(y + W2·gelu(W1·y + b1) + b2); x keeps its width.
///
/// While a pair stands before it, queries, keys and values read the lifted state and the sums the network's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transformer {
    /// Path of its parameters, `bert.encoder.layer.0`; below it they have the names of transformers.
    pub name: String,
    /// Attention heads.
    pub heads: u32,
    /// Features of a head.
    pub head: u32,
    /// Features between W1 and W2.
    pub inner: u32,
}

/// How files call the parts of the matrix of queries, keys and values.
const PARTS: FileLayout = FileLayout::Stacked(["query", "key", "value"]);

/// Names of its parts, behind its own, see [`Transformer::path`].
impl Transformer {
    /// Queries, keys and values as one matrix.
    pub const QKV: &str = "attention.self.qkv";
    /// O.
    pub const O: &str = "attention.output.dense";
    /// The first layer norm; its output is y.
    pub const FIRST_NORM: &str = "attention.output.LayerNorm";
    /// W1.
    pub const W1: &str = "intermediate.dense";
    /// W2.
    pub const W2: &str = "output.dense";
    /// The second layer norm; its output is the layer's.
    pub const LAST_NORM: &str = "output.LayerNorm";
    /// No parameters, but what is computed: the contexts of all heads, O's input.
    pub const CONTEXTS: &str = "attention.self";
    /// x + O·attention(x) + b, the first norm's input.
    pub const ATTENDED: &str = "attention.output.sum";
    /// gelu(W1·y + b1).
    pub const INNER: &str = "intermediate";
    /// The second norm's input.
    pub const SUM: &str = "output.sum";

    /// Path of a part.
    pub fn path(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }
}

impl Kind for Transformer {
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
        let Extent::Sequence(length, h) = at.h else { return Err(refused(&self.name, at.h)) };
        let (read, all, inner) = (at.linear().width(), self.heads * self.head, self.inner);
        let qkv = self.path(Self::QKV);
        to.weight(&qkv, vec![3 * all as usize, read as usize], PARTS, to.filled(read));
        to.stacked_bias(&qkv, 3 * all, PARTS);
        to.linear(&self.path(Self::O), h, all, true);
        layer_norm::parameters(&self.path(Self::FIRST_NORM), h, to);
        to.linear(&self.path(Self::W1), inner, h, true);
        to.linear(&self.path(Self::W2), h, inner, true);
        layer_norm::parameters(&self.path(Self::LAST_NORM), h, to);
        let [length, read, h, all, inner] = [length, read, h, all, inner].map(u64::from);
        to.work(&[length, 3 * all * read + h * all + 2 * h * inner + 2 * length * all]);
        Ok(at.h)
    }

    fn nodes(
        &self,
        x: State<Value>,
        _relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let linear = matmul::Linear { bias: true, relu: false };
        let lengths = to.input(LENGTHS);
        let qkv = to.affine(&self.path(Self::QKV), linear, x.linear(), true)?;
        let mixed =
            to.add(&self.path("attention"), Attention { heads: self.heads }, &[qkv, lengths])?;
        let out = to.affine(&self.path(Self::O), linear, mixed, true)?;
        let [y, attended] = layer_norm::of_sum(&self.path(Self::FIRST_NORM), out, x.h, to)?;
        let inner = self.path(Self::W1);
        let wide = to.affine(&inner, linear, y, true)?;
        let wide = to.add(&inner, Activation::Gelu, &[wide])?;
        let out = to.affine(&self.path(Self::W2), linear, wide, true)?;
        let [z, sum] = layer_norm::of_sum(&self.path(Self::LAST_NORM), out, y, to)?;
        for (part, value) in [
            (Self::CONTEXTS, mixed),
            (Self::ATTENDED, attended),
            (Self::FIRST_NORM, y),
            (Self::INNER, wide),
            (Self::SUM, sum),
        ] {
            to.taps.insert(self.path(part), value);
        }
        Ok(z)
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        to.refuse(&self.name);
        x.h
    }

    /// More heads of the same size.
    fn widened(&self, by: Widening) -> Layer {
        let (heads, inner) = (self.heads * by.factor, self.inner * by.factor);
        Layer::Transformer(Self { heads, inner, ..self.clone() })
    }

    /// The sum reads the network's own state, which a merge leaves as it is.
    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Ok(vec![self.path(Self::QKV)])
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Transformer(self.clone())
    }
}
