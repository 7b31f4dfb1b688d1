//! Clipping by the global norm: shader `shaders/clip.wgsl`.

use super::{
    AdapterKind, Kernel, Launch, Op,
    reduce::{Squares, TOTAL_WG},
    scaler::together,
};
use crate::graph::{Graph, ShapeError, Value};

/// Partial sums of squares (n) → the factor for the gradients (1), and their norm (1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The norm above which gradients are scaled down to it.
    pub max_norm: f32,
}

/// The factor that an optimiser takes as its last input, and the norm before clipping, of the flat gradients `ranges`, which
/// are read after the values `after` were written.
///
/// # Errors
/// If there is no range.
pub fn clip(
    graph: &mut Graph,
    ranges: &[Value],
    after: &[Value],
    max_norm: f32,
) -> Result<(Value, Value), ShapeError> {
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        parts.push(graph.add_after(Squares, &[*range], after)?[0]);
    }
    let sums = together(graph, &parts)?;
    let outputs = graph.add_all(Clip { max_norm }, &[sums])?;
    Ok((outputs[0], outputs[1]))
}

impl Op for Clip {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[n]] = *inputs else { return None };
        let kernel = Kernel::of("clip", "clip").constant("WG", TOTAL_WG.into());
        Some(
            Launch::new(kernel.constant("LANES", TOTAL_WG.into()))
                .output([1])
                .output([1])
                .dims([n, self.max_norm.to_bits()])
                .flops(n.into()),
        )
    }
}
