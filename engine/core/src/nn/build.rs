//! A network as nodes of a graph.

use std::collections::BTreeMap;

use super::{
    Block, Network, Pair,
    builder::{Bound, Builder, Mode},
    layers,
};
use crate::graph::{Graph, ShapeError, Value};

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
    let (mut blocks, mut nodes) = (Vec::new(), Vec::new());
    let (taps, batches) = (BTreeMap::new(), Vec::new());
    let mut to = Builder { graph, bound, mode: Mode::Eval, taps, batches };
    let mut at = x;
    for k in range.clone() {
        let Block { lower, layers, lift } = &network.blocks[k];
        let first = to.graph.nodes().len();
        to.mode = mode(k);
        if let Some(lower) = lower {
            at = pair(lower, at, &mut to)?;
        }
        at = layers::nodes(layers, at, &mut to)?;
        if let Some(lift) = lift {
            at = pair(lift, at, &mut to)?;
        }
        blocks.push(at);
        nodes.push(first..to.graph.nodes().len());
    }
    if range.end == network.blocks.len() {
        to.mode = mode(range.end);
        at = layers::nodes(&network.head, at, &mut to)?;
    }
    let Builder { taps, batches, .. } = to;
    layers::move_running(graph, bound, batches)?;
    Ok(Built { blocks, nodes, output: Some(at), taps })
}

fn pair(pair: &Pair, x: Value, to: &mut Builder<'_>) -> Result<Value, ShapeError> {
    let on_map = to.graph.shape(x).len() == 4;
    layers::nodes(&[pair.layer(on_map)], x, to)
}
