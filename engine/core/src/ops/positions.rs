//! Some rows of each sample, by their places: shader `shaders/positions.wgsl`.

use super::{AdapterKind, Gradients, Launch, Op, Operands, count, packs::Packs};
use crate::graph::{Graph, Value};

/// x (B, L, C), places (B, M) of u32 → y (B, M, C), y\[b, m\] = x\[b, places\[b, m\]\]; a place that is not below L reads zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gather;

/// x (R, C) → its first rows (count, C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// Rows.
    pub count: u32,
}

/// x (B, L, C) → (B, C), the first row of each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading;

/// dy (B, C) → dx (B, L, C), zeros behind the first row of each sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeadingGrad {
    length: u32,
}

/// dy (count, C) → dx (rows, C), zeros behind dy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstGrad {
    rows: u32,
}

/// dy (B, M, C), places (B, M) → dx (B, L, C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grad {
    length: u32,
}

/// A launch over the packs of rows (B, `rows`, C) of the result.
fn launch(entry: &str, [batch, rows, c]: [u32; 3], [length, places]: [u32; 2]) -> Option<Launch> {
    let packs = Packs::of(c.into());
    let floats = count(&[batch, rows, c]);
    (floats > 0 && places > 0).then(|| {
        let n = packs.count(floats);
        Launch::new(packs.kernel("positions", entry))
            .output([batch, rows, c])
            .dims([n, packs.count(c.into()), length, places])
            .each(u64::from(n).div_ceil(4))
    })
}

impl Op for Gather {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, length, c], &[samples, places]] = *inputs else { return None };
        (batch == samples).then(|| launch("gather", [batch, places, c], [length, places]))?
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[_, length, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes a sequence")
        };
        Ok(vec![Some(graph.add(Grad { length }, &[dy, node.inputs[1]])?), None])
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, rows, c], &[samples, places]] = *inputs else { return None };
        let fits = batch == samples && rows == places;
        let grad = || launch("grad", [batch, self.length, c], [self.length, places]);
        fits.then(grad)?.map(|launch| launch.flops(count(inputs[0])))
    }
}

/// A launch that copies the rows that there are of (`from`, C) into (`to`, C), zeros behind them.
fn rows(from: u32, to: u32, c: u32) -> Launch {
    let packs = Packs::of(c.into());
    let (n, there) = (packs.count(count(&[to, c])), packs.count(count(&[from.min(to), c])));
    Launch::new(packs.kernel("positions", "rows"))
        .output([to, c])
        .dims([n, packs.count(c.into()), there, 0])
        .each(u64::from(n).div_ceil(4))
}

impl Op for First {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[all, c]] = *inputs else { return None };
        (c > 0 && (1..=all).contains(&self.count)).then(|| rows(all, self.count, c))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[rows, _] = graph.shape(node.inputs[0]) else { unreachable!("launch takes a matrix") };
        Ok(vec![Some(graph.add(FirstGrad { rows }, &[dy])?)])
    }
}

impl Op for FirstGrad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[there, c]] = *inputs else { return None };
        (c > 0 && there > 0).then(|| rows(there, self.rows, c))
    }
}

impl Op for Leading {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, length, c]] = *inputs else { return None };
        let mut launch = launch("leading", [batch, 1, c], [length, 1])?;
        launch.outputs = vec![vec![batch, c]];
        Some(launch)
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[_, length, _] = graph.shape(node.inputs[0]) else {
            unreachable!("launch takes a sequence")
        };
        Ok(vec![Some(graph.add(LeadingGrad { length }, &[dy])?)])
    }
}

impl Op for LeadingGrad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[batch, c]] = *inputs else { return None };
        launch("leading_grad", [batch, self.length, c], [self.length, 1])
    }
}
