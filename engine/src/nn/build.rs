//! A network as nodes of a graph.

use std::collections::BTreeMap;

use super::{Block, Layer, Layout, Network, Pair};
use crate::{
    graph::{Graph, ShapeError, Value},
    ops::{
        activation::Activation,
        batch_norm::{BatchNorm, Tensors},
        conv2d::Conv2d,
        count,
        elementwise::AddRelu,
        matmul::Linear,
        narrow,
        pool::{GlobalAvgPool, MaxPool},
    },
};

/// PyTorch's ε of batch normalisation.
const BN_EPS: f32 = 1e-5;
/// PyTorch's `momentum` of batch normalisation: running ← 0.9 running + 0.1 batch.
const BN_MOMENTUM: f32 = 0.1;

/// How batch norm normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By the batch, moving the running statistics.
    Train,
    /// By the running statistics.
    Eval,
}

/// A network's tensors as values of a graph, by name.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    values: BTreeMap<String, Value>,
}

impl Bound {
    /// The tensors of the network called `owner`: ranges of the buffers `owner.params` and `owner.state`.
    pub fn new(graph: &mut Graph, owner: &str, layout: &Layout) -> Self {
        let (params, state) = (format!("{owner}.params"), format!("{owner}.state"));
        let mut values = BTreeMap::new();
        for (buffer, slots, floats) in [
            (params, &layout.params, layout.param_floats),
            (state, &layout.state, layout.state_floats),
        ] {
            if floats > 0 {
                graph.buffer(&buffer, floats);
            }
            for (name, slot) in slots {
                let value = graph.named(&buffer, slot.offset, &slot.shape, name);
                values.insert(name.clone(), value);
            }
        }
        Self { values }
    }

    /// The value of a tensor.
    ///
    /// # Panics
    /// If the layout is not of the network that is built: a bug of ours.
    pub fn get(&self, name: &str) -> Value {
        *self.values.get(name).unwrap_or_else(|| panic!("the layout has no tensor {name}"))
    }
}

/// What [`build`] made.
#[derive(Debug, Clone, Default)]
pub struct Built {
    /// The output of each block that was built, after its lift.
    pub blocks: Vec<Value>,
    /// The nodes of each of these blocks.
    pub nodes: Vec<std::ops::Range<usize>>,
    /// The output of the last layer: logits, if the head was built.
    pub output: Option<Value>,
    /// The output of every named layer that is not fused into its successor.
    pub taps: BTreeMap<String, Value>,
}

/// Adds blocks `range` of a network, and its head if `range` reaches the end, on the input `x`.
///
/// `mode` is asked for each block (the head is block `blocks.len()`): frozen blocks are in eval mode.
///
/// # Errors
/// If a layer does not take what flows into it.
pub fn build(
    graph: &mut Graph,
    network: &Network,
    bound: &Bound,
    x: Value,
    range: std::ops::Range<usize>,
    mode: impl Fn(usize) -> Mode,
) -> Result<Built, ShapeError> {
    let mut built = Built::default();
    let mut at = x;
    for k in range.clone() {
        let Block { lower, layers, lift } = &network.blocks[k];
        let first = graph.nodes().len();
        let mut walk = Walk { graph, bound, mode: mode(k), taps: &mut built.taps };
        if let Some(pair) = lower {
            at = walk.pair(pair, at)?;
        }
        at = walk.layers(layers, at)?;
        if let Some(pair) = lift {
            at = walk.pair(pair, at)?;
        }
        built.blocks.push(at);
        built.nodes.push(first..graph.nodes().len());
    }
    if range.end == network.blocks.len() {
        let mut walk = Walk { graph, bound, mode: mode(range.end), taps: &mut built.taps };
        at = walk.layers(&network.head, at)?;
    }
    built.output = Some(at);
    Ok(built)
}

struct Walk<'a> {
    graph: &'a mut Graph,
    bound: &'a Bound,
    mode: Mode,
    taps: &'a mut BTreeMap<String, Value>,
}

impl Walk<'_> {
    fn pair(&mut self, pair: &Pair, x: Value) -> Result<Value, ShapeError> {
        let weight = self.bound.get(&format!("{}.weight", pair.name));
        let map = self.graph.shape(x).len() == 4;
        let value = self.graph.scoped(&pair.name, |g| match map {
            true => g.add(
                Conv2d { kernel: [1, 1], stride: [1, 1], pad: [0, 0], bias: false },
                &[x, weight],
            ),
            false => g.add(Linear { bias: false, relu: false }, &[x, weight]),
        })?;
        self.taps.insert(pair.name.clone(), value);
        Ok(value)
    }

    fn layers(&mut self, layers: &[Layer], mut at: Value) -> Result<Value, ShapeError> {
        let mut rest = layers;
        while let Some((layer, tail)) = rest.split_first() {
            // A ReLU behind a linear layer or a batch norm runs in its kernel.
            let fused = match (layer, tail.first()) {
                (
                    Layer::Linear { .. } | Layer::BatchNorm { .. },
                    Some(Layer::Activation { name, function: Activation::Relu }),
                ) => Some(name),
                _ => None,
            };
            at = self.layer(layer, at, fused.is_some())?;
            rest = tail;
            let name = match fused {
                Some(name) => {
                    rest = &tail[1..];
                    Some(name.as_str())
                }
                None => layer.name(),
            };
            if let Some(name) = name {
                self.taps.insert(name.into(), at);
            }
        }
        Ok(at)
    }

    fn layer(&mut self, layer: &Layer, x: Value, relu: bool) -> Result<Value, ShapeError> {
        let scope = layer.name().unwrap_or("pool").to_owned();
        let param = |part: &str| self.bound.get(&format!("{scope}.{part}"));
        match layer {
            Layer::Linear { bias, .. } => {
                let weight = param("weight");
                let bias_value = bias.then(|| param("bias"));
                let inputs: Vec<Value> = [x, weight].into_iter().chain(bias_value).collect();
                self.graph.scoped(&scope, |g| g.add(Linear { bias: *bias, relu }, &inputs))
            }
            Layer::Conv { kernel, stride, pad, .. } => {
                let (k, s, p) = (*kernel, *stride, *pad);
                let op = Conv2d { kernel: [k, k], stride: [s, s], pad: [p, p], bias: false };
                let weight = param("weight");
                self.graph.scoped(&scope, |g| g.add(op, &[x, weight]))
            }
            Layer::BatchNorm { .. } => {
                let tensors = Tensors {
                    gamma: param("weight"),
                    beta: param("bias"),
                    running_mean: param("running_mean"),
                    running_var: param("running_var"),
                };
                let op = BatchNorm { eps: BN_EPS, momentum: BN_MOMENTUM, relu };
                let mode = self.mode;
                self.graph.scoped(&scope, |g| match mode {
                    Mode::Train => op.train(g, x, &tensors),
                    Mode::Eval => op.eval(g, x, &tensors),
                })
            }
            Layer::Activation { function, .. } => {
                self.graph.scoped(&scope, |g| g.add(*function, &[x]))
            }
            Layer::MaxPool { kernel, stride, pad, .. } => {
                let op = MaxPool { kernel: [*kernel; 2], stride: [*stride; 2], pad: [*pad; 2] };
                self.graph.scoped(&scope, |g| g.add(op, &[x]))
            }
            Layer::GlobalAvgPool => self.graph.scoped(&scope, |g| g.add(GlobalAvgPool, &[x])),
            Layer::Flatten => {
                let shape = self.graph.shape(x).to_vec();
                let flat = [shape[0], narrow(count(&shape[1..]))];
                self.graph.view(x, &flat).ok_or_else(|| ShapeError::Inputs {
                    op: "flatten, which only a network's input may pass through,".into(),
                    path: scope,
                    shapes: format!("{shape:?}"),
                })
            }
            Layer::Unit { body, shortcut, .. } => {
                let long = self.layers(body, x)?;
                let short = self.layers(shortcut, x)?;
                self.graph.scoped(&scope, |g| g.add(AddRelu, &[long, short]))
            }
        }
    }
}
