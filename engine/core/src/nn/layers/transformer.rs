//! A layer of BERT's encoder, with its layer norms behind the sums.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening, layer_norm, nothing, refused};
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
    /// Probability of a zero in what is added to a sum, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dropout: f64,
    /// Probability of a zero among the attention's probabilities, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub attention_dropout: f64,
}

/// Queries, keys and values as one matrix, and how files call its parts.
const QKV: &str = "attention.self.qkv";
const PARTS: FileLayout = FileLayout::Stacked(["query", "key", "value"]);

impl Transformer {
    fn path(&self, part: &str) -> String {
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
        let qkv = self.path(QKV);
        to.weight(&qkv, vec![3 * all as usize, read as usize], PARTS, to.filled(read));
        to.stacked_bias(&qkv, 3 * all, PARTS);
        to.linear(&self.path("attention.output.dense"), h, all, true);
        layer_norm::parameters(&self.path("attention.output.LayerNorm"), h, to);
        to.linear(&self.path("intermediate.dense"), inner, h, true);
        to.linear(&self.path("output.dense"), h, inner, true);
        layer_norm::parameters(&self.path("output.LayerNorm"), h, to);
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
        let qkv = to.affine(&self.path(QKV), linear, x.linear(), true)?;
        let dropout = to.dropout(&self.path("attention.self.dropout"), self.attention_dropout);
        let attention = Attention { heads: self.heads, dropout };
        let mixed = to.add(&self.path("attention"), attention, &[qkv, lengths])?;
        let out = to.affine(&self.path("attention.output.dense"), linear, mixed, true)?;
        let out = to.dropped(&self.path("attention.output.dropout"), self.dropout, out)?;
        let norm = self.path("attention.output.LayerNorm");
        let y = layer_norm::normalised(&norm, out, Some(x.h), to)?;
        let inner = self.path("intermediate.dense");
        let wide = to.affine(&inner, linear, y, true)?;
        let wide = to.add(&inner, Activation::Gelu, &[wide])?;
        let out = to.affine(&self.path("output.dense"), linear, wide, true)?;
        let out = to.dropped(&self.path("output.dropout"), self.dropout, out)?;
        layer_norm::normalised(&self.path("output.LayerNorm"), out, Some(y), to)
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
        Ok(vec![self.path(QKV)])
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::Transformer(self.clone())
    }
}
