//! The layers, with a file for each kind. A file holds all that is known of its kind, as an implementation of `Kind`. Code that walks over layers
//! calls that and does not match over kinds; only models, starts and model cards name kinds.

mod activation;
mod batch_norm;
mod bottleneck;
mod conv;
mod decoder;
mod embeddings;
mod first_token;
mod flatten;
mod global_avg_pool;
mod layer_norm;
mod linear;
mod max_pool;
mod places;
mod transformer;
mod unit;

use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use batch_norm::{BatchNorm, MOMENTUM};
pub use bottleneck::Bottleneck;
pub use conv::Conv;
pub use decoder::Decoder;
pub use embeddings::Embeddings;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use max_pool::MaxPool;
pub use places::Places;
pub use transformer::Transformer;
pub use unit::Unit;

pub(super) use batch_norm::{move_running, take_affine};

use first_token::FirstToken;
use flatten::Flatten;
use global_avg_pool::GlobalAvgPool;

use super::{Extent, NetworkError, State, builder::Builder, onnx, shapes::Inventory};
use crate::{
    config::Widen,
    graph::{ShapeError, Value},
    ops,
};

/// A layer. Only output widths are written down, input widths are inferred; so surgery is a map over widths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// y = x Wᵀ + b
    Linear(Linear),
    /// A square convolution, symmetric padding.
    Conv(Conv),
    /// Batch normalisation over all but the channels.
    BatchNorm(BatchNorm),
    /// An element-wise non-linearity.
    Activation(Activation),
    /// The largest value under a window.
    MaxPool(MaxPool),
    /// Mean over all positions: map → vector.
    GlobalAvgPool,
    /// Map → vector, in the order (H, W, C); only as a network's first layer.
    Flatten,
    /// A residual unit.
    Unit(Unit),
    /// What BERT makes of tokens.
    Embeddings(Embeddings),
    /// A layer of BERT's encoder.
    Transformer(Transformer),
    /// A thin layer of BERT's between two linear maps that stay.
    Bottleneck(Bottleneck),
    /// Layer normalisation of each position.
    LayerNorm(LayerNorm),
    /// Some positions of each sample.
    Places(Places),
    /// Scores of all words, by the table of the embeddings.
    Decoder(Decoder),
    /// The first token of each sample: sequence → vector.
    FirstToken,
}

impl Layer {
    fn kind(&self) -> &dyn Kind {
        match self {
            Layer::Linear(linear) => linear,
            Layer::Conv(conv) => conv,
            Layer::BatchNorm(norm) => norm,
            Layer::Activation(activation) => activation,
            Layer::MaxPool(pool) => pool,
            Layer::GlobalAvgPool => &GlobalAvgPool,
            Layer::Flatten => &Flatten,
            Layer::Unit(unit) => unit,
            Layer::Embeddings(embeddings) => embeddings,
            Layer::Transformer(transformer) => transformer,
            Layer::Bottleneck(bottleneck) => bottleneck,
            Layer::LayerNorm(norm) => norm,
            Layer::Places(places) => places,
            Layer::Decoder(decoder) => decoder,
            Layer::FirstToken => &FirstToken,
        }
    }

    /// What is known of it without any computation.
    pub fn facts(&self) -> Facts<'_> {
        self.kind().facts()
    }

    /// The layer's name; the pools without parameters or taps have none.
    pub fn name(&self) -> Option<&str> {
        self.facts().name
    }

    fn is_relu(&self) -> bool {
        matches!(
            self,
            Layer::Activation(Activation { function: ops::activation::Activation::Relu, .. })
        )
    }
}

/// What every kind of layer answers. No method has a default: a new kind compiles when it has answered all of them.
trait Kind {
    /// See [`Facts`].
    fn facts(&self) -> Facts<'_>;

    /// What it puts out where `at` flows in, of which it reads `h`; notes its parameters and its multiply-adds.
    ///
    /// # Errors
    /// [`NetworkError::Layer`] if it does not take that.
    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError>;

    /// Adds its nodes on the input `x`; its output. With `relu`, the ReLU that stands behind it runs in its kernel (see [`Facts::takes_relu`]).
    ///
    /// # Errors
    /// If `x` is not what it takes.
    fn nodes(&self, x: State<Value>, relu: bool, to: &mut Builder<'_>)
    -> Result<Value, ShapeError>;

    /// Adds its nodes of ONNX on the value called `x`; the name of its output.
    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String;

    /// The layer that the teacher has in its place.
    fn widened(&self, by: Widening) -> Layer;

    /// Paths of all linear maps that read what flows in, where `behind` are the layers behind it: what a pair folds into.
    ///
    /// # Errors
    /// What else reads it, in words.
    fn readers(&self, behind: &[Layer]) -> Result<Vec<String>, String>;

    /// The layer as it runs in eval mode. With `norm` it takes in the batch norm behind it (see [`Facts::takes_norm`]). Notes in `folds` the
    /// batch norms that layers inside of it take in.
    fn folded(&self, norm: bool, folds: &mut Vec<Fold>) -> Layer;
}

/// What is known of a layer without any computation. There is no default, so a new kind has to say all of it, or that it is `Facts::NAMELESS`.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its name: the path of its parameters and of its output.
    pub name: Option<&'a str>,
    /// The width that it gives its output, if it has one of its own and does not pass on that of its input.
    pub width: Option<u32>,
    /// The layers inside of it: those of the body and those of the shortcut.
    pub inside: [&'a [Layer]; 2],
    /// Whether a ReLU behind it runs in its kernel.
    pub takes_relu: bool,
    /// Whether it can take in a batch norm behind it in eval mode, when the statistics are constants.
    pub takes_norm: bool,
    /// Whether it reads what flows in by linear maps alone, or commutes with those that do: then it reads the lifted state.
    pub reads_lifted: bool,
    /// Whether it is a batch norm: in training it normalises by the batch.
    pub is_norm: bool,
    /// Positions of each sample that it asks for by the input `places`.
    pub places: Option<u32>,
    /// Whether units of its output can be dead, that is, the same number for every input.
    pub can_die: bool,
}

impl Facts<'static> {
    /// Of a layer that only chooses, orders or averages what flows in: it has neither a name nor a parameter and keeps the width, and a linear map before it may as
    /// well stand behind it.
    const NAMELESS: Self = Self {
        name: None,
        width: None,
        inside: [&[], &[]],
        takes_relu: false,
        takes_norm: false,
        reads_lifted: true,
        is_norm: false,
        places: None,
        can_die: false,
    };
}

/// A batch norm that is part of the layer before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fold {
    /// Path of the layer that has taken it in.
    pub into: String,
    /// Path of the batch norm.
    pub norm: String,
}

/// How a layer is widened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Widening {
    /// How many times as wide.
    factor: u32,
    /// Which channels.
    how: Widen,
    /// Where the layer stands.
    stands: Stands,
}

/// Where a layer stands, as far as widening goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// In a block, outside of a unit.
    InBlock,
    /// In a block that ends in a bottleneck: what flows into that is as wide as the teacher's already.
    BeforeBottleneck,
    /// In a unit, before the one that gives the unit its width.
    InUnit,
    /// At a unit's end: it gives the unit its width, or brings the shortcut to it.
    AtEnd,
}

/// What a layer reads of a state. A unit is handed both, and its layers choose.
fn read<T>(layer: &Layer, state: State<T>) -> State<T> {
    if layer.facts().reads_lifted { State::of(state.linear()) } else { state }
}

/// Infers the extents of layers in sequence, the first of which reads what flows in; returns that of the last one's output.
pub(super) fn shape(
    layers: &[Layer],
    mut at: State<Extent>,
    to: &mut Inventory,
) -> Result<Extent, NetworkError> {
    for layer in layers {
        at = State::of(layer.kind().shape(read(layer, at), to)?);
        if let Some(name) = layer.name() {
            to.layers.push((name.into(), at.h));
        }
    }
    Ok(at.h)
}

/// Adds the nodes of layers in sequence, the first of which reads what flows in; returns the last one's output.
pub(super) fn nodes(
    layers: &[Layer],
    mut x: State<Value>,
    to: &mut Builder<'_>,
) -> Result<Value, ShapeError> {
    let mut rest = layers;
    while let Some((layer, tail)) = rest.split_first() {
        let relu = tail.first().filter(|next| layer.facts().takes_relu && next.is_relu());
        x = State::of(layer.kind().nodes(read(layer, x), relu.is_some(), to)?);
        if let Some(name) = relu.unwrap_or(layer).name() {
            to.taps.insert(name.into(), x.h);
        }
        rest = &tail[usize::from(relu.is_some())..];
    }
    Ok(x.h)
}

/// Nodes of ONNX of layers one behind the other, the first of which reads what flows in; the name of what the last puts out.
pub fn onnx(layers: &[Layer], x: State<String>, to: &mut onnx::Nodes) -> String {
    layers.iter().fold(x, |x, layer| State::of(layer.kind().onnx(read(layer, x), to))).h
}

/// A block's layers, widened.
pub fn widened(layers: &[Layer], factor: u32, how: Widen) -> Vec<Layer> {
    let stands = if is_bottleneck(layers) { Stands::BeforeBottleneck } else { Stands::InBlock };
    let by = Widening { factor, how, stands };
    layers.iter().map(|layer| layer.kind().widened(by)).collect()
}

/// Whether a block of these layers ends in a linear map of its own to the width of its state: then no pair is needed behind it.
pub(super) fn is_bottleneck(layers: &[Layer]) -> bool {
    matches!(layers.last(), Some(Layer::Bottleneck(_)))
}

/// Paths of the linear maps that read what flows into these layers: all of them, on every way.
///
/// # Errors
/// What else reads it, in words.
pub fn readers(layers: &[Layer]) -> Result<Vec<String>, String> {
    match layers.split_first() {
        Some((first, behind)) => first.kind().readers(behind),
        None => Err("the end of the network".into()),
    }
}

/// Layers as they run in eval mode; notes the batch norms that are taken in.
pub(super) fn folded(layers: &[Layer], folds: &mut Vec<Fold>) -> Vec<Layer> {
    let (mut rest, mut all) = (layers, Vec::with_capacity(layers.len()));
    while let Some((layer, tail)) = rest.split_first() {
        let fold = tail.first().and_then(|next| {
            let (own, norm) = (layer.facts(), next.facts());
            let fold = Fold { into: own.name?.into(), norm: norm.name?.into() };
            (own.takes_norm && norm.is_norm).then_some(fold)
        });
        all.push(layer.kind().folded(fold.is_some(), folds));
        rest = &tail[usize::from(fold.is_some())..];
        folds.extend(fold);
    }
    all
}

/// The batch norms among layers and inside of them, by name.
pub(super) fn batch_norms(layers: &[Layer]) -> Vec<&str> {
    let mut names = Vec::new();
    for facts in layers.iter().map(Layer::facts) {
        names.extend(facts.name.filter(|_| facts.is_norm));
        names.extend(facts.inside.into_iter().flat_map(batch_norms));
    }
    names
}

/// Whether a probability is 0: then files do not have it.
fn nothing(p: &f64) -> bool {
    *p == 0.0
}

/// The error that a layer does not take what flows in.
fn refused(layer: &str, got: impl std::fmt::Display) -> NetworkError {
    NetworkError::Layer { layer: layer.into(), got: got.to_string() }
}
