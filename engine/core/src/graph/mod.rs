//! A network with its loss and its gradients, as data.
//!
//! Nodes stand in the order in which they run. A [`Value`] is a tensor: either a temporary, which the plan leases a buffer for,
//! or a range of a named buffer (parameters, batch, metrics).

mod autodiff;
mod fuse;
mod recompute;

use std::{collections::BTreeMap, rc::Rc};

use thiserror::Error;

use crate::ops::{self, AdapterKind, Gradients, Op, Operands, Shape, Storage};

/// A tensor must have fewer elements than this: at four bytes each, its size then fits a `u32`, with which shaders index.
const MAX_ELEMENTS: u64 = 1 << 30;

/// A tensor of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(usize);

impl Value {
    /// Its place in the graph's list of tensors.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a tensor lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// In a leased buffer, from the node that writes it to the last that reads it.
    Temporary,
    /// In the named buffer, from this number on.
    Named {
        /// Label of the buffer.
        buffer: String,
        /// First number; a multiple of 64, or of 128 where numbers are f16, so that the range starts at 256 bytes.
        offset: u64,
    },
}

/// A tensor's shape, name and place.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// Name, for labels and errors.
    pub label: String,
    /// Where it lives.
    pub home: Home,
    /// How its numbers lie there. Of temporaries the plan decides it.
    pub storage: Storage,
}

impl Tensor {
    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.storage.range(ops::count(&self.shape))
    }
}

/// A node of the graph, which becomes one dispatch.
#[derive(Debug, Clone)]
pub struct Node {
    /// The operation.
    pub op: Rc<dyn Op>,
    /// Inputs, in binding order.
    pub inputs: Vec<Value>,
    /// Outputs, in binding order.
    pub outputs: Vec<Value>,
    /// Values that must be written before this node runs though it does not name them (the gradients of a flat buffer).
    pub after: Vec<Value>,
    /// Inputs that are updated in place; such a node is never dropped.
    pub updates: &'static [usize],
    /// `scope/op`, for the profiler and the buffers' labels.
    pub label: String,
}

/// Shapes that do not fit an operation.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum ShapeError {
    /// The op cannot take inputs of these shapes.
    #[error("{op} at {path} does not take inputs of shape {shapes}")]
    Inputs {
        /// The op with its attributes.
        op: String,
        /// The scope, `layer1.0.conv1` say.
        path: String,
        /// The shapes given.
        shapes: String,
    },
    /// A tensor is too large for any plan.
    #[error("tensor {path} of shape {shape} has {elements} elements; 1 to 2^30 - 1 are allowed")]
    Size {
        /// The tensor's label.
        path: String,
        /// Its shape.
        shape: String,
        /// Its number of elements.
        elements: u64,
    },
    /// A gradient was asked for where none exists.
    #[error("{path} has no gradient with respect to {wrt}")]
    NoGradient {
        /// The loss.
        path: String,
        /// The tensor.
        wrt: String,
    },
}

/// Nodes and tensors, in order; see the module.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    buffers: BTreeMap<String, u64>,
    kept: Vec<Value>,
    scope: Vec<String>,
    f16: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the named buffer `label` with at least `floats` 4-byte words.
    pub fn buffer(&mut self, label: &str, floats: u64) {
        let size = self.buffers.entry(label.into()).or_default();
        *size = (*size).max(floats);
    }

    /// A tensor of a named buffer, from float `offset` on; the buffer grows to hold it.
    pub fn named(&mut self, buffer: &str, offset: u64, shape: &[u32], label: &str) -> Value {
        debug_assert_eq!(offset % 64, 0, "{label}: ranges start at 256 bytes");
        self.buffer(buffer, offset + ops::count(shape));
        let home = Home::Named { buffer: buffer.into(), offset };
        self.tensor(Tensor {
            shape: shape.into(),
            label: label.into(),
            home,
            storage: Storage::F32,
        })
    }

    /// As [`Self::named`], of numbers that are stored as f16, from number `offset` on.
    pub fn named_half(&mut self, buffer: &str, offset: u64, shape: &[u32], label: &str) -> Value {
        debug_assert_eq!(offset % 128, 0, "{label}: ranges start at 256 bytes");
        self.buffer(buffer, (offset + ops::count(shape)).div_ceil(2));
        let home = Home::Named { buffer: buffer.into(), offset };
        self.tensor(Tensor {
            shape: shape.into(),
            label: label.into(),
            home,
            storage: Storage::F16,
        })
    }

    /// Lets plans store this graph's activations, and their gradients, as f16: temporaries of two axes or more, where every kernel
    /// that reads or writes one supports that. Vectors and scalars are sums, and stay f32; so do outputs that an op calls exact.
    pub fn store_f16(&mut self) {
        self.f16 = true;
    }

    /// Whether [`Self::store_f16`] was called.
    pub fn stores_f16(&self) -> bool {
        self.f16
    }

    /// Sets how a temporary is stored.
    pub(crate) fn store(&mut self, value: Value, storage: Storage) {
        self.tensors[value.0].storage = storage;
    }

    /// A named buffer of its own: a batch's images, its labels.
    pub fn input(&mut self, label: &str, shape: &[u32]) -> Value {
        self.named(label, 0, shape, label)
    }

    /// The same numbers of a named buffer with other extents; `None` for a temporary or another number of elements.
    pub fn view(&mut self, value: Value, shape: &[u32]) -> Option<Value> {
        let tensor = self.tensor_of(value).clone();
        let same = ops::count(&tensor.shape) == ops::count(shape);
        (same && tensor.home != Home::Temporary)
            .then(|| self.tensor(Tensor { shape: shape.into(), ..tensor }))
    }

    fn tensor(&mut self, tensor: Tensor) -> Value {
        self.tensors.push(tensor);
        Value(self.tensors.len() - 1)
    }

    /// Makes a temporary live in a named buffer and be written even if no node reads it.
    ///
    /// # Panics
    /// If the value has a home already: a value is placed once.
    pub fn place(&mut self, value: Value, buffer: &str, offset: u64) {
        self.buffer(buffer, offset + ops::count(self.shape(value)));
        self.settle(value, buffer, offset);
    }

    /// As [`Self::place`], in a buffer whose numbers are stored as f16, from number `offset` on.
    ///
    /// # Panics
    /// As [`Self::place`].
    pub fn place_f16(&mut self, value: Value, buffer: &str, offset: u64) {
        self.buffer(buffer, (offset + ops::count(self.shape(value))).div_ceil(2));
        self.settle(value, buffer, offset);
        self.store(value, Storage::F16);
    }

    fn settle(&mut self, value: Value, buffer: &str, offset: u64) {
        let tensor = &mut self.tensors[value.0];
        assert_eq!(tensor.home, Home::Temporary, "{} is placed twice", tensor.label);
        tensor.home = Home::Named { buffer: buffer.into(), offset };
        self.kept.push(value);
    }

    /// Runs `build` with `name` put before the labels of what it adds.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let result = build(self);
        self.scope.pop();
        result
    }

    /// Adds a node and returns its first output.
    ///
    /// # Errors
    /// If the shapes do not fit the op.
    pub fn add(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Result<Value, ShapeError> {
        Ok(self.add_all(op, inputs)?[0])
    }

    /// Adds a node and returns its outputs.
    ///
    /// # Errors
    /// If the shapes do not fit the op.
    pub fn add_all(
        &mut self,
        op: impl Op + 'static,
        inputs: &[Value],
    ) -> Result<Vec<Value>, ShapeError> {
        self.add_after(op, inputs, &[])
    }

    /// Adds a node that runs after `after` were written though it does not read them by name.
    ///
    /// # Errors
    /// If the shapes do not fit the op.
    pub fn add_after(
        &mut self,
        op: impl Op + 'static,
        inputs: &[Value],
        after: &[Value],
    ) -> Result<Vec<Value>, ShapeError> {
        let shapes: Vec<&[u32]> = inputs.iter().map(|&v| self.shape(v)).collect();
        let path = self.scope.join(".");
        let Some(launch) = op.launch(&shapes, AdapterKind::Cpu) else {
            let shapes = shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
            return Err(ShapeError::Inputs { op: format!("{op:?}"), path, shapes });
        };
        let label = format!("{path}/{}.{}", launch.kernel.file, launch.kernel.entry);
        let mut outputs = Vec::with_capacity(launch.outputs.len());
        for (k, shape) in launch.outputs.into_iter().enumerate() {
            let elements = ops::count(&shape);
            if elements >= MAX_ELEMENTS || elements == 0 {
                return Err(ShapeError::Size {
                    path: label,
                    shape: format!("{shape:?}"),
                    elements,
                });
            }
            let label = if k == 0 { label.clone() } else { format!("{label}#{k}") };
            let (home, storage) = (Home::Temporary, Storage::F32);
            outputs.push(self.tensor(Tensor { shape, label, home, storage }));
        }
        self.nodes.push(Node {
            op: Rc::new(op),
            inputs: inputs.into(),
            outputs: outputs.clone(),
            after: after.into(),
            updates: launch.updates,
            label,
        });
        Ok(outputs)
    }

    /// A tensor's extents.
    pub fn shape(&self, value: Value) -> &[u32] {
        &self.tensors[value.0].shape
    }

    /// A tensor.
    pub fn tensor_of(&self, value: Value) -> &Tensor {
        &self.tensors[value.0]
    }

    /// All tensors, by [`Value::index`].
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Whether a tensor lives in a leased buffer.
    pub fn is_temporary(&self, value: Value) -> bool {
        self.tensor_of(value).home == Home::Temporary
    }

    /// The nodes, in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The named buffers and their sizes in 4-byte words.
    pub fn buffers(&self) -> &BTreeMap<String, u64> {
        &self.buffers
    }

    /// For each tensor, the first one that is the same range of the same named buffer. For all but views that is the tensor itself.
    pub fn places(&self) -> Vec<usize> {
        let mut first = BTreeMap::new();
        let place = |(k, tensor): (usize, &Tensor)| match &tensor.home {
            Home::Temporary => k,
            Home::Named { buffer, offset } => {
                *first.entry((buffer.clone(), *offset, ops::count(&tensor.shape))).or_insert(k)
            }
        };
        self.tensors.iter().enumerate().map(place).collect()
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// For each node, whether it is worth running: it updates something in place, writes a placed value, or writes what
    /// such a node needs.
    pub fn live(&self) -> Vec<bool> {
        let mut needed = vec![false; self.tensors.len()];
        for value in &self.kept {
            needed[value.0] = true;
        }
        let mut live = vec![false; self.nodes.len()];
        for (k, node) in self.nodes.iter().enumerate().rev() {
            live[k] = !node.updates.is_empty() || node.outputs.iter().any(|v| needed[v.0]);
            if live[k] {
                for value in node.inputs.iter().chain(&node.after) {
                    needed[value.0] = true;
                }
            }
        }
        live
    }

    fn vjp(&mut self, node: usize, dy: Value) -> Gradients {
        let Node { op, inputs, outputs, .. } = self.nodes[node].clone();
        op.vjp(self, Operands { inputs: &inputs, outputs: &outputs }, dy)
    }
}
