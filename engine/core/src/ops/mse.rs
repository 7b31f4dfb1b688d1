//! Mean squared error: shader `shaders/mse.wgsl`.

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Kernel, Launch, Op, Operands, count,
    elementwise::constant,
    known,
    packs::Packs,
    reduce::{SumParts, partial_sums},
};
use crate::graph::{Graph, Node, ShapeError, Value};

/// y, target (N, …) → parts of scale · mean (y − target)² over the elements of the batch's valid samples.
/// The target is a constant: it has no gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mse {
    /// A constant factor: 1 / variance of the target makes it the relative error.
    pub scale: f32,
    /// Whether the mean is over as many rows of the last axis as the step's numbers say, and what does not count is equal in both; else it is
    /// over all elements of valid samples.
    pub by_count: bool,
}

/// y, target → the parts, and dy where the loss has the gradient `d`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct MseAndGrad {
    of: Mse,
    d: f32,
}

/// Packs that an invocation takes at most where loss and gradient are made together on a GPU, which wants more invocations than parts.
const FEW: u32 = 16;

/// y, target, d (1) → dy.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad(Mse);

/// scale · mean (y − target)², \[1\].
///
/// # Errors
/// If the two are not of one shape.
pub fn mse(graph: &mut Graph, y: Value, target: Value, scale: f32) -> Result<Value, ShapeError> {
    Mse { scale, by_count: false }.mean(graph, y, target)
}

impl Mse {
    /// scale · mean (y − target)², \[1\].
    ///
    /// # Errors
    /// If the two are not of one shape.
    pub fn mean(self, graph: &mut Graph, y: Value, target: Value) -> Result<Value, ShapeError> {
        let parts = graph.add(self, &[y, target])?;
        graph.add(SumParts, &[parts])
    }

    /// An entry point of the variant for these packs.
    fn kernel(self, packs: Packs, entry: &str) -> Kernel {
        let kernel = packs.kernel("mse", entry);
        if self.by_count { kernel.flag("BY_COUNT", true) } else { kernel }
    }

    /// Packs that fit what is counted (a sample, or a row), how many packs y and that have, and how many parts the sum is cut into.
    fn layout(self, y: &[u32]) -> Option<(Packs, [u32; 3])> {
        let sample = if self.by_count { (*y.last()?).into() } else { count(y.get(1..)?) };
        let packs = Packs::of(sample);
        let n = packs.count(count(y));
        Some((packs, [n, packs.count(sample), partial_sums(n)]))
    }
}

impl Op for Mse {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [y, target] = *inputs else { return None };
        let (packs, [n, sample, parts]) = self.layout(y)?;
        (y == target).then(|| {
            Launch::new(self.kernel(packs, "forward"))
                .output([parts])
                .dims([n, sample, parts, self.scale.to_bits(), 0])
                .each(parts.into())
                .flops(3 * count(y))
        })
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(Grad(*self), &[node.inputs[0], node.inputs[1], dy])?), None])
    }

    /// One dispatch for the loss and its gradient, where the gradient that comes from above is a constant.
    fn join(&self, graph: &Graph, this: Operands<'_>, sibling: &Node) -> Option<Fused> {
        let of_this =
            known(&*sibling.op) == Some(&Grad(*self)) && sibling.inputs[..2] == *this.inputs;
        let d = constant(graph, *sibling.inputs.get(2)?)?;
        of_this.then(|| Fused {
            op: Rc::new(MseAndGrad { of: *self, d }),
            inputs: this.inputs.to_vec(),
            outputs: vec![this.outputs[0], sibling.outputs[0]],
        })
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [y, target, &[1]] = *inputs else { return None };
        let (packs, [n, sample, parts]) = self.0.layout(y)?;
        (y == target).then(|| {
            Launch::new(self.0.kernel(packs, "grad"))
                .output(y)
                .dims([n, sample, parts, self.0.scale.to_bits(), 0])
                .each(u64::from(n).div_ceil(4))
                .flops(2 * count(y))
        })
    }
}

impl Op for MseAndGrad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [y, target] = *inputs else { return None };
        let (packs, [n, sample, parts]) = self.of.layout(y)?;
        let wide = on == AdapterKind::Gpu && n > FEW * parts;
        (y == target && !wide).then(|| {
            Launch::new(self.of.kernel(packs, "forward_grad"))
                .output([parts])
                .output(y)
                .dims([n, sample, parts, self.of.scale.to_bits(), self.d.to_bits()])
                .each(parts.into())
                .flops(5 * count(y))
        })
    }
}
