//! Kullback-Leibler divergence of a student from a teacher: shader `shaders/kl.wgsl`.

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Kernel, Launch, Op, Operands, count, elementwise::constant,
    known, packs, reduce::SumParts,
};
use crate::graph::{Graph, Node, ShapeError, Value};

/// student, teacher (…, C) → each row's share of the mean loss, and the rows' log sums for the gradient.
/// The teacher is a constant: it has no gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kl {
    /// T: both are divided by it before the softmax over C.
    pub temperature: f32,
    /// What the divergence is multiplied by; T² in knowledge distillation.
    pub factor: f32,
    /// Whether the mean is over as many rows as the step's numbers say, and the others are equal in both; else it is over all rows of valid
    /// samples.
    pub by_count: bool,
}

/// student, teacher → each row's share of the mean loss, and dstudent where the loss has the gradient `d`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct KlAndGrad {
    of: Kl,
    d: f32,
}

/// student, teacher, log sums, d (1) → dstudent.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad(Kl);

impl Kl {
    /// An entry point.
    fn kernel(self, entry: &str) -> Kernel {
        let kernel = Kernel::of("kl", entry);
        if self.by_count { kernel.flag("BY_COUNT", true) } else { kernel }
    }

    /// The words of `Dims` for logits (…, C).
    fn dims(&self, x: &[u32], (rows, columns): (u32, u32), d: f32) -> [u32; 6] {
        let [inverse, factor, d] = [1.0 / self.temperature, self.factor, d].map(f32::to_bits);
        [rows, columns, packs::rows_per_sample(x), inverse, factor, d]
    }

    /// A launch over the rows of s, if t is like it.
    fn by_rows(&self, entry: &str, inputs: &[&[u32]], d: f32, on: AdapterKind) -> Option<Launch> {
        let [s, t] = *inputs else { return None };
        let (rows, columns) = packs::matrix(s)?;
        let lanes = packs::lanes(columns, on);
        (s == t && self.temperature > 0.0).then(|| {
            Launch::new(self.kernel(entry).constant("LANES", lanes.into()))
                .output([rows])
                .dims(self.dims(s, (rows, columns), d))
                .each(u64::from(rows) * u64::from(lanes))
                .flops(40 * count(s))
        })
    }
}

/// factor · KL(teacher ‖ student), mean over the rows of the batch's valid samples, \[1\].
///
/// # Errors
/// If the two are not of one shape.
pub fn kl(graph: &mut Graph, student: Value, teacher: Value, op: Kl) -> Result<Value, ShapeError> {
    let parts = graph.add(op, &[student, teacher])?;
    graph.add(SumParts, &[parts])
}

impl Op for Kl {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let launch = self.by_rows("forward", inputs, 0.0, on)?;
        let rows = launch.outputs[0][0];
        Some(launch.output([rows, 2]))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let ds = graph.add(Grad(*self), &[node.inputs[0], node.inputs[1], node.outputs[1], dy])?;
        Ok(vec![Some(ds), None])
    }

    /// One dispatch for the loss and its gradient, where the gradient that comes from above is a constant.
    fn absorb(&self, graph: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let of_this = known(&*reader.op) == Some(&Grad(*self))
            && reader.inputs[..3] == [this.inputs, &this.outputs[1..]].concat();
        let d = constant(graph, *reader.inputs.get(3)?)?;
        of_this.then(|| Fused {
            op: Rc::new(KlAndGrad { of: *self, d }),
            inputs: this.inputs.to_vec(),
            outputs: vec![this.outputs[0], reader.outputs[0]],
        })
    }
}

impl Op for KlAndGrad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let launch = self.of.by_rows("forward_grad", inputs, self.d, on)?;
        let flops = launch.flops + 20 * count(inputs[0]);
        Some(launch.output(inputs[0]).flops(flops))
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [s, t, log_sums, &[1]] = *inputs else { return None };
        let (rows, columns) = packs::matrix(s)?;
        if s != t || *log_sums != [rows, 2] {
            return None;
        }
        Some(
            Launch::new(self.0.kernel("grad"))
                .output(s)
                .dims(self.0.dims(s, (rows, columns), 0.0))
                .each(count(s).div_ceil(4))
                .flops(20 * count(s)),
        )
    }
}
