//! Batch normalisation over the last axis: shader `shaders/batch_norm.wgsl`.
//!
//! x (…, C)   γ, β, running mean and variance (C)   →   y = γ x̂ + β, (…, C)
//!
//! In train mode two nodes, [`Statistics`] → [`Apply`], and one [`Running`] for all layers of a network. The mean and the variance are
//! functions of x, and the rule of [`Apply`] gives the whole gradient of x, through them as well; [`Statistics`] has no gradient of its own.
//! A sum over rows is written as a few partial sums, which the next kernel adds up itself.

use std::rc::Rc;

use super::{
    AdapterKind, Fused, Gradients, Launch, Op, Operands,
    activation::{Activation, Grad},
    count,
    elementwise::{Add, AddRelu},
    known,
    packs::{self, Packs},
    to_u32,
};
use crate::graph::{Graph, Node, ShapeError, Value};

/// The parameters and the state of a layer, each (C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensors {
    /// γ, PyTorch's `weight`.
    pub gamma: Value,
    /// β, PyTorch's `bias`.
    pub beta: Value,
    /// The running mean.
    pub running_mean: Value,
    /// The running (unbiased) variance.
    pub running_var: Value,
}

/// The constants of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// ε.
    pub eps: f32,
    /// Whether a ReLU follows in the same kernel.
    pub relu: bool,
}

/// What a layer gives in train mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trained {
    /// The output, like x.
    pub y: Value,
    /// The batch's mean and its unbiased variance, for [`Running`]: (2, C padded to 64), as the running ones lie in a flat buffer.
    pub batch: Value,
}

impl BatchNorm {
    /// Adds the layer in train mode: normalises by the batch. The running statistics are left to [`Running`].
    ///
    /// # Errors
    /// If the tensors are not (…, C) and (C).
    pub fn train(
        &self,
        graph: &mut Graph,
        x: Value,
        gamma: Value,
        beta: Value,
    ) -> Result<Trained, ShapeError> {
        let sums = graph.add(Statistics, &[x])?;
        let outputs =
            graph.add_all(Apply { relu: self.relu, eps: self.eps }, &[x, sums, gamma, beta])?;
        Ok(Trained { y: outputs[0], batch: outputs[2] })
    }

    /// Adds the layer in eval mode: normalises by the running statistics.
    ///
    /// # Errors
    /// If the tensors are not (…, C) and (C).
    pub fn eval(&self, graph: &mut Graph, x: Value, layer: &Tensors) -> Result<Value, ShapeError> {
        let Tensors { gamma, beta, running_mean, running_var } = *layer;
        let op = EvalApply { relu: self.relu, eps: self.eps };
        graph.add(op, &[x, running_mean, running_var, gamma, beta])
    }
}

/// Floats from a tensor of C floats in a flat buffer to the next one.
fn stride(columns: u32) -> u32 {
    columns.next_multiple_of(64)
}

/// x (…, C) → (parts, 2, C): mean and Σ (x − mean)² of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics;

/// x (…, C), [`Statistics`] of x, γ, β (C) and perhaps skip (…, C) → y; the line (4, C): μ, 1/√(σ² + ε), γ, β; and [`Trained::batch`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Apply {
    /// Whether y = max(γ x̂ + β + skip, 0).
    pub relu: bool,
    /// ε.
    pub eps: f32,
}

/// x (…, C), running mean and variance, γ, β (C) and perhaps skip (…, C) → y, and the line as of [`Apply`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalApply {
    /// Whether y = max(γ x̂ + β + skip, 0).
    pub relu: bool,
    /// ε.
    pub eps: f32,
}

/// running ← (1 − momentum) running + momentum batch. The inputs are a range of the batches' statistics and one of the running ones, of
/// one length and in one layout; the latter is updated in place and there is no output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// PyTorch's `momentum`.
    pub momentum: f32,
}

/// x, line, dy → (parts, 2, C): Σ dz x̂ and Σ dz of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradSums {
    relu: bool,
}

/// x, line, dy, [`GradSums`] of them → dx, dγ, dβ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradInput {
    relu: bool,
    /// Whether mean and variance are functions of x (train mode), else constants (eval mode).
    batch: bool,
}

/// The words of `Dims` and how a launch is cut, for x (rows, C).
struct Layout {
    rows: u32,
    columns: u32,
    packs: Packs,
    width: u32,
}

impl Layout {
    fn of(x: &[u32]) -> Option<Self> {
        let (rows, columns) = packs::matrix(x)?;
        let packs = Packs::of(columns.into());
        Some(Self { rows, columns, packs, width: packs.count(columns.into()) })
    }

    /// Packs of x.
    fn volume(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.width)
    }

    /// Rows of a part of a column sum, and parts: enough that the lanes of a few cores are busy and a GPU has workgroups, and so few that
    /// adding them up again and again is a small part of the work.
    fn parts(&self) -> (u32, u32) {
        let wanted = to_u32(self.volume() / 8192).max(64 / self.width).clamp(1, 64);
        let part = self.rows.div_ceil(wanted).max(32).min(self.rows);
        (part, self.rows.div_ceil(part))
    }

    /// Rows of an item of a kernel that writes a tensor like x. It adds up the parts of its column first, so a CPU adapter gets
    /// few items, a vector's lanes for a few cores.
    fn chunk(&self, on: AdapterKind) -> u32 {
        let rows = match on {
            AdapterKind::Cpu => to_u32(self.volume().div_ceil(512)).max(self.parts().1),
            AdapterKind::Gpu => lanes(on).1 * to_u32((self.volume() / 65_536).clamp(1, 16)),
        };
        rows.min(self.rows)
    }

    fn launch(&self, on: AdapterKind, entry: &str, chunk: u32, eps: f32, relu: bool) -> Launch {
        let (part, parts) = self.parts();
        let stride = self.packs.count(stride(self.columns).into());
        let (group, lanes) = lanes(on);
        let kernel = self.packs.kernel("batch_norm", entry).flag("RELU", relu);
        Launch::new(kernel.constant("WG", group.into()).constant("LANES", lanes.into()))
            .dims([self.rows, self.width, chunk, part, parts, stride, eps.to_bits(), 0])
            .groups(u64::from(self.rows.div_ceil(chunk)) * u64::from(self.width), group / lanes)
    }

    /// A kernel whose items are the parts of each column.
    fn sums(&self, on: AdapterKind, entry: &str, relu: bool) -> Launch {
        let (part, parts) = self.parts();
        self.launch(on, entry, part, 0.0, relu).output([parts, 2, self.columns])
    }

    /// A kernel that writes a tensor like x.
    fn map(&self, on: AdapterKind, entry: &str, eps: f32, relu: bool, x: &[u32]) -> Launch {
        self.launch(on, entry, self.chunk(on), eps, relu).output(x)
    }

    /// The entry point without or with a skip, which must be like x.
    fn with_skip<'a>(&self, entries: [&'a str; 2], x: &[u32], skip: &[&[u32]]) -> Option<&'a str> {
        match *skip {
            [] => Some(entries[0]),
            [skip] if skip == x => Some(entries[1]),
            _ => None,
        }
    }

    /// Whether every tensor is (C).
    fn vectors(&self, tensors: &[&[u32]]) -> bool {
        tensors.iter().all(|t| **t == [self.columns])
    }

    /// Whether these are partial sums of x.
    fn are_sums(&self, sums: &[u32]) -> bool {
        *sums == [self.parts().1, 2, self.columns]
    }

    fn line(&self) -> [u32; 2] {
        [4, self.columns]
    }
}

/// Invocations of a workgroup, and how many of them share a column: a CPU adapter has a vector's lanes, and no barriers.
fn lanes(on: AdapterKind) -> (u32, u32) {
    match on {
        AdapterKind::Cpu => (8, 1),
        AdapterKind::Gpu => (256, 64),
    }
}

/// The gradients of y, from dy and the line: of x, γ and β, and of the skip if there is one. With a skip and a ReLU behind it, the ReLU's
/// mask is applied to dy first, which gives dz; the kernels then apply none.
fn gradients(
    graph: &mut Graph,
    batch: bool,
    relu: bool,
    node: Operands<'_>,
    skip: bool,
    dy: Value,
) -> Result<[Option<Value>; 4], ShapeError> {
    let (x, y, line) = (node.inputs[0], node.outputs[0], node.outputs[1]);
    let (relu, dz) = match skip && relu {
        true => (false, graph.add(Grad(Activation::Relu), &[y, dy])?),
        false => (relu, dy),
    };
    let sums = graph.add(GradSums { relu }, &[x, line, dz])?;
    let grads = graph.add_all(GradInput { relu, batch }, &[x, line, dz, sums])?;
    Ok([Some(grads[0]), Some(grads[1]), Some(grads[2]), skip.then_some(dz)])
}

/// What the kernel can do at its end in place of `reader`, if that adds a tensor to the output: the tensor, and whether a ReLU follows.
fn skip(this: Operands<'_>, reader: &Node) -> Option<(Value, bool)> {
    let relu = known::<AddRelu>(&*reader.op).is_some();
    let &[a, b] = &reader.inputs[..] else { return None };
    if !relu && known::<Add>(&*reader.op).is_none() || a == b {
        return None;
    }
    Some((if a == this.outputs[0] { b } else { a }, relu))
}

impl Op for Statistics {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        Some(Layout::of(x)?.sums(on, "statistics", false).flops(4 * count(x)))
    }
}

impl Op for Apply {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, sums, gamma, beta, skip @ ..] = inputs else { return None };
        let layout = Layout::of(x)?;
        let entry = layout.with_skip(["apply", "apply_add"], x, skip)?;
        (layout.are_sums(sums) && layout.vectors(&[gamma, beta])).then(|| {
            layout
                .map(on, entry, self.eps, self.relu, x)
                .output(layout.line())
                .output([2, stride(layout.columns)])
                .flops(5 * count(x))
        })
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let skip = node.inputs.len() == 5;
        let [dx, dgamma, dbeta, dskip] = gradients(graph, true, self.relu, node, skip, dy)?;
        Ok([dx, None, dgamma, dbeta].into_iter().chain(skip.then_some(dskip)).collect())
    }

    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let &[x, sums, gamma, beta] = this.inputs else { return None };
        let (skip, relu) = skip(this, reader).filter(|_| !self.relu)?;
        Some(Fused {
            op: Rc::new(Self { relu, ..*self }),
            inputs: vec![x, sums, gamma, beta, skip],
            outputs: vec![reader.outputs[0], this.outputs[1], this.outputs[2]],
        })
    }
}

impl Op for EvalApply {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, mean, var, gamma, beta, skip @ ..] = inputs else { return None };
        let layout = Layout::of(x)?;
        let entry = layout.with_skip(["eval_apply", "eval_apply_add"], x, skip)?;
        layout.vectors(&[mean, var, gamma, beta]).then(|| {
            layout.map(on, entry, self.eps, self.relu, x).output(layout.line()).flops(5 * count(x))
        })
    }

    fn vjp(&self, graph: &mut Graph, node: Operands<'_>, dy: Value) -> Gradients {
        let skip = node.inputs.len() == 6;
        let [dx, dgamma, dbeta, dskip] = gradients(graph, false, self.relu, node, skip, dy)?;
        Ok([dx, None, None, dgamma, dbeta].into_iter().chain(skip.then_some(dskip)).collect())
    }

    fn absorb(&self, _: &Graph, this: Operands<'_>, reader: &Node) -> Option<Fused> {
        let &[x, mean, var, gamma, beta] = this.inputs else { return None };
        let (skip, relu) = skip(this, reader).filter(|_| !self.relu)?;
        Some(Fused {
            op: Rc::new(Self { relu, ..*self }),
            inputs: vec![x, mean, var, gamma, beta, skip],
            outputs: vec![reader.outputs[0], this.outputs[1]],
        })
    }
}

impl Op for Running {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [batch, running] = *inputs else { return None };
        let (launch, packs) = packs::flat("batch_norm", "running", count(batch));
        let words = [0, packs, 0, 0, 0, 0, 0, self.momentum.to_bits()];
        (batch == running).then(|| launch.dims(words).flops(3 * count(batch)).updates(&[1]))
    }
}

impl Op for GradSums {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, line, dy] = *inputs else { return None };
        let layout = Layout::of(x)?;
        (x == dy && *line == layout.line())
            .then(|| layout.sums(on, "grad_sums", self.relu).flops(7 * count(x)))
    }
}

impl Op for GradInput {
    fn launch(&self, inputs: &[&[u32]], on: AdapterKind) -> Option<Launch> {
        let [x, line, dy, sums] = *inputs else { return None };
        let layout = Layout::of(x)?;
        if x != dy || *line != layout.line() || !layout.are_sums(sums) {
            return None;
        }
        let columns = [layout.columns];
        let mut launch = layout.map(on, "grad_input", 0.0, self.relu, x);
        launch.kernel = launch.kernel.flag("BATCH", self.batch);
        Some(launch.output(columns).output(columns).flops(9 * count(x)))
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;
    use crate::ops::AdapterKind;

    /// Adding up the parts costs a CPU adapter a fifth of the loads of x at most, where there is enough of x to matter.
    #[test]
    fn parts_are_few_beside_the_rows() {
        for (rows, columns) in
            [(65_536, 16), (65_536, 32), (16_384, 64), (4096, 128), (1024, 256), (200_704, 64)]
        {
            let layout = Layout::of(&[rows, columns]).expect("a matrix");
            let (part, parts) = layout.parts();
            assert!((parts - 1) * part < rows && rows <= parts * part, "{rows} × {columns}");
            let items = u64::from(rows.div_ceil(layout.chunk(AdapterKind::Cpu)) * layout.width);
            assert!((64..=1024).contains(&items), "{rows} × {columns}: {items} items");
            let loads = 2 * u64::from(parts) * items;
            assert!(5 * loads <= layout.volume(), "{rows} × {columns}: {loads} loads");
            assert!(parts * layout.width >= 64, "{rows} × {columns}: {parts} parts");
        }
    }
}
