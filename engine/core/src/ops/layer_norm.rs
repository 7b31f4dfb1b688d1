//! Layer normalisation over the last axis: shader `shaders/layer_norm.wgsl`.

use super::{
    AdapterKind, Gradients, Launch, Op, Operands, count,
    matmul::AddParts,
    packs::{self, Packs},
};
use crate::graph::{Graph, ShapeError, Value};

/// x (…, C), γ, β (C) → y = γ x̂ + β, and for the gradients the rows' mean and 1/√(variance + ε).
///
/// With a fourth input, a skip connection, it normalises s = x + skip, and s is another output, behind y. The skip may lack
/// leading axes of x, and then repeats: positions that every sample of a batch shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// ε.
    pub eps: f32,
}

/// x, γ, mean, rstd, dy → dx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradInput;

/// x, mean, rstd, dy → (parts, 2, C): Σ dy x̂ and Σ dy of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradSums;

/// (parts, 2, C) → dγ, dβ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradFinish;

/// A kernel with some lanes a row of x.
fn by_rows(entry: &str, x: &[u32], eps: f32, on: AdapterKind) -> Option<Launch> {
    let (rows, columns) = packs::matrix(x)?;
    let packs = Packs::of(columns.into());
    let width = packs.count(columns.into());
    let lanes = packs::lanes(width, on);
    let kernel = packs.kernel("layer_norm", entry).constant("LANES", lanes.into());
    Some(
        Launch::new(kernel)
            .output(x)
            .dims([rows, width, rows, 1, 1, eps.to_bits()])
            .each(u64::from(rows) * u64::from(lanes)),
    )
}

impl Op for LayerNorm {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let (&[x, gamma, beta], skip) = inputs.split_first_chunk()?;
        let (rows, columns) = packs::matrix(x)?;
        if *gamma != [columns] || *beta != [columns] {
            return None;
        }
        let launch = match *skip {
            [] => by_rows("forward", x, self.eps, on)?,
            [skip] if x.ends_with(skip) => {
                let mut launch = by_rows("forward_add", x, self.eps, on)?.output(x);
                launch.dims[2] = packs::matrix(skip)?.0;
                launch
            }
            _ => return None,
        };
        Some(launch.output([rows]).output([rows]).flops(9 * count(x)))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let (x, gamma, skip) = (node.inputs[0], node.inputs[1], node.inputs.get(3).copied());
        let (x, mean, rstd) = match *node.outputs {
            [_, s, mean, rstd] => (s, mean, rstd),
            [_, mean, rstd] => (x, mean, rstd),
            _ => unreachable!("launch has three or four outputs"),
        };
        let dx = graph.add(GradInput, &[x, gamma, mean, rstd, dy])?;
        let sums = graph.add(GradSums, &[x, mean, rstd, dy])?;
        let finished = graph.add_all(GradFinish, &[sums])?;
        let mut grads = vec![Some(dx), Some(finished[0]), Some(finished[1])];
        if let Some(skip) = skip {
            let lacks = graph.shape(x).len() - graph.shape(skip).len();
            grads.push(Some(sum_leading(graph, dx, lacks)?));
        }
        Ok(grads)
    }
}

/// Σ over the first `axes` axes.
fn sum_leading(graph: &mut Graph, mut x: Value, axes: usize) -> Result<Value, ShapeError> {
    for _ in 0..axes {
        x = graph.add(AddParts, &[x])?;
    }
    Ok(x)
}

impl Op for GradInput {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, gamma, mean, rstd, dy] = *inputs else { return None };
        let (rows, columns) = packs::matrix(x)?;
        if x != dy || *gamma != [columns] || *mean != [rows] || *rstd != [rows] {
            return None;
        }
        Some(by_rows("grad_input", x, 0.0, on)?.flops(14 * count(x)))
    }
}

impl Op for GradSums {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, mean, rstd, dy] = *inputs else { return None };
        let (rows, columns) = packs::matrix(x)?;
        if x != dy || *mean != [rows] || *rstd != [rows] {
            return None;
        }
        let packs = Packs::of(columns.into());
        let width = packs.count(columns.into());
        let (chunk, parts) = packs::parts(rows, width, 32);
        Some(
            Launch::new(packs.kernel("layer_norm", "grad_sums"))
                .output([parts, 2, columns])
                .dims([rows, width, rows, chunk, parts, 0])
                .each(u64::from(parts) * u64::from(width))
                .flops(5 * count(x)),
        )
    }
}

impl Op for GradFinish {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[parts, 2, columns]] = *inputs else { return None };
        let packs = Packs::of(columns.into());
        let width = packs.count(columns.into());
        Some(
            Launch::new(packs.kernel("layer_norm", "grad_finish"))
                .output([columns])
                .output([columns])
                .dims([1, width, 1, 1, parts, 0])
                .each(width.into())
                .flops(2 * u64::from(parts) * u64::from(columns)),
        )
    }
}
