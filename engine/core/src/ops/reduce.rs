//! Sums in a fixed order: shader `shaders/reduce.wgsl`.

use super::{
    AdapterKind, Gradients, Launch, Op, Operands, count,
    packs::{self, Packs},
    to_u32,
};
use crate::graph::{Graph, ShapeError, Value};

/// Invocations of the one workgroup that adds everything up.
pub(super) const TOTAL_WG: u32 = 256;

/// Sums of runs of `chunk` rows: x (…, C) → (⌈rows / chunk⌉, C), or (C) if all rows are one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumRows {
    /// Rows of a run.
    pub chunk: u32,
}

/// Σ x over everything → \[1\]. Meant for the partial sums of a loss. The gradient of every partial sum is that of the total, so the gradient
/// rule answers this one number, \[1\], instead of a copy of it for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumParts;

/// Partial sums of x² → (parts), for a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squares;

/// Σ_rows x: (…, C) → (C), in one step or two: the gradient of a bias.
///
/// # Errors
/// If x has no axis.
pub fn sum_rows(graph: &mut Graph, x: Value) -> Result<Value, ShapeError> {
    let shape = graph.shape(x);
    let chunk = packs::matrix(shape).map_or(1, |(rows, columns)| {
        let width = Packs::of(columns.into()).count(columns.into());
        packs::parts(rows, width, 256).0
    });
    let sums = graph.add(SumRows { chunk }, &[x])?;
    match *graph.shape(sums) {
        [parts, _] => graph.add(SumRows { chunk: parts }, &[sums]),
        _ => Ok(sums),
    }
}

impl Op for SumRows {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        let (rows, columns) = packs::matrix(x)?;
        if self.chunk == 0 {
            return None;
        }
        let packs = Packs::of(columns.into());
        let width = packs.count(columns.into());
        let parts = rows.div_ceil(self.chunk);
        let shape = if parts == 1 { vec![columns] } else { vec![parts, columns] };
        Some(
            Launch::new(packs.kernel("reduce", "sum_rows"))
                .output(shape)
                .dims([rows, width, self.chunk, parts])
                .each(u64::from(parts) * u64::from(width))
                .flops(count(x)),
        )
    }
}

impl Op for SumParts {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        let packs = Packs::of(count(x));
        let kernel = packs.kernel("reduce", "total").constant("WG", TOTAL_WG.into());
        Some(
            Launch::new(kernel.constant("LANES", TOTAL_WG.into()))
                .output([1])
                .dims([packs.count(count(x)), 1, 1, 1])
                .flops(count(x)),
        )
    }

    fn vjp(&self, _: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(dy)])
    }
}

impl Op for Squares {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        let packs = Packs::of(count(x));
        let n = packs.count(count(x));
        let parts = partial_sums(n);
        Some(
            Launch::new(packs.kernel("reduce", "squares"))
                .output([parts])
                .dims([n, 1, 1, parts])
                .each(parts.into())
                .flops(2 * count(x)),
        )
    }
}

/// How many partial sums `packs` are cut into: 16 packs each, and no more than one workgroup then adds up quickly.
pub(super) fn partial_sums(packs: u32) -> u32 {
    to_u32(u64::from(packs).div_ceil(16)).clamp(1, 4096)
}
