//! Cross entropy with labels: shader `shaders/cross_entropy.wgsl`.

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Launch, Op, Operands, count,
    elementwise::constant,
    known,
    packs::{self, Packs},
    reduce::SumParts,
    to_u32,
};
use crate::graph::{Graph, Node, ShapeError, Value};

/// logits (…, C), labels (…) of u32 → each row's share of the mean loss, and log Σ exp of its logits for the gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossEntropy {
    /// ε: the target is (1 − ε) at the label and ε/C everywhere, as in PyTorch.
    pub label_smoothing: f32,
    /// Whether the mean is over the rows whose label is a class, of which the step's numbers say how many they are; else it is over all rows of
    /// valid samples.
    pub by_label: bool,
}

/// logits, labels → each row's share of the mean loss, and dlogits where the loss has the gradient `d`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CrossEntropyAndGrad {
    of: CrossEntropy,
    d: f32,
}

/// logits, labels, log sums, d (1) → dlogits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grad(CrossEntropy);

/// The mean loss over the rows of the batch's valid samples, \[1\].
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn cross_entropy(
    graph: &mut Graph,
    logits: Value,
    labels: Value,
    label_smoothing: f32,
) -> Result<Value, ShapeError> {
    CrossEntropy { label_smoothing, by_label: false }.mean(graph, logits, labels)
}

impl CrossEntropy {
    /// The mean loss, \[1\].
    ///
    /// # Errors
    /// If the labels are not one a row of the logits.
    pub fn mean(
        self,
        graph: &mut Graph,
        logits: Value,
        labels: Value,
    ) -> Result<Value, ShapeError> {
        let parts = graph.add(self, &[logits, labels])?;
        graph.add(SumParts, &[parts])
    }
}

/// [`cross_entropy`] and its gradient with respect to the logits, which one dispatch makes together; [`Graph::backward_from`]
/// goes on from there.
///
/// # Errors
/// If the labels are not one a row of the logits.
pub fn cross_entropy_and_grad(
    graph: &mut Graph,
    logits: Value,
    labels: Value,
    label_smoothing: f32,
) -> Result<(Value, Value), ShapeError> {
    let of = CrossEntropy { label_smoothing, by_label: false };
    let both = graph.add_all(CrossEntropyAndGrad { of, d: 1.0 }, &[logits, labels])?;
    Ok((graph.add(SumParts, &[both[0]])?, both[1]))
}

/// A launch over the rows of the logits x, if the labels fit them.
fn by_rows(
    entry: &str,
    x: &[u32],
    labels: &[u32],
    of: CrossEntropy,
    d: f32,
    on: AdapterKind,
) -> Option<Launch> {
    let (rows, classes) = packs::matrix(x)?;
    let packs = Packs::of(classes.into());
    let width = packs.count(classes.into());
    let lanes = packs::lanes(width, on);
    (*labels == x[..x.len() - 1]).then(|| {
        let mut kernel = packs.kernel("cross_entropy", entry).constant("LANES", lanes.into());
        if of.by_label {
            kernel = kernel.flag("BY_LABEL", true);
        }
        let smoothing = of.label_smoothing.to_bits();
        Launch::new(kernel)
            .dims([rows, width, packs::rows_per_sample(x), smoothing, d.to_bits()])
            .each(u64::from(rows) * u64::from(lanes))
            .flops(12 * count(x))
    })
}

impl Op for CrossEntropy {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, labels] = *inputs else { return None };
        let rows = to_u32(count(labels));
        let launch = by_rows("forward", x, labels, *self, 0.0, on)?;
        Some(launch.output([rows]).output([rows]))
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let inputs = [node.inputs[0], node.inputs[1], node.outputs[1], dy];
        Ok(vec![Some(graph.add(Grad(*self), &inputs)?), None])
    }

    /// One dispatch for the loss and its gradient, where the gradient that comes from above is a constant.
    fn absorb(&self, graph: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let of_this = known(&*reader.op) == Some(&Grad(*self))
            && reader.inputs[..3] == [this.inputs, &this.outputs[1..]].concat();
        let d = constant(graph, *reader.inputs.get(3)?)?;
        of_this.then(|| Fused {
            op: Rc::new(CrossEntropyAndGrad { of: *self, d }),
            inputs: this.inputs.to_vec(),
            outputs: vec![this.outputs[0], reader.outputs[0]],
        })
    }
}

impl Op for Grad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, labels, log_sums, &[1]] = *inputs else { return None };
        let launch = by_rows("grad", x, labels, self.0, 0.0, on)?;
        (*log_sums == [to_u32(count(labels))]).then(|| launch.output(x))
    }
}

impl Op for CrossEntropyAndGrad {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, labels] = *inputs else { return None };
        let launch = by_rows("forward_grad", x, labels, self.of, self.d, on)?;
        let flops = 2 * launch.flops;
        Some(launch.output([to_u32(count(labels))]).output(x).flops(flops))
    }
}
