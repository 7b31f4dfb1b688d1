//! Dropout: shader `shaders/dropout.wgsl`.

use super::{AdapterKind, Gradients, Launch, Op, Operands, count, packs};
use crate::graph::{Graph, Value};

/// y = x / (1 − p) with probability 1 − p, else 0. A function of the run's seed, the step, `stream` and the place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of a zero, 0 ≤ p < 1.
    pub p: f32,
    /// Tells the dropouts of a network apart.
    pub stream: u32,
}

impl Op for Dropout {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        if !(0.0..1.0).contains(&self.p) {
            return None;
        }
        let (launch, packs) = packs::flat("dropout", "dropout", count(x));
        Some(launch.output(x).dims([packs, self.stream, self.p.to_bits()]).flops(2 * count(x)))
    }

    /// The same op on dy draws the same mask.
    fn vjp(&self, graph: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(*self, &[dy])?)])
    }
}
