//! Batch normalisation over all but the channels, as PyTorch's: how it trains, runs frozen, and folds into the layer before it.

use serde::{Deserialize, Serialize};

use super::{Facts, Fold, Kind, Layer, Widening};
use crate::{
    graph::{Graph, Home, ShapeError, Value},
    nn::{
        Extent, Fill, Mode, NetworkError, Role, State, Weights,
        builder::{Batch, Bound, Builder},
        onnx, parameter,
        shapes::Inventory,
    },
    ops::{
        batch_norm::{self, Running, Tensors},
        count, to_u32,
    },
};

/// PyTorch's ε.
const EPS: f32 = 1e-5;
/// PyTorch's `momentum`: running ← 0.9 running + 0.1 batch.
pub const MOMENTUM: f32 = 0.1;
/// Its tensors: γ, β, running mean, running variance.
const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// Batch normalisation over all but the channels; eps 1e-5, momentum 0.1, as PyTorch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Path of its parameters.
    pub name: String,
}

impl Kind for BatchNorm {
    fn facts(&self) -> Facts<'_> {
        Facts {
            name: Some(&self.name),
            width: None,
            inside: [&[], &[]],
            takes_relu: true,
            takes_norm: false,
            reads_lifted: false,
            is_norm: true,
            places: None,
            can_die: false,
        }
    }

    fn shape(&self, at: State<Extent>, to: &mut Inventory) -> Result<Extent, NetworkError> {
        let at = at.h;
        let tensors =
            [(Role::Param, 1.0), (Role::Param, 0.0), (Role::State, 0.0), (Role::State, 1.0)];
        for (part, (role, value)) in PARTS.into_iter().zip(tensors) {
            to.vector(&self.name, part, at.width(), role, Fill::Constant(value));
        }
        Ok(at)
    }

    fn nodes(
        &self,
        x: State<Value>,
        relu: bool,
        to: &mut Builder<'_>,
    ) -> Result<Value, ShapeError> {
        let x = x.h;
        let name = &self.name;
        let [gamma, beta, running_mean, running_var] = PARTS.map(|part| to.tensor(name, part));
        let tensors = Tensors { gamma, beta, running_mean, running_var };
        let op = batch_norm::BatchNorm { eps: EPS, relu };
        match to.mode {
            Mode::Train => {
                let trained = to.graph.scoped(name, |g| op.train(g, x, gamma, beta))?;
                place_batch(&tensors, trained.batch, to);
                Ok(trained.y)
            }
            Mode::Eval => to.graph.scoped(name, |g| op.eval(g, x, &tensors)),
        }
    }

    fn onnx(&self, x: State<String>, to: &mut onnx::Nodes) -> String {
        let attributes = vec![("epsilon", onnx::Attribute::Float(EPS))];
        to.with_parameters("BatchNormalization", &self.name, &x.h, &PARTS, attributes)
    }

    fn widened(&self, _by: Widening) -> Layer {
        Layer::BatchNorm(self.clone())
    }

    fn readers(&self, _behind: &[Layer]) -> Result<Vec<String>, String> {
        Err(format!("batch norm {}", self.name))
    }

    fn folded(&self, _norm: bool, _folds: &mut Vec<Fold>) -> Layer {
        Layer::BatchNorm(self.clone())
    }
}

/// Puts a batch's statistics where the running ones lie in their buffer: the variance behind the mean.
fn place_batch(layer: &Tensors, batch: Value, to: &mut Builder<'_>) {
    let offset = |value| match to.graph.tensor_of(value).home {
        Home::Named { offset, .. } => offset,
        Home::Temporary => unreachable!("a layout places every tensor"),
    };
    let (first, second) = (offset(layer.running_mean), offset(layer.running_var));
    let floats = count(to.graph.shape(batch));
    assert_eq!(2 * (second - first), floats, "the variance lies behind the mean");
    to.graph.place(batch, &format!("{}.batch", to.bound.owner), first);
    to.batches.push(Batch { offset: first, floats, value: batch });
}

/// Moves the running statistics of all these layers, by one dispatch for each contiguous range of the buffer. There is one range, unless
/// frozen layers lie between.
pub(in crate::nn) fn move_running(
    graph: &mut Graph,
    bound: &Bound,
    mut batches: Vec<Batch>,
) -> Result<(), ShapeError> {
    batches.sort_unstable();
    for run in batches.chunk_by(|a, b| a.offset + a.floats == b.offset) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let (first, end) = (first.offset, last.offset + last.floats);
        let values: Vec<Value> = run.iter().map(|batch| batch.value).collect();
        let ranges = ["batch", "state"].map(|part| {
            let buffer = format!("{}.{part}", bound.owner);
            graph.named(&buffer, first, &[to_u32(end - first)], &buffer)
        });
        let running = Running { momentum: MOMENTUM };
        graph.scoped(&bound.owner, |g| g.add_after(running, &ranges, &values))?;
    }
    Ok(())
}

/// Removes a batch norm from the weights and returns what it does in eval mode: the scale s = γ / √(σ² + ε) and the shift β − s μ of each of the
/// `channels` that `of` puts out, in f64.
///
/// # Errors
/// If a tensor is missing or of another shape.
pub(in crate::nn) fn take_affine(
    weights: &mut Weights,
    norm: &str,
    of: &str,
    channels: usize,
) -> Result<Vec<(f64, f64)>, NetworkError> {
    let mut columns = Vec::with_capacity(PARTS.len());
    for part in PARTS {
        let name = format!("{norm}.{part}");
        let tensor = parameter(weights, &name)?;
        if tensor.shape != [channels] {
            return Err(NetworkError::Weights(format!(
                "parameter {name} has shape {:?}, {of} puts out {channels} channels",
                tensor.shape
            )));
        }
        columns.push(tensor.data.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        weights.remove(&name);
    }
    let affine = |channel: usize| {
        let [gamma, beta, mean, var] = [0, 1, 2, 3].map(|part: usize| columns[part][channel]);
        let scale = gamma / (var + f64::from(EPS)).sqrt();
        (scale, beta - scale * mean)
    };
    Ok((0..channels).map(affine).collect())
}
