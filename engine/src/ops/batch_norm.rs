//! Batch normalisation over the last axis: shader `shaders/batch_norm.wgsl`.
//!
//! x (…, C)   γ, β, running mean and variance (C)   →   y = γ x̂ + β, (…, C)
//!
//! In train mode three nodes, [`Statistics`] → [`Finish`] → [`Apply`]. The mean and the variance are functions of x, and the
//! rule of [`Apply`] gives the whole gradient of x, through them as well; the other two nodes pass nothing on.

use super::{
    AdapterKind, Arcs, Launch, Op,
    activation::{Activation, Grad},
    count,
    packs::{self, Packs},
};
use crate::graph::{Graph, ShapeError, Value};

/// The parameters and the state of a layer, each (C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensors {
    /// γ, PyTorch's `weight`.
    pub gamma: Value,
    /// β, PyTorch's `bias`.
    pub beta: Value,
    /// The running mean; train mode updates it in place.
    pub running_mean: Value,
    /// The running (unbiased) variance; train mode updates it in place.
    pub running_var: Value,
}

/// The constants of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// ε.
    pub eps: f32,
    /// PyTorch's `momentum`: running ← (1 − momentum) running + momentum batch.
    pub momentum: f32,
    /// Whether a ReLU follows in the same kernel.
    pub relu: bool,
}

impl BatchNorm {
    /// Adds the layer in train mode: normalises by the batch and updates the running statistics.
    ///
    /// # Errors
    /// If the tensors are not (…, C) and (C).
    pub fn train(&self, graph: &mut Graph, x: Value, layer: &Tensors) -> Result<Value, ShapeError> {
        let moments = self.moments(graph, x, layer)?;
        graph.add(Apply { relu: self.relu }, &[x, moments, layer.gamma, layer.beta])
    }

    /// Train mode at the end of a residual unit: `skip`, like x, is added before the ReLU, in the same kernel.
    ///
    /// # Errors
    /// If the tensors are not (…, C) and (C).
    pub fn train_add(
        &self,
        graph: &mut Graph,
        x: Value,
        layer: &Tensors,
        skip: Value,
    ) -> Result<Value, ShapeError> {
        let moments = self.moments(graph, x, layer)?;
        graph.add(Apply { relu: self.relu }, &[x, moments, layer.gamma, layer.beta, skip])
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

    /// Eval mode at the end of a residual unit; see [`Self::train_add`].
    ///
    /// # Errors
    /// If the tensors are not (…, C) and (C).
    pub fn eval_add(
        &self,
        graph: &mut Graph,
        x: Value,
        layer: &Tensors,
        skip: Value,
    ) -> Result<Value, ShapeError> {
        let Tensors { gamma, beta, running_mean, running_var } = *layer;
        let op = EvalApply { relu: self.relu, eps: self.eps };
        graph.add(op, &[x, running_mean, running_var, gamma, beta, skip])
    }

    fn moments(&self, graph: &mut Graph, x: Value, layer: &Tensors) -> Result<Value, ShapeError> {
        let rows = packs::matrix(graph.shape(x)).map_or(0, |(rows, _)| rows);
        let sums = graph.add(Statistics, &[x])?;
        let finish = Finish { rows, eps: self.eps, momentum: self.momentum };
        graph.add(finish, &[sums, layer.running_mean, layer.running_var])
    }
}

/// dz = dskip of y = z + skip, or of y = max(z + skip, 0): the mask is in dz, the gradient kernels of z cut nothing more.
fn through_skip(graph: &mut Graph, relu: bool, y: Value, dy: Value) -> Result<Value, ShapeError> {
    if relu { graph.add(Grad(Activation::Relu), &[y, dy]) } else { Ok(dy) }
}

/// x (…, C) → (parts, 2, C): mean and Σ (x − mean)² of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics;

/// (parts, 2, C), running mean and variance (C) → (2, C): μ and 1/√(σ² + ε).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    /// Rows of x.
    pub rows: u32,
    /// ε.
    pub eps: f32,
    /// Weight of the batch in the running statistics.
    pub momentum: f32,
}

/// x (…, C), moments (2, C), γ, β (C) and perhaps skip (…, C) → y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apply {
    /// Whether y = max(γ x̂ + β + skip, 0).
    pub relu: bool,
}

/// x (…, C), running mean and variance, γ, β (C) and perhaps skip (…, C) → y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalApply {
    /// Whether y = max(γ x̂ + β + skip, 0).
    pub relu: bool,
    /// ε.
    pub eps: f32,
}

/// Running mean and variance (C) → moments (2, C), for the gradients of eval mode.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RunningMoments {
    eps: f32,
}

/// x, moments, γ, β, dy → (parts, 2, C): Σ dz x̂ and Σ dz of each part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradSums {
    relu: bool,
}

/// (parts, 2, C) → dγ, dβ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradFinish;

/// x, moments, γ, β, dy, dγ, dβ → dx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GradInput {
    relu: bool,
}

/// x, moments, γ, β, dy → dx with constant moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EvalGradInput {
    relu: bool,
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
        Some(Self::new(rows, columns))
    }

    fn new(rows: u32, columns: u32) -> Self {
        let packs = Packs::of(columns.into());
        Self { rows, columns, packs, width: packs.count(columns.into()) }
    }

    /// Rows of a part of a column sum, and parts.
    fn parts(&self) -> (u32, u32) {
        packs::parts(self.rows, self.width, 32)
    }

    fn launch(&self, entry: &str, (chunk, parts): (u32, u32), eps: f32, momentum: f32) -> Launch {
        let words = [self.rows, self.width, chunk, parts, eps.to_bits(), momentum.to_bits()];
        Launch::new(self.packs.kernel("batch_norm", entry)).dims(words)
    }

    /// A kernel with an invocation for each part of each column.
    fn sums(&self, entry: &str) -> Launch {
        let (chunk, parts) = self.parts();
        self.launch(entry, (chunk, parts), 0.0, 0.0)
            .output([parts, 2, self.columns])
            .each(u64::from(parts) * u64::from(self.width))
    }

    /// A kernel that writes a tensor like x, a few rows of one column an invocation.
    fn map(&self, entry: &str, eps: f32, relu: bool, x: &[u32]) -> Launch {
        let chunk = packs::chunk(self.rows, self.width);
        let mut launch = self
            .launch(entry, (chunk, 1), eps, 0.0)
            .output(x)
            .each(u64::from(self.rows.div_ceil(chunk)) * u64::from(self.width));
        launch.kernel = launch.kernel.flag("RELU", relu);
        launch
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

    /// Whether `moments` is (2, C).
    fn moments(&self, moments: &[u32]) -> bool {
        *moments == [2, self.columns]
    }
}

impl Op for Statistics {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x] = *inputs else { return None };
        Some(Layout::of(x)?.sums("statistics").flops(4 * count(x)))
    }
}

impl Op for Finish {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[parts, 2, columns], mean, var] = *inputs else { return None };
        let layout = Layout::new(self.rows, columns);
        if layout.parts().1 != parts || !layout.vectors(&[mean, var]) {
            return None;
        }
        Some(
            layout
                .launch("finish", layout.parts(), self.eps, self.momentum)
                .output([2, columns])
                .each(layout.width.into())
                .flops(7 * u64::from(parts) * u64::from(columns))
                .updates(&[1, 2]),
        )
    }
}

impl Op for Apply {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, moments, gamma, beta, skip @ ..] = inputs else { return None };
        let layout = Layout::of(x)?;
        let entry = layout.with_skip(["apply", "apply_add"], x, skip)?;
        (layout.moments(moments) && layout.vectors(&[gamma, beta]))
            .then(|| layout.map(entry, 0.0, self.relu, x).flops(5 * count(x)))
    }

    fn vjp(
        &self,
        graph: &mut Graph,
        node: Arcs<'_>,
        douts: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>, ShapeError> {
        let Some(mut dy) = douts[0] else { return Ok(vec![None; node.inputs.len()]) };
        let &[x, moments, gamma, beta, ref skip @ ..] = node.inputs else {
            unreachable!("launch takes four inputs or five")
        };
        let mut relu = self.relu;
        if !skip.is_empty() {
            dy = through_skip(graph, relu, node.outputs[0], dy)?;
            relu = false;
        }
        let sums = graph.add(GradSums { relu }, &[x, moments, gamma, beta, dy])?;
        let finished = graph.add_all(GradFinish, &[sums])?;
        let (dgamma, dbeta) = (finished[0], finished[1]);
        let dx = graph.add(GradInput { relu }, &[x, moments, gamma, beta, dy, dgamma, dbeta])?;
        let mut grads = vec![Some(dx), None, Some(dgamma), Some(dbeta)];
        grads.extend(skip.iter().map(|_| Some(dy)));
        Ok(grads)
    }
}

impl Op for EvalApply {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, mean, var, gamma, beta, skip @ ..] = inputs else { return None };
        let layout = Layout::of(x)?;
        let entry = layout.with_skip(["eval_apply", "eval_apply_add"], x, skip)?;
        layout
            .vectors(&[mean, var, gamma, beta])
            .then(|| layout.map(entry, self.eps, self.relu, x).flops(5 * count(x)))
    }

    fn vjp(
        &self,
        graph: &mut Graph,
        node: Arcs<'_>,
        douts: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>, ShapeError> {
        let Some(mut dy) = douts[0] else { return Ok(vec![None; node.inputs.len()]) };
        let &[x, mean, var, gamma, beta, ref skip @ ..] = node.inputs else {
            unreachable!("launch takes five inputs or six")
        };
        let mut relu = self.relu;
        if !skip.is_empty() {
            dy = through_skip(graph, relu, node.outputs[0], dy)?;
            relu = false;
        }
        let moments = graph.add(RunningMoments { eps: self.eps }, &[mean, var])?;
        let sums = graph.add(GradSums { relu }, &[x, moments, gamma, beta, dy])?;
        let finished = graph.add_all(GradFinish, &[sums])?;
        let dx = graph.add(EvalGradInput { relu }, &[x, moments, gamma, beta, dy])?;
        let mut grads = vec![Some(dx), None, None, Some(finished[0]), Some(finished[1])];
        grads.extend(skip.iter().map(|_| Some(dy)));
        Ok(grads)
    }
}

impl Op for RunningMoments {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[columns], &[same]] = *inputs else { return None };
        let layout = Layout::new(1, columns);
        (columns == same).then(|| {
            layout
                .launch("running_moments", (1, 1), self.eps, 0.0)
                .output([2, columns])
                .each(layout.width.into())
                .flops(2 * u64::from(columns))
        })
    }
}

impl Op for GradSums {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, moments, gamma, beta, dy] = *inputs else { return None };
        let layout = Layout::of(x)?;
        if x != dy || !layout.moments(moments) || !layout.vectors(&[gamma, beta]) {
            return None;
        }
        let mut launch = layout.sums("grad_sums").flops(7 * count(x));
        launch.kernel = launch.kernel.flag("RELU", self.relu);
        Some(launch)
    }
}

impl Op for GradFinish {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [&[parts, 2, columns]] = *inputs else { return None };
        let layout = Layout::new(1, columns);
        Some(
            layout
                .launch("grad_finish", (1, parts), 0.0, 0.0)
                .output([columns])
                .output([columns])
                .each(layout.width.into())
                .flops(2 * u64::from(parts) * u64::from(columns)),
        )
    }
}

impl Op for GradInput {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, moments, gamma, beta, dy, dgamma, dbeta] = *inputs else { return None };
        let layout = Layout::of(x)?;
        (x == dy && layout.moments(moments) && layout.vectors(&[gamma, beta, dgamma, dbeta]))
            .then(|| layout.map("grad_input", 0.0, self.relu, x).flops(9 * count(x)))
    }
}

impl Op for EvalGradInput {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let [x, moments, gamma, beta, dy] = *inputs else { return None };
        let layout = Layout::of(x)?;
        (x == dy && layout.moments(moments) && layout.vectors(&[gamma, beta]))
            .then(|| layout.map("eval_grad_input", 0.0, self.relu, x).flops(6 * count(x)))
    }
}
