//! A network as nodes of a graph.

use std::collections::BTreeMap;

use super::{
    Block, Network, Pair, State,
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
    /// The output of each head, if they were built; else that of the last block alone.
    pub outputs: Vec<Value>,
    /// The output of every named layer that is not fused into its successor.
    pub taps: BTreeMap<String, Value>,
}

/// Adds blocks `range` of a network, and its heads if `range` reaches the end, on the input `x`. The batch's statistics of layers in
/// train mode lie in the buffer `owner.batch` as the running ones do in `owner.state`, which they move.
///
/// `mode` is asked for each block (the heads are block `blocks.len()`): frozen blocks are in eval mode.
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
    let mut at = State::of(x);
    for k in range.clone() {
        let Block { lower, layers, lift } = &network.blocks[k];
        let first = to.graph.nodes().len();
        to.mode = mode(k);
        if let Some(lower) = lower {
            at.lifted = Some(pair(lower, at.linear(), &mut to)?);
        }
        at = State::of(layers::nodes(layers, at, &mut to)?);
        if let Some(lift) = lift {
            at.lifted = Some(pair(lift, at.h, &mut to)?);
        }
        blocks.push(at.linear());
        nodes.push(first..to.graph.nodes().len());
    }
    let mut outputs = Vec::new();
    if range.end == network.blocks.len() {
        to.mode = mode(range.end);
        for head in network.heads() {
            outputs.push(layers::nodes(head, at, &mut to)?);
        }
    }
    // A prefix has no head: its output is that of its last block, lifted.
    if outputs.is_empty() {
        outputs.push(at.linear());
    }
    let Builder { taps, batches, .. } = to;
    layers::move_running(graph, bound, batches)?;
    Ok(Built { blocks, nodes, outputs, taps })
}

fn pair(pair: &Pair, x: Value, to: &mut Builder<'_>) -> Result<Value, ShapeError> {
    let on_map = to.graph.shape(x).len() == 4;
    layers::nodes(&[pair.layer(on_map)], State::of(x), to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        Extent, Layer, Layout, Mode,
        layers::{Conv, Unit},
    };

    /// A pair is a branch: what is linear behind it reads what it makes of the state, the short way reads the state itself.
    #[test]
    fn linear_maps_read_the_lifted_state_and_the_identity_reads_the_networks_own() {
        let conv = |name: &str, out| {
            let name = name.into();
            Layer::Conv(Conv { name, out, kernel: 3, stride: 1, pad: 1, bias: false })
        };
        let unit = Unit { name: "unit".into(), body: vec![conv("b", 4)], shortcut: Vec::new() };
        let lift = Some(Pair { name: "lift.1".into(), out: 9 });
        let blocks = vec![
            Block { layers: vec![conv("a", 4)], lift, ..Block::default() },
            Block { layers: vec![Layer::Unit(unit)], ..Block::default() },
        ];
        let (input, head, further) = (Extent::Map(5, 5, 3), Vec::new(), Vec::new());
        let network = Network { input, blocks, head, further };
        let shapes = network.shapes().expect("a network");
        let of = |name: &str| shapes.params.iter().find(|p| p.name == name).expect("there");
        assert_eq!(of("b.weight").shape, [4, 3, 3, 9]);
        assert_eq!((shapes.blocks[0].width(), shapes.output.width()), (9, 4));

        let mut graph = Graph::new();
        let x = graph.input("x", &[2, 5, 5, 3]);
        let bound = Bound::new(&mut graph, "student", &Layout::of(&shapes));
        let built = build(&mut graph, &network, &bound, x, 0..2, |_| Mode::Eval).expect("a graph");
        let (a, lifted, b) = (built.taps["a"], built.taps["lift.1"], built.taps["b"]);
        let reads = |value: Value| {
            let made = |node: &&crate::graph::Node| node.outputs.contains(&value);
            graph.nodes().iter().find(made).expect("a node").inputs.clone()
        };
        assert_eq!(reads(lifted)[0], a);
        assert_eq!(reads(b)[0], lifted);
        assert_eq!(reads(built.taps["unit"]), [b, a]);
        assert_eq!(built.blocks, [lifted, built.taps["unit"]]);
    }
}
