//! Rows whose largest logit is at the label: shader `shaders/accuracy.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op, count, packs, reduce::SumParts};
use crate::graph::{Graph, ShapeError, Value};

/// logits (…, C), labels (…) of u32 → 1 for each hit among the valid samples' rows, else 0, (rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits;

/// logits (B, …, C), labels (B, …) of u32 → 1 for each valid sample all rows of which are hits, else 0, (B).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeHits;

/// The number of hits in the batch, \[1\]: a count, so that batches add up.
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn hits(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value, ShapeError> {
    let rows = graph.add(Hits, &[logits, labels])?;
    graph.add(SumParts, &[rows])
}

/// The number of valid samples in the batch all rows of which are hits, \[1\].
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn whole_hits(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value, ShapeError> {
    let samples = graph.add(WholeHits, &[logits, labels])?;
    graph.add(SumParts, &[samples])
}

/// A launch that puts out a number for each of `of` the rows of the logits x, if the labels fit them.
fn launch(entry: &str, inputs: &[&[u32]], of: impl Fn(u32, u32) -> u32) -> Option<Launch> {
    let [x, labels] = *inputs else { return None };
    let (rows, classes) = packs::matrix(x)?;
    let per_sample = packs::rows_per_sample(x);
    let hits = of(rows, per_sample);
    (*labels == x[..x.len() - 1]).then(|| {
        Launch::new(Kernel::of("accuracy", entry))
            .output([hits])
            .dims([rows, classes, per_sample])
            .each(hits.into())
            .flops(count(x))
    })
}

impl Op for Hits {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        launch("accuracy", inputs, |rows, _| rows)
    }
}

impl Op for WholeHits {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        launch("samples", inputs, |rows, per_sample| rows / per_sample.max(1))
    }
}
