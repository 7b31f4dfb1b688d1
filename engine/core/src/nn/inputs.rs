//! What the host gives a program: named numbers of each sample.

use crate::{
    batch::NumberKind,
    graph::{Graph, Value},
};

/// The name under which networks read pictures, and whatever else is reals only.
pub const IMAGES: &str = "images";
/// The name under which networks read ids of tokens, (N, L).
pub const TOKENS: &str = "tokens";
/// The name under which they read which segment each token is of, (N, L).
pub const SEGMENTS: &str = "segments";
/// The name under which they read how many tokens of a sample are no padding, (N).
pub const LENGTHS: &str = "lengths";
/// The name under which they read which positions are asked for, (N, M).
pub const PLACES: &str = "places";

/// An input of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name of the field of a batch that is written into it.
    pub name: &'static str,
    /// Its buffer in the plan.
    pub buffer: String,
    /// Extents, the first of which counts samples.
    pub shape: Vec<u32>,
    /// What its numbers are.
    pub kind: NumberKind,
}

impl Input {
    /// An input whose buffer has its name.
    pub fn new(name: &'static str, shape: Vec<u32>, kind: NumberKind) -> Self {
        Self { name, buffer: name.into(), shape, kind }
    }

    /// Numbers that it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Inputs as values of a graph.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    values: Vec<(&'static str, Value)>,
}

impl Inputs {
    /// Adds them to a graph.
    pub fn new(graph: &mut Graph, list: Vec<Input>) -> Self {
        let add = |input: Input| (input.name, graph.input(&input.buffer, &input.shape));
        Self { values: list.into_iter().map(add).collect() }
    }

    /// What flows into a network's first layer.
    ///
    /// # Panics
    /// If there is none: every network reads something.
    pub fn first(&self) -> Value {
        self.values[0].1
    }

    /// The input of a name.
    ///
    /// # Panics
    /// If neither the network nor the task has it: a bug of ours.
    pub fn get(&self, name: &str) -> Value {
        let found = self.values.iter().find(|(input, _)| *input == name);
        found.unwrap_or_else(|| panic!("there is no input {name}")).1
    }
}
