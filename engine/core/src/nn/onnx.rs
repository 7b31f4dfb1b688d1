//! A network as nodes of ONNX, as plain data; `formats::onnx` writes them as a file.

use std::collections::BTreeSet;

/// The input of ids of tokens, as transformers calls it; (N, L).
pub const INPUT_IDS: &str = "input_ids";
/// The input that is 1 where a token is no padding; (N, L).
pub const ATTENTION_MASK: &str = "attention_mask";
/// The input of each token's segment; (N, L).
pub const TOKEN_TYPE_IDS: &str = "token_type_ids";
/// ONNX's number of the type of 32-bit floats.
pub const FLOAT: i64 = 1;

/// An operation with one output, which has the node's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its operator.
    pub op: &'static str,
    /// Its name and its output's: the layer's path, or a part of it.
    pub name: String,
    /// Names of the values and tensors that it reads.
    pub inputs: Vec<String>,
    /// The operator's attributes.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
}

/// A tensor that nodes read.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// The parameter of this name, as files have it.
    Parameter(String),
    /// A number under this name.
    Number(String, f32),
    /// Whole numbers under this name.
    Whole(String, Vec<i64>),
}

/// Where each layer writes its nodes.
#[derive(Debug)]
pub struct Nodes {
    /// Nodes, each behind those whose outputs it reads.
    pub nodes: Vec<Node>,
    /// The tensors that they read besides each other's outputs, each once.
    pub given: Vec<Given>,
    /// Names of values and tensors.
    taken: BTreeSet<String>,
    /// Whether sequences flow, whose last axis of three has the features.
    sequences: bool,
}

impl Nodes {
    /// No nodes yet, over inputs of these names; of a network on sequences, or on vectors and maps.
    pub fn new(inputs: &[&str], sequences: bool) -> Self {
        let taken = inputs.iter().map(|&input| input.to_owned()).collect();
        Self { nodes: Vec::new(), given: Vec::new(), taken, sequences }
    }

    /// Adds a node; the name of its output, which is `name` or, where that is taken, one that begins with it.
    pub(super) fn node(
        &mut self,
        op: &'static str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let mut name = name.to_owned();
        while !self.taken.insert(name.clone()) {
            name = format!("{name}.{}", self.nodes.len());
        }
        let inputs = inputs.iter().map(|&input| input.into()).collect();
        self.nodes.push(Node { op, name: name.clone(), inputs, attributes });
        name
    }

    /// Adds a node that reads `x` and parameters of its layer.
    pub(super) fn with_parameters(
        &mut self,
        op: &'static str,
        layer: &str,
        x: &str,
        parts: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let names: Vec<String> =
            parts.iter().map(|part| self.parameter(&format!("{layer}.{part}"))).collect();
        let inputs: Vec<&str> = [x].into_iter().chain(names.iter().map(String::as_str)).collect();
        self.node(op, layer, &inputs, attributes)
    }

    /// Adds a node that reads `x`, the layer's weight and, if it has one, its bias.
    pub(super) fn affine(
        &mut self,
        op: &'static str,
        layer: &str,
        x: &str,
        bias: bool,
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let parts = if bias { &["weight", "bias"][..] } else { &["weight"] };
        self.with_parameters(op, layer, x, parts, attributes)
    }

    /// Adds y = x Wᵀ + b of a layer: Gemm takes a vector, MatMul positions of any number.
    pub(super) fn linear(&mut self, layer: &str, x: &str, bias: bool) -> String {
        match (self.sequences, bias) {
            (false, _) => self.affine("Gemm", layer, x, bias, vec![("transB", Attribute::Int(1))]),
            (true, false) => self.product(layer, x, layer),
            (true, true) => {
                let product = self.product(&format!("{layer}.product"), x, layer);
                self.with_parameters("Add", layer, &product, &["bias"], Vec::new())
            }
        }
    }

    /// Adds the product of positions with the matrix of a layer, x Wᵀ, as a node of this name. A matrix is transposed once.
    pub(super) fn product(&mut self, name: &str, x: &str, layer: &str) -> String {
        let turned = format!("{layer}.weight.transposed");
        if !self.has(&turned) {
            let weight = self.parameter(&format!("{layer}.weight"));
            self.permuted(&turned, &weight, vec![1, 0]);
        }
        self.node("MatMul", name, &[x, &turned], Vec::new())
    }

    /// Adds a node that puts axes in another order.
    pub(super) fn permuted(&mut self, name: &str, x: &str, order: Vec<i64>) -> String {
        self.node("Transpose", name, &[x], vec![("perm", Attribute::Ints(order))])
    }

    /// Adds a node of each name for the columns of the scores `x` of positions, in order.
    pub fn columns(&mut self, x: &str, names: &[&str]) {
        let axes = self.whole("columns.axes", &[2]);
        for (column, name) in (0..).zip(names) {
            let place = self.whole(&format!("{name}.column"), &[column]);
            let axis = vec![("axis", Attribute::Int(2))];
            let one = self.node("Gather", &format!("{name}.one"), &[x, &place], axis);
            self.node("Squeeze", name, &[&one, &axes], Vec::new());
        }
    }

    /// Whether a value or a tensor of this name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.taken.contains(name)
    }

    /// Adds a node `layer.part`, one of several of a layer, without attributes.
    pub(super) fn part(
        &mut self,
        op: &'static str,
        layer: &str,
        part: &str,
        inputs: &[&str],
    ) -> String {
        self.node(op, &format!("{layer}.{part}"), inputs, Vec::new())
    }

    /// A parameter by its name in files; that name.
    pub(super) fn parameter(&mut self, name: &str) -> String {
        self.give(Given::Parameter(name.into()), name);
        name.into()
    }

    /// Whole numbers that operators take as a tensor; its name.
    pub(super) fn whole(&mut self, name: &str, values: &[i64]) -> String {
        self.give(Given::Whole(name.into(), values.to_vec()), name);
        name.into()
    }

    /// A number that operators take as a tensor; its name.
    pub(super) fn number(&mut self, name: &str, value: f32) -> String {
        self.give(Given::Number(name.into(), value), name);
        name.into()
    }

    fn give(&mut self, given: Given, name: &str) {
        if self.taken.insert(name.into()) {
            self.given.push(given);
        }
    }
}

/// The attributes of a convolution or a pool with square windows.
pub(super) fn windows(kernel: u32, stride: u32, pad: u32) -> Vec<(&'static str, Attribute)> {
    let all = |n: u32, count: usize| Attribute::Ints(vec![n.into(); count]);
    vec![("kernel_shape", all(kernel, 2)), ("strides", all(stride, 2)), ("pads", all(pad, 4))]
}
