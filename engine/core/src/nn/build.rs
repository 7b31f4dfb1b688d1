//! A network as nodes of a graph.

use std::collections::BTreeMap;

use super::{Block, Layer, Layout, Network, Pair};
use crate::{
    graph::{Graph, Home, ShapeError, Value},
    ops::{
        activation::Activation,
        batch_norm::{BatchNorm, Running, Tensors},
        conv2d::Conv2d,
        count,
        elementwise::AddRelu,
        matmul::Linear,
        narrow,
        pool::{GlobalAvgPool, MaxPool},
    },
};

/// PyTorch's ε of batch normalisation.
pub const BN_EPS: f32 = 1e-5;
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
    owner: String,
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
        Self { owner: owner.into(), values }
    }

    /// The same with the matrices (weights of linear layers and of convolutions) from the buffer `owner.halves`, which holds the parameters
    /// as f16, each where it lies in `owner.params`. Biases and what belongs to batch norms are few, and added to sums: they stay f32.
    pub fn halved(graph: &mut Graph, owner: &str, layout: &Layout) -> Self {
        let mut bound = Self::new(graph, owner, layout);
        let buffer = format!("{owner}.halves");
        for (name, slot) in layout.params.iter().filter(|(_, slot)| slot.shape.len() > 1) {
            let value = graph.named_half(&buffer, slot.offset, &slot.shape, name);
            bound.values.insert(name.clone(), value);
        }
        bound
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

/// Adds blocks `range` of a network, and its head if `range` reaches the end, on the input `x`. The batch's statistics of layers in
/// train mode lie in the buffer `owner.batch` as the running ones do in `owner.state`, which they move.
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
    let mut batches = Vec::new();
    let mut at = x;
    for k in range.clone() {
        let Block { lower, layers, lift } = &network.blocks[k];
        let first = graph.nodes().len();
        let (taps, batches) = (&mut built.taps, &mut batches);
        let mut walk = Walk { graph, bound, mode: mode(k), taps, batches };
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
        let (taps, batches) = (&mut built.taps, &mut batches);
        let mut walk = Walk { graph, bound, mode: mode(range.end), taps, batches };
        at = walk.layers(&network.head, at)?;
    }
    move_running(graph, bound, batches)?;
    built.output = Some(at);
    Ok(built)
}

/// A batch's statistics in the flat buffer: first float, floats, value.
type Batch = (u64, u64, Value);

/// Moves the running statistics of all these layers: one dispatch for each run of neighbours, which is one unless layers between
/// them are frozen.
fn move_running(
    graph: &mut Graph,
    bound: &Bound,
    mut batches: Vec<Batch>,
) -> Result<(), ShapeError> {
    batches.sort_unstable();
    for run in batches.chunk_by(|a, b| a.0 + a.1 == b.0) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let (first, end) = (first.0, last.0 + last.1);
        let values: Vec<Value> = run.iter().map(|batch| batch.2).collect();
        let ranges = ["batch", "state"].map(|part| {
            let buffer = format!("{}.{part}", bound.owner);
            graph.named(&buffer, first, &[narrow(end - first)], &buffer)
        });
        let running = Running { momentum: BN_MOMENTUM };
        graph.scoped(&bound.owner, |g| g.add_after(running, &ranges, &values))?;
    }
    Ok(())
}

struct Walk<'a> {
    graph: &'a mut Graph,
    bound: &'a Bound,
    mode: Mode,
    taps: &'a mut BTreeMap<String, Value>,
    batches: &'a mut Vec<Batch>,
}

impl Walk<'_> {
    fn pair(&mut self, pair: &Pair, x: Value) -> Result<Value, ShapeError> {
        let weight = self.bound.get(&format!("{}.weight", pair.name));
        let map = self.graph.shape(x).len() == 4;
        let value = self.graph.scoped(&pair.name, |g| match map {
            true => g.add(
                Conv2d { kernel: [1, 1], stride: [1, 1], pad: [0, 0], bias: false, relu: false },
                &[x, weight],
            ),
            false => g.add(Linear { bias: false, relu: false }, &[x, weight]),
        })?;
        self.taps.insert(pair.name.clone(), value);
        Ok(value)
    }

    /// Puts a batch's statistics where the running ones lie in their buffer: the variance behind the mean.
    fn place_batch(&mut self, layer: &Tensors, batch: Value) {
        let offset = |value| match self.graph.tensor_of(value).home {
            Home::Named { offset, .. } => offset,
            Home::Temporary => unreachable!("a layout places every tensor"),
        };
        let (first, second) = (offset(layer.running_mean), offset(layer.running_var));
        let floats = count(self.graph.shape(batch));
        assert_eq!(2 * (second - first), floats, "the variance lies behind the mean");
        self.graph.place(batch, &format!("{}.batch", self.bound.owner), first);
        self.batches.push((first, floats, batch));
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
            Layer::Conv { kernel, stride, pad, bias, .. } => {
                let (k, s, p, bias) = (*kernel, *stride, *pad, *bias);
                let op = Conv2d { kernel: [k, k], stride: [s, s], pad: [p, p], bias, relu: false };
                let weight = param("weight");
                let bias = bias.then(|| param("bias"));
                let inputs: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
                self.graph.scoped(&scope, |g| g.add(op, &inputs))
            }
            Layer::BatchNorm { .. } => {
                let tensors = Tensors {
                    gamma: param("weight"),
                    beta: param("bias"),
                    running_mean: param("running_mean"),
                    running_var: param("running_var"),
                };
                let op = BatchNorm { eps: BN_EPS, relu };
                match self.mode {
                    Mode::Train => {
                        let Tensors { gamma, beta, .. } = tensors;
                        let trained = self.graph.scoped(&scope, |g| op.train(g, x, gamma, beta))?;
                        self.place_batch(&tensors, trained.batch);
                        Ok(trained.y)
                    }
                    Mode::Eval => self.graph.scoped(&scope, |g| op.eval(g, x, &tensors)),
                }
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
