//! What layers need to add themselves to a graph: the network's tensors as values, and notes of what is made.

use std::collections::BTreeMap;

use super::{Inputs, Layout};
use crate::{
    graph::{Graph, ShapeError, Value},
    ops::{Op, dropout::Dropout},
    random,
};

/// How layers run that do something else in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm normalises by the batch and moves the running statistics; dropout drops.
    Train,
    /// Batch norm normalises by the running statistics; dropout does nothing.
    Eval,
}

/// A network's tensors as values of a graph, by name, and what it reads beside what flows through it.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    pub(super) owner: String,
    values: BTreeMap<String, Value>,
    inputs: Inputs,
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
        Self { owner: owner.into(), values, inputs: Inputs::default() }
    }

    /// The same with the matrices (weights of linear layers and of convolutions) from the buffer `owner.halves`, which holds the parameters
    /// as f16, each where it lies in `owner.params`. Biases and what belongs to batch norms are few, and added to sums: they stay f32.
    pub fn with_f16(graph: &mut Graph, owner: &str, layout: &Layout) -> Self {
        let mut bound = Self::new(graph, owner, layout);
        let buffer = format!("{owner}.halves");
        for (name, slot) in layout.params.iter().filter(|(_, slot)| slot.shape.len() > 1) {
            let value = graph.named_half(&buffer, slot.offset, &slot.shape, name);
            bound.values.insert(name.clone(), value);
        }
        bound
    }

    /// The same with these inputs for layers that read others than what flows in.
    #[must_use]
    pub fn reading(self, inputs: &Inputs) -> Self {
        Self { inputs: inputs.clone(), ..self }
    }

    /// The value of a tensor.
    ///
    /// # Panics
    /// If the layout is not of the network that is built: a bug of ours.
    pub fn get(&self, name: &str) -> Value {
        *self.values.get(name).unwrap_or_else(|| panic!("the layout has no tensor {name}"))
    }
}

/// A batch's statistics of one layer, which lie in the flat buffer `owner.batch` as the running ones do in `owner.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch {
    /// First float.
    pub offset: u64,
    pub floats: u64,
    pub value: Value,
}

/// Where each layer adds its nodes.
pub(super) struct Builder<'a> {
    pub graph: &'a mut Graph,
    pub bound: &'a Bound,
    /// How the block that is being built runs.
    pub mode: Mode,
    /// The output of every named layer so far that is not fused into its successor.
    pub taps: BTreeMap<String, Value>,
    /// The batch's statistics of every layer so far that normalises by them.
    pub batches: Vec<Batch>,
}

impl Builder<'_> {
    /// An input of the network, beside what flows in.
    pub(super) fn input(&self, name: &str) -> Value {
        self.bound.inputs.get(name)
    }

    /// The value of the tensor `layer.part`.
    pub(super) fn tensor(&self, layer: &str, part: &str) -> Value {
        self.bound.get(&format!("{layer}.{part}"))
    }

    /// Adds a node under the name of its layer.
    pub(super) fn add(
        &mut self,
        layer: &str,
        op: impl Op + 'static,
        inputs: &[Value],
    ) -> Result<Value, ShapeError> {
        self.graph.scoped(layer, |graph| graph.add(op, inputs))
    }

    /// The dropout `name` with probability `p` of a zero; none in eval mode, or where nothing is dropped. What it drops is a function of its name,
    /// whatever else is in the graph.
    pub(super) fn dropout(&self, name: &str, p: f64) -> Option<Dropout> {
        let stream = random::key(&[random::name(name)]) as u32;
        (self.mode == Mode::Train && p > 0.0).then_some(Dropout { p: p as f32, stream })
    }

    /// Adds the dropout `name` of x, if there is one.
    pub(super) fn dropped(&mut self, name: &str, p: f64, x: Value) -> Result<Value, ShapeError> {
        match self.dropout(name, p) {
            Some(dropout) => self.add(name, dropout, &[x]),
            None => Ok(x),
        }
    }

    /// Adds a node that reads `x`, the layer's weight and, if it has one, its bias.
    pub(super) fn affine(
        &mut self,
        layer: &str,
        op: impl Op + 'static,
        x: Value,
        bias: bool,
    ) -> Result<Value, ShapeError> {
        let mut inputs = vec![x, self.tensor(layer, "weight")];
        if bias {
            inputs.push(self.tensor(layer, "bias"));
        }
        self.add(layer, op, &inputs)
    }
}
