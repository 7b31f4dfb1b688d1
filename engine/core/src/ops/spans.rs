//! Spans of tokens, by the scores of their ends: shader `shaders/spans.wgsl`.

use super::{AdapterKind, Gradients, Kernel, Launch, Op, Operands, count, to_u32};
use crate::graph::{Graph, Value};

/// x (B, L, 2), lengths (B) of u32 → (B, 2, L): of each sample the scores of its tokens as the span's first, and as its last. What lies behind the
/// sample's length has a score below all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scores;

/// dy (B, 2, L), lengths → dx (B, L, 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grad;

/// starts, ends, lengths (B) of u32 → labels (B, 2) for scores of (B, 2, L); no labels where one of the two is no token of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels {
    /// L.
    pub length: u32,
}

fn launch(entry: &str, output: &[u32], length: u32) -> Launch {
    let n = count(output);
    let kernel = Kernel::of("spans", entry);
    Launch::new(kernel).output(output).dims([to_u32(n), length]).each(n.div_ceil(4))
}

impl Op for Scores {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, length, 2], &[samples]] = *inputs else { return None };
        (batch == samples && length > 0).then(|| launch("scores", &[batch, 2, length], length))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(Grad, &[dy, node.inputs[1]])?), None])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, 2, length], &[samples]] = *inputs else { return None };
        (batch == samples && length > 0).then(|| launch("grad", &[batch, length, 2], length))
    }
}

impl Op for Labels {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [starts, ends, lengths] = *inputs else { return None };
        let fits = starts.len() == 1 && starts == ends && starts == lengths && self.length > 0;
        fits.then(|| launch("labels", &[starts[0], 2], self.length))
    }
}
