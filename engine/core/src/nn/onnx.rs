//! A network as nodes of ONNX, as plain data; `formats::onnx` writes them as a file.

use std::collections::BTreeSet;

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
    /// The first layer that has no nodes.
    pub refused: Option<String>,
}

impl Nodes {
    /// No nodes yet, over the input of this name.
    pub fn new(input: &str) -> Self {
        let taken = BTreeSet::from([input.to_owned()]);
        Self { nodes: Vec::new(), given: Vec::new(), taken, refused: None }
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
        let names: Vec<String> = parts.iter().map(|part| format!("{layer}.{part}")).collect();
        for name in &names {
            self.give(Given::Parameter(name.clone()), name);
        }
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

    /// Notes that a layer has no nodes: then the network has no file.
    pub(super) fn refuse(&mut self, layer: &str) {
        self.refused.get_or_insert_with(|| layer.into());
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
