//! What the host reads of a step: numbers in the buffer `metrics`, a slot each.

use super::task::{PARTS, Task};
use crate::{
    graph::{Graph, ShapeError, Value},
    nn::Inputs,
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
/// Where the parts of a test's loss lie in the buffer `metrics`. The loss of a training step is the sum of all parts.
pub const LOSSES: [usize; PARTS] = [LOSS, 4];

/// Losses and hits of a network's outputs, into the metrics.
pub(super) fn test(
    graph: &mut Graph,
    task: Task,
    outputs: &[Value],
    inputs: &Inputs,
) -> Result<(), ShapeError> {
    let losses = graph.scoped("loss", |g| task.losses(g, outputs, inputs, 0.0))?;
    let hits = task.hits(graph, outputs, inputs)?;
    for (loss, slot) in losses.into_iter().zip(LOSSES) {
        place(graph, loss, slot);
    }
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
