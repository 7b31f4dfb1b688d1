//! Rows whose largest logit is at the label: shader `shaders/accuracy.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op, count, packs, reduce::SumParts};
use crate::graph::{Graph, ShapeError, Value};

/// logits (…, C), labels (…) of u32 → 1 for each hit among the valid samples' rows, else 0, (rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits;

/// The number of hits in the batch, \[1\]: a count, so that batches add up.
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn hits(graph: &mut Graph, logits: Value, labels: Value) -> Result<Value, ShapeError> {
    let rows = graph.add(Hits, &[logits, labels])?;
    graph.add(SumParts, &[rows])
}

impl Op for Hits {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, labels] = *inputs else { return None };
        let (rows, classes) = packs::matrix(x)?;
        (*labels == x[..x.len() - 1]).then(|| {
            Launch::new(Kernel::of("accuracy", "accuracy"))
                .output([rows])
                .dims([rows, classes, packs::rows_per_sample(x)])
                .each(rows.into())
                .flops(count(x))
        })
    }
}
