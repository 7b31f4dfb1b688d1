//! Stochastic gradient descent over flat buffers: shader `shaders/sgd.wgsl`.

use super::{AdapterKind, Kernel, Launch, Op, Reads};
use crate::graph::{Graph, ShapeError, Value};

/// params, grads, velocity (n), decays (n / 64) of u32 and, if the gradients are clipped, their factor (1), or, if the loss is scaled, what
/// [`scaler::decide`](super::scaler::decide) says of the step (3); params and velocity are updated in place and there is no output; n is a
/// multiple of 64; [`optimise`] says when some are bound twice. The learning rate comes from the uniform in `shaders/lib/step.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// PyTorch's `momentum`, without dampening.
    pub momentum: f32,
    /// Whether the step looks ahead by one momentum.
    pub nesterov: bool,
    /// Added to the gradient as weight_decay · θ, where the row's word in `decays` is not 0.
    pub weight_decay: f32,
}

/// How an optimiser's inputs lie.
pub(super) struct Flat {
    /// Parameters.
    pub(super) n: u32,
    /// Entry point for them.
    pub(super) entry: &'static str,
    /// Whether parameters and moments are bound twice: once to be read, and once as the buffers that are updated.
    pub(super) apart: bool,
}

/// Checks the shapes of the inputs of an optimiser with `moments` moments: parameters, gradients, moments, decays, then perhaps
/// parameters and moments again, then perhaps a factor or a verdict.
pub(super) fn flat(inputs: &[&[u32]], moments: usize) -> Option<Flat> {
    let (like, &[&[words], ref rest @ ..]) = inputs.split_at_checked(2 + moments)? else {
        return None;
    };
    let &[n] = like[0] else { return None };
    let again = rest.iter().take_while(|x| ***x == [n]).count();
    let entry = match (again, &rest[again..]) {
        (0, []) => "step",
        (0, [[1]]) => "step_clipped",
        (0, [[3]]) => "step_scaled",
        (k, []) if k == 1 + moments => "step_apart",
        (k, [[1]]) if k == 1 + moments => "step_clipped_apart",
        (k, [[3]]) if k == 1 + moments => "step_scaled_apart",
        _ => return None,
    };
    let fits = n.is_multiple_of(64) && words == n / 64 && like.iter().all(|x| **x == [n]);
    fits.then_some(Flat { n, entry, apart: again > 0 })
}

/// What an optimiser works on, in flat buffers.
#[derive(Debug, Clone, Copy)]
pub struct Tensors<'a> {
    /// Parameters.
    pub params: Value,
    /// Their gradients.
    pub grads: Value,
    /// Their moments: m, and v if the optimiser has it.
    pub moments: &'a [Value],
    /// For each 64 parameters a word: 0 where weight decay does not apply.
    pub decays: Value,
    /// What clipped gradients are multiplied by, or what loss scaling says of the step.
    pub factor: Option<Value>,
}

/// Adds an optimiser's node, which runs once `after` are written.
///
/// A software adapter reads the parameters and moments through mirrors, as it does all that it reads much of, so for it they are inputs by
/// themselves beside the buffers in which they are updated.
///
/// # Errors
/// If the shapes do not fit the op.
pub fn optimise(
    graph: &mut Graph,
    op: impl Op + 'static,
    tensors: Tensors<'_>,
    after: &[Value],
    reads: Reads,
) -> Result<(), ShapeError> {
    let Tensors { params, grads, moments, decays, factor } = tensors;
    let updated = [&[params], moments].concat();
    let mut before = updated.clone();
    if reads == Reads::Textures {
        for value in &mut before {
            let shape = graph.shape(*value).to_vec();
            *value = graph.view(*value, &shape).unwrap_or(*value);
        }
    }
    let apart = if before == updated { &[][..] } else { &updated };
    let inputs = [&[before[0], grads], &before[1..], &[decays], apart, factor.as_slice()].concat();
    graph.add_after(op, &inputs, after).map(drop)
}

impl Op for Sgd {
    fn launch(&self, inputs: &[&[u32]], _on: AdapterKind) -> Option<Launch> {
        let Flat { n, entry, apart } = flat(inputs, 1)?;
        Some(
            Launch::new(Kernel::of("sgd", entry).flag("NESTEROV", self.nesterov))
                .dims([n / 4, self.momentum.to_bits(), self.weight_decay.to_bits()])
                .each(u64::from(n / 4).div_ceil(4))
                .flops(6 * u64::from(n))
                .updates(if apart { &[4, 5] } else { &[0, 2] }),
        )
    }
}
