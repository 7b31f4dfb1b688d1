//! Cross entropy with labels: shader `shaders/cross_entropy.wgsl`.

use super::{AdapterKind, Arcs, Kernel, Launch, Op, count, narrow, packs, reduce::SumParts};
use crate::graph::{Graph, ShapeError, Value};

/// logits (…, C), labels (…) of u32 → each row's share of the mean loss, and log Σ exp of its logits for the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropy {
    /// ε: the target is (1 − ε) at the label and ε/C everywhere, as in PyTorch.
    pub label_smoothing: f32,
}

/// logits, labels, log sums, d (1) → dlogits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad {
    label_smoothing: f32,
}

/// The mean loss over the rows of the batch's valid samples, \[1\].
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn cross_entropy(
    graph: &mut Graph,
    logits: Value,
    labels: Value,
    label_smoothing: f32,
) -> Result<Value, ShapeError> {
    let parts = graph.add(CrossEntropy { label_smoothing }, &[logits, labels])?;
    graph.add(SumParts, &[parts])
}

impl Op for CrossEntropy {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, labels] = *inputs else { return None };
        let (rows, classes) = packs::matrix(x)?;
        if *labels != x[..x.len() - 1] {
            return None;
        }
        let lanes = packs::lanes(classes, on);
        Some(
            Launch::new(Kernel::of("cross_entropy", "forward").constant("LANES", lanes.into()))
                .output([rows])
                .output([rows])
                .dims([rows, classes, packs::rows_per_sample(x), self.label_smoothing.to_bits()])
                .each(u64::from(rows) * u64::from(lanes))
                .flops(12 * count(x)),
        )
    }

    fn vjp(
        &self,
        graph: &mut Graph,
        node: Arcs<'_>,
        douts: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>, ShapeError> {
        let Some(d) = douts[0] else { return Ok(vec![None; 2]) };
        let grad = Grad { label_smoothing: self.label_smoothing };
        Ok(vec![
            Some(graph.add(grad, &[node.inputs[0], node.inputs[1], node.outputs[1], d])?),
            None,
        ])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, labels, log_sums, &[1]] = *inputs else { return None };
        let (rows, classes) = packs::matrix(x)?;
        if *labels != x[..x.len() - 1] || *log_sums != [rows] {
            return None;
        }
        Some(
            Launch::new(Kernel::of("cross_entropy", "grad"))
                .output(x)
                .dims([rows, classes, packs::rows_per_sample(x), self.label_smoothing.to_bits()])
                .each(narrow(count(x)).div_ceil(4).into())
                .flops(12 * count(x)),
        )
    }
}
