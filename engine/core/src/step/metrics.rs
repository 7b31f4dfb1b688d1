//! What the host reads of a step: numbers in the buffer `metrics`, a slot each.

use crate::{
    graph::{Graph, ShapeError, Value},
    nn::Network,
    ops::{accuracy::hits, cross_entropy::cross_entropy},
};

/// Floats of a slot.
const SLOT: u64 = 64;
/// Where the loss lies in the buffer `metrics`.
pub const LOSS: usize = 0;
/// Where the number of hits lies in the buffer `metrics`.
pub const HITS: usize = 1;
/// Where the scale of the next step's loss lies in the buffer `metrics`, if the loss is scaled.
pub const LOSS_SCALE: usize = 2;
/// Where the number of steps that loss scaling has skipped since the restart began lies in the buffer `metrics`.
pub const SKIPPED: usize = 3;

/// The inputs of a program, by the names that the host writes to.
pub(super) struct Inputs {
    pub(super) images: Value,
    pub(super) labels: Value,
}

impl Inputs {
    pub(super) fn new(graph: &mut Graph, prefix: &str, network: &Network, batch: u32) -> Self {
        Self {
            images: graph.input(&format!("{prefix}images"), &network.input.batch(batch)),
            labels: graph.input(&format!("{prefix}labels"), &[batch]),
        }
    }
}

/// Loss and hits of logits, into the metrics.
pub(super) fn test(
    graph: &mut Graph,
    logits: Option<Value>,
    inputs: &Inputs,
) -> Result<(), ShapeError> {
    let Some(logits) = logits else { return Ok(()) };
    let loss = graph.scoped("loss", |g| cross_entropy(g, logits, inputs.labels, 0.0))?;
    let hits = graph.scoped("accuracy", |g| hits(g, logits, inputs.labels))?;
    place(graph, loss, LOSS);
    place(graph, hits, HITS);
    Ok(())
}

/// Has the buffer hold the slots up to `slot`, and those of a test.
pub(super) fn reserve(graph: &mut Graph, slot: usize) {
    graph.buffer("metrics", SLOT * (slot.max(HITS) as u64 + 1));
}

/// Puts a value into its slot.
pub(super) fn place(graph: &mut Graph, value: Value, slot: usize) {
    reserve(graph, slot);
    graph.place(value, "metrics", slot as u64 * SLOT);
}

/// What lies in a slot.
pub(super) fn slot(graph: &mut Graph, slot: usize) -> Value {
    graph.named("metrics", slot as u64 * SLOT, &[1], "metrics")
}
