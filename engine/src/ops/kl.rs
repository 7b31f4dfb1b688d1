//! Kullback-Leibler divergence of a student from a teacher: shader `shaders/kl.wgsl`.

use super::{AdapterKind, Arcs, Kernel, Launch, Op, count, packs, reduce::SumParts};
use crate::graph::{Graph, ShapeError, Value};

/// student, teacher (…, C) → each row's share of the mean loss, and the rows' log sums for the gradient.
/// The teacher is a constant: it has no gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kl {
    /// T: both are divided by it before the softmax over C.
    pub temperature: f32,
    /// What the divergence is multiplied by; T² in knowledge distillation.
    pub factor: f32,
}

/// student, teacher, log sums, d (1) → dstudent.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad(Kl);

impl Kl {
    /// The words of `Dims` for logits (…, C).
    fn dims(&self, x: &[u32], (rows, columns): (u32, u32)) -> [u32; 5] {
        let inverse = 1.0 / self.temperature;
        [rows, columns, packs::rows_per_sample(x), inverse.to_bits(), self.factor.to_bits()]
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
        let [s, t] = *inputs else { return None };
        let (rows, columns) = packs::matrix(s)?;
        if s != t || self.temperature <= 0.0 {
            return None;
        }
        let lanes = packs::lanes(columns, on);
        Some(
            Launch::new(Kernel::of("kl", "forward").constant("LANES", lanes.into()))
                .output([rows])
                .output([rows, 2])
                .dims(self.dims(s, (rows, columns)))
                .each(u64::from(rows) * u64::from(lanes))
                .flops(40 * count(s)),
        )
    }

    fn vjp(
        &self,
        graph: &mut Graph,
        node: Arcs<'_>,
        douts: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>, ShapeError> {
        let Some(d) = douts[0] else { return Ok(vec![None; 2]) };
        let ds = graph.add(Grad(*self), &[node.inputs[0], node.inputs[1], node.outputs[1], d])?;
        Ok(vec![Some(ds), None])
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
            Launch::new(Kernel::of("kl", "grad"))
                .output(s)
                .dims(self.0.dims(s, (rows, columns)))
                .each(count(s).div_ceil(4))
                .flops(20 * count(s)),
        )
    }
}
