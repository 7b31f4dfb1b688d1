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
    /// ε of both layer norms.
    pub eps: f64,
    /// Probability of a zero in what is added to a sum, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub dropout: f64,
    /// Probability of a zero among the attention's probabilities, in training.
    #[serde(default, skip_serializing_if = "nothing")]
    pub attention_dropout: f64,
}

/// How files call the parts of the matrix of queries, keys and values.
const NAMES: [&str; 3] = ["query", "key", "value"];
const PARTS: FileLayout = FileLayout::Stacked(NAMES);

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
        let dropout = to.dropout(&self.path("attention.self.dropout"), self.attention_dropout);
        let attention = Attention { heads: self.heads, dropout };
        let mixed = to.add(&self.path("attention"), attention, &[qkv, lengths])?;
        let out = to.affine(&self.path(Self::O), linear, mixed, true)?;
        let out = to.dropped(&self.path("attention.output.dropout"), self.dropout, out)?;
        let [y, attended] =
            layer_norm::of_sum(&self.path(Self::FIRST_NORM), out, x.h, self.eps, to)?;
        let inner = self.path(Self::W1);
        let wide = to.affine(&inner, linear, y, true)?;
        let wide = to.add(&inner, Activation::Gelu, &[wide])?;
        let out = to.affine(&self.path(Self::W2), linear, wide, true)?;
        let out = to.dropped(&self.path("output.dropout"), self.dropout, out)?;
        let [z, sum] = layer_norm::of_sum(&self.path(Self::LAST_NORM), out, y, self.eps, to)?;
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
        let (heads, head) = (i64::from(self.heads), i64::from(self.head));
        let apart = to.whole(&format!("attention.heads.{heads}x{head}"), &[0, 0, heads, head]);
        let together =
            to.whole(&format!("attention.features.{}", heads * head), &[0, 0, heads * head]);
        let read = x.clone().linear();
        // (N, L, heads · head) → (N, heads, L, head), and of the keys (N, heads, head, L).
        let [query, key, value] = NAMES.map(|name| {
            let name = self.path(&format!("attention.self.{name}"));
            let y = to.linear(&name, &read, true);
            let y = to.part("Reshape", &name, "heads", &[&y, &apart]);
            let order = if name.ends_with("key") { vec![0, 2, 3, 1] } else { vec![0, 2, 1, 3] };
            to.permuted(&format!("{name}.by_head"), &y, order)
        });
        let attention = self.path("attention.self");
        let scale = to
            .number(&format!("attention.scale.{head}"), (1.0 / f64::from(self.head).sqrt()) as f32);
        let mask = mask(to);
        let scores = to.part("MatMul", &attention, "products", &[&query, &key]);
        let scores = to.part("Mul", &attention, "scores", &[&scores, &scale]);
        let scores = to.part("Add", &attention, "masked", &[&scores, &mask]);
        let last = vec![("axis", onnx::Attribute::Int(-1))];
        let shares = to.node("Softmax", &format!("{attention}.shares"), &[&scores], last);
        let mixed = to.part("MatMul", &attention, "mixed", &[&shares, &value]);
        let mixed = to.permuted(&format!("{attention}.by_place"), &mixed, vec![0, 2, 1, 3]);
        let mixed = to.node("Reshape", &attention, &[&mixed, &together], Vec::new());
        let out = to.linear(&self.path("attention.output.dense"), &mixed, true);
        let sum = to.part("Add", &self.path("attention.output"), "sum", &[&out, &x.h]);
        let norm = self.path("attention.output.LayerNorm");
        let y = layer_norm::onnx_nodes(&norm, &sum, self.eps, to);
        let inner = self.path("intermediate.dense");
        let wide = to.linear(&inner, &y, true);
        let gelu = super::Activation { name: format!("{inner}.act"), function: Activation::Gelu };
        let wide = gelu.onnx(State::of(wide), to);
        let out = to.linear(&self.path("output.dense"), &wide, true);
        let sum = to.part("Add", &self.path("output"), "sum", &[&out, &y]);
        layer_norm::onnx_nodes(&self.path("output.LayerNorm"), &sum, self.eps, to)
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

/// What is added to the scores of all layers: 0 where a key is a token, the least number where it is padding; (N, 1, 1, L).
fn mask(to: &mut onnx::Nodes) -> String {
    const NAME: &str = "attention_mask.added";
    if to.has(NAME) {
        return NAME.into();
    }
    let (one, least) = (to.number("one", 1.0), to.number("attention.least", f32::MIN));
    let axes = to.whole("attention_mask.axes", &[1, 2]);
    let float = vec![("to", onnx::Attribute::Int(onnx::FLOAT))];
    let tokens = to.node("Cast", "attention_mask.tokens", &[onnx::ATTENTION_MASK], float);
    let padding = to.node("Sub", "attention_mask.padding", &[&one, &tokens], Vec::new());
    let padding = to.node("Unsqueeze", "attention_mask.of_keys", &[&padding, &axes], Vec::new());
    to.node("Mul", NAME, &[&padding, &least], Vec::new())
}
