//! Element-wise arithmetic: shader `shaders/elementwise.wgsl`.

use super::{
    AdapterKind, Fused, Gradients, Launch, Op, Operands,
    activation::{Activation, Grad},
    count, known,
    packs::{self, Packs},
    reduce, to_u32,
};
use std::rc::Rc;

use crate::graph::{Graph, Node, Value};

/// A constant: y = value, `len` times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fill {
    /// The constant.
    pub value: f32,
    /// How many.
    pub len: u32,
}

/// y = a + b, of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Add;

/// y = a − b, of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sub;

/// y = a b, of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mul;

/// y = max(a + b, 0), of one shape: the end of a residual unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRelu;

/// dx = a + b where y > 0, else 0, all of one shape; the inputs are a, b and y. Where the gradients of a ReLU's readers meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddReluGrad;

/// y = a + b, where a is (…, C) and b is (C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddBias;

/// y = factor a.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale(
    /// The factor.
    pub f32,
);

/// y = a: a copy of a value in another buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy;

/// Adds up the micro-batches of a step, y ← y + w a in place (y ← w a for the first); the inputs are a and y, and there is
/// no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulate {
    /// Means over a micro-batch's valid samples: w is their share of the batch.
    Mean {
        /// Samples of the whole batch.
        batch: u32,
    },
    /// Means over the labels or tokens of a micro-batch that count: w is their share of the batch's.
    Share,
    /// Counts: w = 1.
    Count,
}

/// y = w a, where a is a mean over a micro-batch of a step and w its share of the batch: those of all micro-batches add up to the mean over the
/// batch. It is for the parts of a loss that are means over different things; a loss of one part is weighed by [`Accumulate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weigh {
    /// Of a mean over valid samples.
    Samples {
        /// Samples of the whole batch.
        batch: u32,
    },
    /// Of a mean over the labels that count.
    Counted,
}

/// A launch over `floats` with the words of `Dims` that flat kernels read.
fn flat(entry: &str, floats: u64, factor: f32) -> Launch {
    let (launch, packs) = packs::flat("elementwise", entry, floats);
    launch.dims([packs, 0, 0, 0, factor.to_bits()]).flops(floats)
}

/// A launch of y = f(a, b) for a and b of one shape.
fn binary(entry: &str, inputs: &[&[u32]]) -> Option<Launch> {
    let [a, b] = *inputs else { return None };
    (a == b).then(|| flat(entry, count(a), 0.0).output(a))
}

impl Op for Fill {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        inputs
            .is_empty()
            .then(|| flat("fill", self.len.into(), self.value).output([self.len]).flops(0))
    }
}

impl Op for Add {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        binary("add", inputs)
    }

    fn vjp(&self, _: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(dy), Some(dy)])
    }

    /// A ReLU's mask on the sum.
    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let (&[a, b], &[y, dy]) = (this.inputs, &reader.inputs[..]) else { return None };
        let masks = known(&*reader.op) == Some(&Grad(Activation::Relu)) && dy == this.outputs[0];
        masks.then(|| Fused {
            op: Rc::new(AddReluGrad),
            inputs: vec![a, b, y],
            outputs: reader.outputs.clone(),
        })
    }
}

impl Op for Sub {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        binary("sub", inputs)
    }

    fn vjp(&self, graph: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(dy), Some(graph.add(Scale(-1.0), &[dy])?)])
    }
}

impl Op for Mul {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        binary("mul", inputs)
    }

    /// da = dy b    db = dy a
    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let &[a, b] = node.inputs else { unreachable!("launch takes two inputs") };
        Ok(vec![Some(graph.add(Mul, &[dy, b])?), Some(graph.add(Mul, &[dy, a])?)])
    }
}

impl Op for AddRelu {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        binary("add_relu", inputs)
    }

    /// da = db = dy where y > 0, else 0
    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let d = graph.add(Grad(Activation::Relu), &[node.outputs[0], dy])?;
        Ok(vec![Some(d); 2])
    }
}

impl Op for AddReluGrad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a, b, y] = *inputs else { return None };
        (a == b && a == y)
            .then(|| flat("add_relu_grad", count(a), 0.0).output(a).flops(2 * count(a)))
    }
}

impl Op for AddBias {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a, &[c]] = *inputs else { return None };
        let (rows, columns) = packs::matrix(a)?;
        if columns != c {
            return None;
        }
        let packs = Packs::of(c.into());
        let width = packs.count(c.into());
        let chunk = packs::chunk(rows, width);
        let launch = Launch::new(packs.kernel("elementwise", "add_bias"))
            .output(a)
            .dims([to_u32(u64::from(rows) * u64::from(width)), width, rows, chunk, 0])
            .each(u64::from(rows.div_ceil(chunk)) * u64::from(width));
        Some(launch.flops(count(a)))
    }

    /// da = dy    db = Σ_rows dy
    fn vjp(&self, graph: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(dy), Some(reduce::sum_rows(graph, dy)?)])
    }
}

/// The number that all elements of a tensor equal, if the graph makes it by [`Fill`], scaled or not.
pub(super) fn constant(graph: &Graph, value: Value) -> Option<f32> {
    let writer = graph.nodes().iter().find(|node| node.outputs.contains(&value))?;
    if let Some(Fill { value, .. }) = known(&*writer.op) {
        return Some(*value);
    }
    let Scale(factor) = known(&*writer.op)?;
    Some(factor * constant(graph, writer.inputs[0])?)
}

impl Op for Scale {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a] = *inputs else { return None };
        Some(flat("scale", count(a), self.0).output(a))
    }

    fn vjp(&self, graph: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(*self, &[dy])?)])
    }
}

impl Op for Copy {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a] = *inputs else { return None };
        Some(flat("copy", count(a), 0.0).output(a).flops(0))
    }

    fn vjp(&self, _: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(dy)])
    }
}

impl Op for Weigh {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a] = *inputs else { return None };
        let (entry, batch) = match *self {
            Self::Samples { batch } => ("weigh_mean", batch as f32),
            Self::Counted => ("weigh_share", 0.0),
        };
        Some(flat(entry, count(a), batch).output(a))
    }

    fn vjp(&self, graph: &mut Graph, _: Operands<'_>, dy: Value) -> Gradients {
        Ok(vec![Some(graph.add(*self, &[dy])?)])
    }
}

impl Op for Accumulate {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [a, y] = *inputs else { return None };
        let (entry, batch) = match *self {
            Self::Mean { batch } => ("accumulate_mean", batch as f32),
            Self::Share => ("accumulate_share", 0.0),
            Self::Count => ("accumulate_count", 0.0),
        };
        (a == y).then(|| flat(entry, count(a), batch).updates(&[1]))
    }
}
