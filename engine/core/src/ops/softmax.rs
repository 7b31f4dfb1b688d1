//! Softmax over the last axis: shader `shaders/softmax.wgsl`.

use super::{
    AdapterKind, Gradients, Launch, Op, Operands, count,
    packs::{self, Packs},
};
use crate::graph::{Graph, Value};

/// x (…, C) → y = softmax(scale x) over C.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softmax {
    /// What x is multiplied by, 1/√d in attention.
    pub scale: f32,
}

/// y, dy → dx = scale y (dy − Σ dy y).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad {
    scale: f32,
}

fn by_rows(entry: &str, x: &[u32], scale: f32, on: AdapterKind) -> Option<Launch> {
    let (rows, columns) = packs::matrix(x)?;
    let packs = Packs::of(columns.into());
    let width = packs.count(columns.into());
    let lanes = packs::lanes(width, on);
    Some(
        Launch::new(packs.kernel("softmax", entry).constant("LANES", lanes.into()))
            .output(x)
            .dims([rows, width, scale.to_bits()])
            .each(u64::from(rows) * u64::from(lanes)),
    )
}

impl Op for Softmax {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        Some(by_rows("forward", x, self.scale, on)?.flops(12 * count(x)))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(Grad { scale: self.scale }, &[node.outputs[0], dy])?)])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [y, dy] = *inputs else { return None };
        if y != dy {
            return None;
        }
        Some(by_rows("grad", y, self.scale, on)?.flops(5 * count(y)))
    }
}
